"""What a preloaded BLAS would give: predicted from a profile, beside the gain that was measured.

    python benchmarks/blas_prediction.py --blas openblas --blas mkl,env.KMP_BLOCKTIME=0
    python benchmarks/blas_prediction.py report              # the tables of what is stored

A row is one model: its eager profile with the parts of its layers' times, and the time of each of
its products by OneFlow's BLAS and by the others, on all threads and on one. The BLAS is called
directly, in a process each, there and back. Nothing of a row is a time of a step with another BLAS.
The report adds such steps, measured by `blas_study.py`, and calculates:

    predicted gain = step / (step - own products + products by the other BLAS)

and by Amdahl's law the gain on more cores. Rows are stored as they end (predictions.jsonl), and a
second call goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from blas_prediction_report import OWN, render
from blas_study import (
    PROFILER,
    ROWS,
    create_parser,
    create_workload,
    hide_folder,
    label_blas,
    measure_if_asked,
)
from runtime_study import MODELS, TIMEOUT_S
from study import Row, append_row, load_rows, run_main

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.plan.contenders import parse_contenders
from oneflow_bench.bench.record.machine import describe_load, read_cpu
from oneflow_bench.bench.record.run import write_atomically
from oneflow_bench.bench.tools.profile.document import (
    LimitsDocument,
    ProfileDocument,
)
from oneflow_bench.bench.tools.profile.run import measure_ceilings, run_profile
from oneflow_bench.bench.tools.profile.steps import Fleet
from oneflow_bench.bench.tools.profile.work import Ceiling
from oneflow_bench.bench.verdict.statistics import summarize
from oneflow_bench.bench.worker.blas import find_blas
from oneflow_bench.bench.worker.environment import RuntimeResolver
from oneflow_bench.bench.worker.process import create_launcher

PREDICTIONS = "predictions.jsonl"
ITERATIONS, WARMUP = 4, 2
# smaller than the bytes of any of these steps, so that its floor is rather too low
CEILING_BYTES = 64 * 2**20
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_TIMES = ("forward_s", "backward_s", "forward_computing_s", "backward_computing_s")


def list_contenders(blases: Sequence[str]) -> List[Contender]:
    """OneFlow's own BLAS, and each other on as many threads as its keys say, and on one."""
    found = parse_contenders([f"eager,name={OWN}"])
    for blas in blases:
        (one,) = parse_contenders([f"eager,blas={blas},name={label_blas(blas)}"])
        single = {**one.env, **dict.fromkeys(THREAD_VARIABLES, "1")}
        found += [one, one.model_copy(update={"name": f"{one.name}-1", "env": single})]
    return found


def create_fleet(model: str, folder: Path, batch_size: int) -> Fleet:
    launch = create_launcher(folder, RuntimeResolver(), PROFILER)
    contenders = parse_contenders(["eager"])
    workload = create_workload(model, batch_size)
    return Fleet(workload, contenders, launch, None, TIMEOUT_S, lambda *_: None)


def measure_machine(model: str, options: argparse.Namespace) -> List[Ceiling]:
    """The ceilings for the steps of all models."""
    with tempfile.TemporaryDirectory() as temporary, closing(
        create_fleet(model, Path(temporary), options.batch_size)
    ) as fleet:
        return measure_ceilings(fleet, read_cpu()["cores"], CEILING_BYTES)


def measure(model: str, options: argparse.Namespace, ceilings: List[Ceiling]) -> Row:
    """The profile of the eager step, and the seconds of its products by each BLAS, twice."""
    contenders = list_contenders(options.blas)
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with tempfile.TemporaryDirectory() as temporary, closing(
        create_fleet(model, Path(temporary), options.batch_size)
    ) as fleet:
        document, work = run_profile(fleet, ITERATIONS, WARMUP, created, splits=True)
        products = measure_products(fleet, contenders, list_shapes(document))
    limits = LimitsDocument(
        created=created,
        workload=fleet.workload,
        runtime=fleet.contenders[0].runtime,
        machine={},
        cores=read_cpu()["cores"],
        layers=work,
        ceilings=ceilings,
        steps=[],
    )
    whole = shorten(document).model_copy(update={"limits": limits, "machine": {}})
    size = {"batch_size": document.batch_size, "image_size": document.image_size}
    return {
        "model": model,
        **size,
        **describe_load(),
        "products": products,
        "profile": whole.model_dump(mode="json", exclude_defaults=True),
    }


def list_shapes(document: ProfileDocument) -> List[List[int]]:
    """The shape of each product, layer by layer."""
    return [product.shape for layer in document.layers for product in layer.products]


def measure_products(
    fleet: Fleet, contenders: Sequence[Contender], shapes: List[List[int]]
) -> Dict[str, Any]:
    """By contender its BLAS, and the seconds of the products of a step, in order and back."""
    found: Dict[str, Any] = {}
    for number, contender in enumerate([*contenders, *contenders[::-1]]):
        worker = fleet.start(contender, f"products-{number}")
        answer = worker.ask("products", shapes=shapes)
        worker.close()
        blas = hide_folder(answer["blas"])
        one = found.setdefault(contender.name, {"blas": blas, "times_s": []})
        one["times_s"].append([round(seconds, 10) for seconds in answer["times_s"]])
    return found


def shorten(document: ProfileDocument) -> ProfileDocument:
    """The profile with the medians of its layers' times alone."""
    layers = []
    for layer in document.layers:
        medians = {name: _take_median(getattr(layer, name)) for name in _TIMES}
        layers.append(layer.model_copy(update={**medians, "starts_s": [], "spans_s": []}))
    return document.model_copy(update={"layers": layers})


def _take_median(times: List[float]) -> List[float]:
    return [summarize(times).median] if times else []


def run_study(options: argparse.Namespace) -> None:
    """Measure the rows that are missing, and store each as it ends."""
    for contender in list_contenders(options.blas):
        if contender.blas is not None:  # refused before a minute of profile
            find_blas(contender.blas, contender.interpreter, os.environ)
    stored = options.out / PREDICTIONS
    done = {row["model"] for row in load_rows(stored)}
    missing = [model for model in options.model or MODELS if model not in done]
    ceilings = measure_machine(missing[0], options) if missing else []
    for number, model in enumerate(missing, start=1):
        print(f"{number}/{len(missing)} {model}", file=sys.stderr)
        append_row(stored, measure(model, options, ceilings))


def main(arguments: Optional[Sequence[str]] = None) -> int:
    options = create_parser(__doc__).parse_args(arguments)
    return run_main(lambda: measure_and_report(options))


def measure_and_report(options: argparse.Namespace) -> None:
    measure_if_asked(options, run_study)
    rows = load_rows(options.out / PREDICTIONS)
    if not rows:
        raise InputError(f"nothing is stored in {options.out} yet; run it without report first")
    text = render(rows, load_rows(options.out / ROWS))
    write_atomically(options.out / "predictions.md", text)
    print(text, end="")


if __name__ == "__main__":
    sys.exit(main())
