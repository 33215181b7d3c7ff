"""How good is the parity check: faults found and named, false alarms, and time.

    python benchmarks/parity_quality.py doors [--kinds 'batch*']     one fault a kind, three doors
    python benchmarks/parity_quality.py faults [--kinds 'batch*']    many sizes, `bench check` alone
    python benchmarks/parity_quality.py zoo [--models 'resnet*']     nothing planted, every model
    python benchmarks/parity_quality.py flowvision [--models '*']    the same, models of flowvision
    python benchmarks/parity_quality.py report                       tables and pictures

The models without faults are checked with three seeds and the settings of SETTINGS; `--settings`
chooses among these. flowvision is no dependency of the suite; it is installed by `pip install
--no-deps flowvision==0.2.1 tabulate six`. Each row is stored when it ends (doors.jsonl,
faults.jsonl, zoo.jsonl and flowvision.jsonl in results/parity-quality). A second call continues
after the last stored row.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Tuple
from unittest import mock

import parity_quality_report
from faults.catalogue import FAULTS
from faults.doors import list_cases, run_door
from faults.own import KINDS
from faults.planting import Fault
from faulty_worker import VARIABLE
from study import Row, load_rows, run_study

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.parity import locate
from oneflow_bench.bench.parity.result import LEVELS, ModelCheck
from oneflow_bench.bench.parity.run import GRAPH, check_model, create_check_launcher
from oneflow_bench.bench.plan.check_plan import create_check_flags
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.record.machine import describe_machine
from oneflow_bench.bench.record.run import write_atomically
from oneflow_bench.bench.worker.environment import RuntimeResolver
from oneflow_bench.bench.worker.process import create_launcher
from oneflow_bench.models import get_model_spec, list_models

SEEDS = (0, 1, 2)
SETTINGS: Dict[str, Dict[str, Any]] = {
    "sgd": {},
    "adamw": {"optimizer": "adamw", "lr": 0.001},
    "clipping": {"clip_norm": 0.1},
    "accumulation": {"accumulation_steps": 2},
}
VISION_SIZE = 64  # pixels, of a flowvision model that takes any size
LARGE_BATCH = 2  # of one at 224 pixels: with four images the swin needs 12 GB in each process
VISION_SIZES = dict.fromkeys(
    ("deit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "mlp_mixer_s32_224",
     "convnext_tiny_224"), 224,
)  # fmt: skip
VISION_MODELS = (
    "shufflenet_v2_x0_5", "squeezenet1_1", "mnasnet0_5", "mobilenet_v3_small", "mobilenet_v2",
    "ghostnet", "efficientnet_b0", "densenet121", "resnet18", "resnext50_32x4d", "alexnet",
    "vgg11_bn", *VISION_SIZES,
)  # fmt: skip
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
        launch = create_faulty_launcher(folder, fault)
        # the fault is in no file, so no script could show it
        with mock.patch.object(locate, "NO_SCRIPT", LEVELS):
            check = check_model(plan, folder, TIMEOUT_S, launch=launch)
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


def list_clean_cases(models: List[str], settings: str) -> List[Tuple[str, Tuple[str, int, str]]]:
    """Name and arguments of `check_clean_model`; the settings fit a wildcard."""
    return [
        (f"{model}/seed {seed}/{setting}", (model, seed, setting))
        for seed in SEEDS
        for setting in fnmatch.filter(SETTINGS, settings)
        for model in models
    ]


def check_clean_model(model: str, seed: int, setting: str) -> Row:
    """A check of one model with nothing planted; a difference here must be OneFlow's."""
    recipe = {"seed": seed, **SETTINGS[setting]}
    name = model.partition(":")[2]
    if name:
        recipe["image_size"] = VISION_SIZES.get(name, VISION_SIZE)
    if name in VISION_SIZES:
        recipe["batch_size"] = LARGE_BATCH
    plan = create_plan(create_check_flags(model, recipe))
    with tempfile.TemporaryDirectory() as temporary:
        check = check_model(plan, Path(temporary), TIMEOUT_S)
    tensors = sum(level.tensors for level in check.levels)
    modules = next(level.tensors for level in check.levels if level.level == "forward")
    return {
        "model": model,
        "seed": seed,
        "setting": setting,
        "verdict": check.verdict,
        "reason": check.reason,
        "reproducible": check.reproducible,
        "tensors": tensors,
        "modules": modules,
        "num_params": None if ":" in model else _num_params(model),
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
    parser.add_argument("study", choices=["doors", "faults", "zoo", "flowvision", "report"])
    parser.add_argument("--out", type=Path, default=Path("results/parity-quality"))
    parser.add_argument("--kinds", default="*", help="wildcard over kinds of faults")
    parser.add_argument("--door", default="*", help="check, compare or assert; default: all")
    parser.add_argument("--models", default="*", help="wildcard over models")
    parser.add_argument("--settings", default="*", help=f"wildcard over {', '.join(SETTINGS)}")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.study == "doors":
        kinds = [KINDS[name] for name in fnmatch.filter(KINDS, options.kinds)]
        cases = [c for c in list_cases(kinds) if fnmatch.fnmatch(c[1][1], options.door)]
        run_study(options.out / "doors.jsonl", cases, run_door)
    elif options.study == "faults":
        chosen = [f for f in FAULTS if fnmatch.fnmatchcase(f.kind, options.kinds)]
        run_study(options.out / "faults.jsonl", [(f.name, (f,)) for f in chosen], plant)
    elif options.study == "zoo":
        models = sorted(list_models(options.models), key=_num_params)
        cases = list_clean_cases(models, options.settings)
        run_study(options.out / "zoo.jsonl", cases, check_clean_model)
    elif options.study == "flowvision":
        chosen = fnmatch.filter(VISION_MODELS, options.models)
        cases = list_clean_cases([f"flowvision.models:{name}" for name in chosen], options.settings)
        run_study(options.out / "flowvision.jsonl", cases, check_clean_model)
    if options.study != "report":
        machine = json.dumps(describe_machine(), indent=1) + "\n"
        write_atomically(options.out / "machine.json", machine)
        return 0
    rows = {
        name: load_rows(options.out / f"{name}.jsonl") for name in parity_quality_report.STUDIES
    }
    print(parity_quality_report.write_report(options.out, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
