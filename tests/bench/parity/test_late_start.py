"""A training that parts late: judged from its last equal state, and from its first step."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.parity import causes
from oneflow_bench.bench.parity.causes import DepartedError, check_start
from oneflow_bench.bench.parity.result import load_check
from oneflow_bench.bench.parity.run import check_pair, create_check_launcher
from oneflow_bench.bench.parity.tensors import EAGER, GRAPH, ContenderPair, LateStart
from oneflow_bench.bench.record.events import BlockEvent
from oneflow_bench.bench.record.run import load_record

HERE = Path(__file__).parent
DONE, STEPS_PER_EPOCH, STEPS = 12, 6, 6  # updates before the start, and judged ones
SMALL = "--data synthetic --image-size 32 --batch-size 4 --epochs 3 --steps-per-epoch 6"


def run(command, flags, folder):
    """Run a command of the suite in `folder`; its exit status and its record."""
    done = subprocess.run(
        [sys.executable, "-m", "oneflow_bench", command, *SMALL.split(), *flags.split(),
         "--out", str(folder)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(HERE)}, cwd=HERE,
    )  # fmt: skip
    assert (folder / "record.json").is_file(), done.stderr
    return done.returncode, load_record(folder)


def create_pair(losses):
    start = LateStart(Path("state.safetensors"), DONE, losses, other_steps=18)
    return ContenderPair(Workload(), STEPS_PER_EPOCH, STEPS, None, start=start)


def test_a_late_start_must_repeat_the_losses_of_both_sides():
    facts = {EAGER: {"losses": [2.0, None]}, GRAPH: {"losses": [2.0, 1.0]}}
    check_start(create_pair({EAGER: (2.0, None, 3.0), GRAPH: (2.0, 1.0, 3.0)}), facts)
    with pytest.raises(DepartedError, match="graph mode did not repeat its losses"):
        check_start(create_pair({EAGER: (2.0, None), GRAPH: (2.0, 1.5)}), facts)
    check_start(replace(create_pair({}), start=None), facts)


WORKLOADS = {
    "momentum and a decay": "--model lenet --lr-step 2",
    "batch norm": "--model resnet20",
    "adamw": "--model lenet --optimizer adamw --lr 0.001",
    "a warm-up and a cosine": "--model lenet --schedule cosine --warmup-epochs 1.5",
    "clipping": "--model lenet --clip-norm 0.1",
    "accumulation": "--model lenet --accumulation-steps 2",
    "dropout": "--model own_models:dropping",
}


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.parametrize("name", WORKLOADS)
def test_a_late_start_has_the_verdict_of_the_whole_run(tmp_path, monkeypatch, name):
    _, record = run("eager", f"{WORKLOADS[name]} --keep-checkpoints every:2", tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints" / "eager"
    (state,) = folder.glob("epoch-002-*[0-9].safetensors")
    pair = ContenderPair(
        record.document.workload,
        STEPS_PER_EPOCH,
        STEPS,
        None,
        start=LateStart(state, DONE, {}, other_steps=18),
    )
    monkeypatch.setattr(causes, "check_start", lambda pair, facts: None)
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    launch = create_check_launcher(tmp_path)
    arguments = (tmp_path, 600.0, lambda message, done, total: None, launch)
    late = check_pair(pair, *arguments)
    whole = check_pair(replace(pair, steps=DONE + STEPS, start=None), *arguments)
    assert late.verdict == whole.verdict in ("identical", "equal within rounding")
    assert (late.start_step, late.steps, whole.start_step) == (DONE, STEPS, 0)
    trained = [loss for block in record.of_kind(BlockEvent) for loss in block.losses]
    # masks begin anew, and OneFlow's sum of the parts rounds otherwise in some processes
    repeats = name not in ("dropout", "accumulation")
    assert late.eager.losses == trained[DONE:] or not repeats


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.parametrize(
    "model, start_step, reason",
    [
        ("aging", DONE, "later forward: step 15 block.0 differs"),
        ("late", 0, "eager mode did not repeat its losses from the checkpoint of step 12 on"),
    ],
)
def test_a_fault_that_is_seen_late_is_found(tmp_path, model, start_step, reason):
    flags = f"--model own_models:{model} --no-speed --momentum 0 --schedule constant"
    status, _ = run("compare", flags, tmp_path / "run")
    (check,) = load_check(tmp_path / "run").checks
    assert (status, check.verdict, check.start_step) == (1, "different", start_step)
    assert reason in check.reason
    assert (check.cause is not None) == (model == "late")


@pytest.mark.slow
@pytest.mark.oneflow
def test_a_resumed_run_is_judged_as_it_went_on(tmp_path):
    run("eager", "--model lenet --epochs 2", tmp_path / "first")
    flags = f"--model lenet --no-speed --resume {tmp_path / 'first'}"
    status, record = run("compare", flags, tmp_path / "second")
    (check,) = load_check(tmp_path / "second").checks
    assert (status, check.error, record.document.start_epoch) == (0, None, 2)
    for side in (EAGER, GRAPH):
        blocks = record.of_kind(BlockEvent, side)
        assert getattr(check, side).losses == [x for block in blocks for x in block.losses]
