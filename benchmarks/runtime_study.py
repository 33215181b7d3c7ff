"""What a searched runtime gains over stock, and which setting gave what, model by model.

    python benchmarks/runtime_study.py                       # all of the plan, in pieces, for hours
    python benchmarks/runtime_study.py --model alexnet --budget 1800
    python benchmarks/runtime_study.py report                # the tables of what is stored

For each model both modes are searched by `bench tune`, and what it chose is trained beside stock
for 50 steps. The step time ratios are those of the speed verdict in fresh processes that the search
ends with; the losses are compared step by step. How far rounding alone drives losses apart in so
many steps is told by perturbed runs: stock again, eagerly, with every weight moved by one rounding.
Each result is stored as it ends (searches.jsonl, losses.jsonl, witnesses.jsonl), and a second call
goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np
from runtime_study_report import LOSSES, PERTURBED, SEARCHES, load_searches, render_report
from safetensors.numpy import save_file
from study import append_row, load_rows, open_study, run_main

from oneflow_bench.bench.parity.difference import move_learning_rate
from oneflow_bench.bench.parity.judge import PERTURBED_SEEDS
from oneflow_bench.bench.parity.result import ModelCheck
from oneflow_bench.bench.plan.plan import Plan, create_plan
from oneflow_bench.bench.record.checkpoint import read_state
from oneflow_bench.bench.record.run import write_atomically
from oneflow_bench.bench.report.blocks import format_markdown
from oneflow_bench.bench.tools.tune.candidates import (
    BOTH,
    EAGER,
    Program,
    create_program,
    list_settings,
    read_facts,
)
from oneflow_bench.bench.tools.tune.parity import ParityCheck
from oneflow_bench.bench.tools.tune.phase import TuneRequest
from oneflow_bench.bench.tools.tune.report import ModeResult, TuneDocument, draw_gain, list_report
from oneflow_bench.bench.tools.tune.search import run_search
from oneflow_bench.bench.worker.environment import RuntimeResolver
from oneflow_bench.bench.worker.messages import (
    Launcher,
    PrepareRequest,
    Saved,
    SaveRequest,
    ask,
)
from oneflow_bench.bench.worker.process import create_launcher

MODELS = ("alexnet", "resnet18", "mobilenet_v2", "vgg11_bn", "densenet121")
STEPS = 50
IMAGE_SIZE, CLASSES = 224, 1000
LR = 0.001  # untrained deep models without warm-up do not diverge at this rate
TIMEOUT_S = 1800.0
Launchers = Callable[[Path], Launcher]  # by the folder of their logs


class Unit(NamedTuple):
    """A search of a model, the losses of one mode of it, or its perturbed runs."""

    model: str
    stored: str  # SEARCHES, LOSSES or PERTURBED
    mode: Optional[str]  # None: the search of both


def create_model_plan(model: str, options: argparse.Namespace) -> Plan:
    flags: Dict[str, Any] = {
        "model": model,
        "data": "synthetic",
        "batch_size": options.batch_size,
        "steps_per_epoch": STEPS,
        "lr": LR,
    }
    if model in MODELS:
        flags["num_classes"] = CLASSES
    if options.image_size is not None:
        flags["image_size"] = options.image_size
    elif model in MODELS:
        flags["image_size"] = IMAGE_SIZE
    return create_plan(flags)


def search(model: str, options: argparse.Namespace, launchers: Launchers) -> Dict[str, Any]:
    """The search of both modes; its pictures and records are kept in `out`/MODEL."""
    plan = create_model_plan(model, options)
    folder = options.out / model
    shutil.rmtree(folder, ignore_errors=True)  # of a search that was ended
    folder.mkdir(parents=True)
    facts = read_facts()
    settings = {
        mode: list_settings(mode, plan.workload.feed, facts)[: options.settings] for mode in BOTH
    }
    request = TuneRequest(plan, settings, options.budget, TIMEOUT_S)
    document = run_search(
        request,
        folder,
        folder / "runtime.json",
        launchers(folder),
        observe=lambda message, done, total: None,
        show=lambda mode, found: print(
            f"  {mode}, {found.phase}: {found.name}: {found.verdict}", file=sys.stderr
        ),
    )
    shutil.rmtree(folder / "logs", ignore_errors=True)
    drawn = draw_gain(document, folder)
    blocks = list_report(document, drawn)
    write_atomically(folder / "report.md", format_markdown(blocks))
    return {"model": model, "document": document.model_dump()}


def create_check(options: argparse.Namespace, launchers: Launchers, folder: Path) -> ParityCheck:
    launch, steps = launchers(folder), options.steps
    return ParityCheck(launch, ask_no_judge, steps, None, folder, TIMEOUT_S, steps=steps)


def ask_no_judge(stock: Program, program: Program) -> ModelCheck:
    raise AssertionError("the losses of the study are shown and not judged")


def perturb(program: Program, launch: Launcher, seed: int, path: Path) -> Program:
    """The program of a perturbed run; its weights, each off by a rounding, are saved to `path`."""
    request = PrepareRequest(
        workload=program.workload, contender=program.contender, steps_per_epoch=STEPS
    )
    worker = launch(program.contender)
    try:
        worker.send("prepare", **request.model_dump(mode="json"))
        worker.receive("prepare", TIMEOUT_S)
        ask(worker, "save", TIMEOUT_S, Saved, SaveRequest(path=str(path)))
    finally:
        worker.kill()
        worker.close()
    source, moved = np.random.RandomState(seed), read_state(path)
    for name, value in moved.items():
        if value.dtype.kind == "f":
            toward = np.where(source.rand(*value.shape) < 0.5, -np.inf, np.inf)
            moved[name] = np.nextafter(value, toward.astype(value.dtype))
    save_file(moved, path)
    return program._replace(workload=move_learning_rate(program.workload, seed))


def train_losses(
    search: TuneDocument, mode: ModeResult, options: argparse.Namespace, launchers: Launchers
) -> Dict[str, Any]:
    """Losses and weights of stock and of what was chosen, over the same steps."""
    stock = create_program(mode.mode, [], search.workload)
    tuned = create_program(mode.mode, mode.settings, search.workload)
    with tempfile.TemporaryDirectory() as temporary:
        check = create_check(options, launchers, Path(temporary))
        ours, theirs = check.run_baseline(stock), check.train(tuned)
        return {
            "model": search.workload.model,
            "mode": mode.mode,
            "chosen": mode.chosen,
            "steps": len(ours.block.losses),
            "stock": ours.block.losses,
            "tuned": theirs.block.losses,
            "same_weights": ours.digest == theirs.digest,
        }


def train_perturbed(
    search: TuneDocument, options: argparse.Namespace, launchers: Launchers
) -> Dict[str, Any]:
    """Losses of stock in eager mode, and of the same from weights moved by one rounding."""
    stock = create_program(EAGER, [], search.workload)
    with tempfile.TemporaryDirectory() as temporary:
        check = create_check(options, launchers, Path(temporary))
        ours = check.run_baseline(stock)
        moved, launch = [], launchers(Path(temporary))
        for seed in PERTURBED_SEEDS.values():
            path = Path(temporary) / f"initial-{seed}.safetensors"
            program = perturb(stock, launch, seed, path)
            moved.append(check.train(program, path).block.losses)
        return {
            "model": search.workload.model,
            "mode": EAGER,
            "stock": ours.block.losses,
            "witnesses": moved,
        }


def list_missing(models: Sequence[str], out: Path) -> List[Unit]:
    """What is to be done, in order."""
    searches = load_searches(out)
    done = {(line["model"], line["mode"]) for line in load_rows(out / LOSSES)}
    perturbed_models = {line["model"] for line in load_rows(out / PERTURBED)}
    units: List[Unit] = []
    for model in models:
        if model not in searches:
            units.append(Unit(model, SEARCHES, None))
        units += [Unit(model, LOSSES, mode) for mode in BOTH if (model, mode) not in done]
        if model not in perturbed_models:
            units.append(Unit(model, PERTURBED, EAGER))
    return units


def create_launchers(folder: Path) -> Launcher:
    return create_launcher(folder, RuntimeResolver())


def run_study(options: argparse.Namespace, launchers: Launchers = create_launchers) -> None:
    """Everything that is missing, stored as it ends."""
    units = list_missing(options.model or MODELS, options.out)
    for number, unit in enumerate(units, start=1):
        what = Path(unit.stored).stem + (f", {unit.mode}" if unit.mode else "")
        print(f"{number}/{len(units)} {unit.model}: {what}", file=sys.stderr)
        append_row(options.out / unit.stored, run_unit(unit, options, launchers))


def run_unit(unit: Unit, options: argparse.Namespace, launchers: Launchers) -> Dict[str, Any]:
    """A row to store. What follows a search trains with the search's own workload."""
    if unit.stored == SEARCHES:
        return search(unit.model, options, launchers)
    found = load_searches(options.out)[unit.model]
    if unit.stored == PERTURBED:
        return train_perturbed(found, options, launchers)
    mode = next(mode for mode in found.modes if mode.mode == unit.mode)
    return train_losses(found, mode, options, launchers)


def parse_options(arguments: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["report"], help="only print what is stored")
    parser.add_argument("--out", type=Path, default=Path("results/runtime"))
    parser.add_argument("--model", action="append", help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--image-size", type=int, help="default: 224, or a small model's own")
    parser.add_argument("--budget", type=float, default=1800.0, help="seconds of each search")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the losses")
    parser.add_argument("--settings", type=int, help="try the first ones alone; default: all")
    return parser.parse_args(arguments)


def measure_and_report(options: argparse.Namespace) -> None:
    if options.what is None:
        open_study(options.out)
        run_study(options)
    table = render_report(options.out)
    if load_searches(options.out):
        write_atomically(options.out / "table.md", table)
    print(table, end="")


def main() -> int:
    options = parse_options()
    return run_main(lambda: measure_and_report(options))


if __name__ == "__main__":
    sys.exit(main())
