"""How good is the parity check: faults found and named, false alarms, and time.

    python benchmarks/parity_quality.py faults [--kinds 'batch*']    plants faults, one by one
    python benchmarks/parity_quality.py zoo [--models 'resnet*']     every model, three seeds
    python benchmarks/parity_quality.py report                       tables and pictures

Each check is stored when it ends (faults.jsonl, zoo.jsonl in results/parity-quality). A second call
continues after the last stored check.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import parity_quality_report
from faults.catalogue import FAULTS
from faults.planting import Fault
from faulty_worker import VARIABLE
from study import Row, load_rows, run_study

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.parity.result import ModelCheck
from oneflow_bench.bench.parity.run import GRAPH, check_model, create_check_launcher
from oneflow_bench.bench.plan.check_plan import create_check_flags
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.record.machine import describe_machine
from oneflow_bench.bench.record.run import write_atomically
from oneflow_bench.bench.worker.environment import RuntimeResolver
from oneflow_bench.bench.worker.process import create_launcher
from oneflow_bench.models import get_model_spec, list_models

SEEDS = (0, 1, 2)
TIMEOUT_S = 600.0
BENCHMARKS = Path(__file__).resolve().parent


def create_faulty_launcher(folder: Path, fault: Fault) -> Any:
    """Usual workers, and for the graph one that has the fault."""
    usual = create_check_launcher(folder)
    faulty = create_launcher(folder, RuntimeResolver(), "faulty_worker")
    environment = {"PYTHONPATH": str(BENCHMARKS), VARIABLE: fault.name}

    def launch(contender: Contender) -> Any:
        if contender.name == GRAPH:
            return faulty(contender.model_copy(update={"env": environment}))
        return usual(contender.model_copy(update={"env": {"PYTHONPATH": str(BENCHMARKS)}}))

    return launch


def plant(fault: Fault) -> Row:
    """Check with the fault planted; the result beside the expected one."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        recipe = dict(fault.recipe)
        if "teacher" in recipe:
            recipe["teacher_checkpoint"] = str(train_teacher(recipe["teacher"], folder / "teacher"))
        plan = create_plan(create_check_flags(fault.model, recipe))
        check = check_model(plan, folder, TIMEOUT_S, launch=create_faulty_launcher(folder, fault))
    origin = check.origin
    level, name = (origin.level, origin.name) if origin else (None, None)
    return {
        "fault": fault.name,
        "kind": fault.kind,
        "size": fault.size,
        "verdict": check.verdict,
        "detected": check.verdict == "different",
        "level": level,
        "name": name,
        "right_level": level in fault.levels,
        "right_name": name is not None
        and level in fault.levels
        and fnmatch.fnmatchcase(name, fault.names),
        "expected": [list(fault.levels), fault.names],
        "isolated_layer": origin.isolated_layer if origin else None,
        "error_ratio": _first_ratio(check),
        "reason": check.reason,
        "duration_s": check.duration_s,
    }


def train_teacher(model: str, out: Path) -> Path:
    """The run folder of a teacher that has taken two steps."""
    subprocess.run(
        [sys.executable, "-m", "oneflow_bench", "eager", "--model", model, "--data", "synthetic",
         "--epochs", "1", "--steps-per-epoch", "2", "--batch-size", "4", "--out", str(out)],
        stdout=subprocess.DEVNULL,
        check=True,
    )  # fmt: skip
    return out


def _first_ratio(check: ModelCheck) -> Any:
    for level in check.levels:
        if level.first_different is not None:
            return level.first_different.error_ratio
    return None


def check_zoo_model(model: str, seed: int) -> Row:
    """A clean check of one model, train and eval; a difference here must be OneFlow's."""
    plan = create_plan(create_check_flags(model, {"seed": seed}))
    with tempfile.TemporaryDirectory() as temporary:
        check = check_model(plan, Path(temporary), TIMEOUT_S)
    tensors = sum(level.tensors for level in check.levels)
    modules = next(level.tensors for level in check.levels if level.level == "forward")
    return {
        "model": model,
        "seed": seed,
        "verdict": check.verdict,
        "reason": check.reason,
        "reproducible": check.reproducible,
        "tensors": tensors,
        "modules": modules,
        "num_params": get_model_spec(model).num_params,
        "levels": {level.level: _describe_level(level) for level in check.levels},
        "known": {hit.id: hit.tensors for hit in check.known},
        "origin": check.origin.model_dump() if check.origin else None,
        "duration_s": check.duration_s,
    }


def _describe_level(level: Any) -> Row:
    worst = level.worst
    return {
        "verdict": level.verdict,
        "tensors": level.tensors,
        "identical": level.identical,
        "within_rounding": level.within_rounding,
        "different": level.different,
        "known": level.known,
        "largest_error_ratio": None if worst is None else worst.error_ratio,
        "largest_in": None if worst is None else worst.name,
        "largest_shape": None if worst is None else worst.shape,
        "largest_errors": None
        if worst is None
        else [worst.eager_error, worst.graph_error, worst.reference_rms],
    }


def _num_params(model: str) -> int:
    return int(get_model_spec(model).num_params)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=["faults", "zoo", "report"])
    parser.add_argument("--out", type=Path, default=Path("results/parity-quality"))
    parser.add_argument("--kinds", default="*", help="wildcard over kinds of faults")
    parser.add_argument("--models", default="*", help="wildcard over models")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.study == "faults":
        chosen = [f for f in FAULTS if fnmatch.fnmatchcase(f.kind, options.kinds)]
        run_study(options.out / "faults.jsonl", [(f.name, (f,)) for f in chosen], plant)
    elif options.study == "zoo":
        cases = [
            (f"{model}/seed {seed}", (model, seed))
            for seed in SEEDS
            for model in sorted(list_models(options.models), key=_num_params)
        ]
        run_study(options.out / "zoo.jsonl", cases, check_zoo_model)
    if options.study != "report":
        machine = json.dumps(describe_machine(), indent=1) + "\n"
        write_atomically(options.out / "machine.json", machine)
        return 0
    faults, zoo = (load_rows(options.out / f"{name}.jsonl") for name in ("faults", "zoo"))
    print(parity_quality_report.write_report(options.out, faults, zoo))
    return 0


if __name__ == "__main__":
    sys.exit(main())
