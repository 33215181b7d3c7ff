"""One judge, three doors: `bench check`, `bench compare`, `assert_parity` on the same workloads."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

import pytest
from command import run_command

pytestmark = [pytest.mark.oneflow, pytest.mark.usefixtures("no_pictures")]

FOLDER = Path(__file__).resolve().parent.parent  # of door_models.py
STEPS, BATCH, SIZE = 6, 4, 16
SAME = ["--data", "synthetic", "--epochs", "3", "--steps-per-epoch", "2", "--num-classes", "10"]
SAME += ["--batch-size", str(BATCH), "--image-size", str(SIZE), "--lr", "0.01"]
SAME += ["--lr-step", "2", "--lr-gamma", "0.5", "--json"]


class Workload(NamedTuple):
    model: str  # of door_models.py
    optimizer: str
    clip_norm: Optional[float]
    accumulation_steps: int

    def __str__(self) -> str:
        return "-".join(map(str, self))

    @property
    def flags(self) -> List[str]:
        clip = [] if self.clip_norm is None else ["--clip-norm", str(self.clip_norm)]
        parts = ["--accumulation-steps", str(self.accumulation_steps)]
        given = ["--model", f"door_models:{self.model}", "--optimizer", self.optimizer]
        return [*given, *clip, *(parts if self.accumulation_steps > 1 else []), *SAME]


OPTIMIZERS, CLIPS = ("sgd", "adam", "adamw"), (None, 0.5)
EVERY = [
    Workload(*one)
    for one in itertools.product(("plain", "dropped", "counting"), OPTIMIZERS, CLIPS, (1, 2, 4))
    if one[0] == "plain" or one[3] < 4
]


def bench(command: str, workload: Workload, out: Path, *more: str) -> Any:
    """(exit status, what --json printed)."""
    done = run_command(command, *workload.flags, *more, "--out", out, cwd=FOLDER)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def assert_in_tests(workload: Workload) -> bool:
    """True if `assert_parity` passes the model, with the optimizer of the workload."""
    import door_models
    import numpy as np
    import oneflow as flow

    from oneflow_bench import assert_parity
    from oneflow_bench.bench import config
    from oneflow_bench.bench.parity.own.assertion import ParityError
    from oneflow_bench.bench.training.optimizers import create_optimizer

    given: Dict[str, Any] = {"lr": 0.01, "clip_norm": workload.clip_norm}
    recipe = config.Workload(optimizer=workload.optimizer, **given)
    flow.manual_seed(0)
    source = np.random.RandomState(0)
    images = flow.tensor(source.randn(BATCH, 3, SIZE, SIZE).astype(np.float32))
    labels = flow.tensor(source.randint(0, 10, BATCH).astype(np.int32))
    try:
        assert_parity(
            getattr(door_models, workload.model)(),
            flow.nn.CrossEntropyLoss(),
            (images, labels),
            steps=STEPS,
            create_optimizer=lambda model: create_optimizer(recipe, model),
        )
    except ParityError:
        return False
    return True


def agree(workload: Workload, folder: Path) -> None:
    checked, result = bench("check", workload, folder / "check")
    (check,) = result["check"]["checks"]
    compared, comparison = bench("compare", workload, folder / "compare", "--no-speed")
    assert (compared, comparison["parity"]) == (checked, check["verdict"]), comparison
    assert checked == (1 if workload.model == "counting" else 0)
    assert assert_in_tests(workload) == (checked == 0)
    (stored,) = json.loads((folder / "compare" / "check.json").read_text())["checks"]
    assert stored["levels"] == check["levels"] and stored["steps"] == STEPS


def test_there_are_forty_workloads() -> None:
    assert len(set(EVERY)) >= 40


@pytest.mark.slow
@pytest.mark.parametrize("workload", EVERY, ids=str)
def test_three_doors_agree_on_every_workload(workload: Workload, tmp_path: Path) -> None:
    agree(workload, tmp_path)
