"""One run of the command line on two machines, as far as a test can have two."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from oneflow_bench.bench.record.events import BlockEvent
from oneflow_bench.bench.record.run import load_record

COMMAND = [sys.executable, "-m", "oneflow_bench"]
RUN = [
    *("compare", "--contender", "ddp", "--contender", "graph-dp", "--model", "lenet"),
    *("--epochs", "1", "--steps-per-epoch", "6", "--batch-size", "8", "--no-speed"),
    *("--out", "run"),
]
LIMIT_S = 100


def plan_commands(master, *more):
    """What `bench launch --plan` says to run on each of two machines."""
    given = ["launch", "--plan", "--nodes", "2", "--ranks", "2", "--master", master, "--json"]
    done = subprocess.run([*COMMAND, *given, *RUN, *more], capture_output=True, check=True)
    starts = [start["command"] for start in json.loads(done.stdout)]
    assert all(command[0] == "bench" for command in starts)
    return [[*COMMAND, *command[1:]] for command in starts]


def start(command, folder, prefix=()):
    """A process whose standard error goes to a file; its working folder is the machine's own."""
    folder.mkdir()
    with open(folder / "said", "w", encoding="utf-8") as said:
        return subprocess.Popen([*prefix, *command], cwd=folder, stderr=said, stdout=said)


def wait(processes):
    """Their exit statuses; none is left."""
    try:
        return [process.wait(LIMIT_S) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def check_run(folder):
    """The run of machine 0 in `folder`: losses of all contenders equal; its environment."""
    record = load_record(folder)
    assert record.document.status == "complete"
    losses = {
        name: [loss for block in record.of_kind(BlockEvent, name) for loss in block.losses]
        for name in record.contender_names()
    }
    assert {name: len(each) for name, each in losses.items()} == {
        "eager": 6, "ddp": 6, "graph-dp": 6, "reference": 6,
    }  # fmt: skip
    for name in ("ddp", "graph-dp"):
        assert losses[name] == pytest.approx(losses["eager"], rel=1e-6)
    return record.document.environment_start["nodes"]
