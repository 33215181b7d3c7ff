"""Read by TensorBoard itself, in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import numpy as np
import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.record.events import BlockEvent, EvalEvent
from oneflow_bench.bench.report.curves import COLUMNS
from oneflow_bench.bench.report.export import export
from oneflow_bench.bench.report.export.selection import select_contenders
from oneflow_bench.bench.report.export.tensorboard import list_curves

READER = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
events.Reload()
print(json.dumps({tag: [[e.step, e.value, e.wall_time] for e in events.Scalars(tag)]
                  for tag in events.Tags()["scalars"]}))
"""


def read_events(folder):
    done = subprocess.run(
        [sys.executable, "-c", READER, str(folder)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_tensorboard_reads_every_curve_of_each_contender(record, tmp_path):
    assert export(select_contenders([record], None), "tensorboard", tmp_path / "events") is None
    assert sorted(path.name for path in (tmp_path / "events").iterdir()) == ["eager", "graph"]
    curves = read_events(tmp_path / "events" / "graph")
    assert set(curves) == {
        "train/loss",
        "train/lr",
        "train/step_time_s",
        "validation/accuracy",
        "validation/loss",
    }
    blocks = record.of_kind(BlockEvent, "graph")
    losses = [loss for block in blocks for loss in block.losses]
    assert [value for _, value, _ in curves["train/loss"]] == [float(np.float32(x)) for x in losses]
    assert [step for step, _, _ in curves["train/loss"]] == list(range(240))
    assert [value for _, value, _ in curves["train/step_time_s"]] == pytest.approx(
        [block.duration_s / block.steps for block in blocks]
    )
    assert [step for step, _, _ in curves["train/step_time_s"]] == list(range(5, 241, 5))
    accuracy = [e.accuracy for e in record.of_kind(EvalEvent, "graph")]
    assert [value for _, value, _ in curves["validation/accuracy"]] == pytest.approx(accuracy)
    assert [step for step, _, _ in curves["validation/accuracy"]] == [120, 240]
    start = 1767225600  # 2026-01-01 in UTC
    assert curves["train/step_time_s"][0][2] == pytest.approx(start + blocks[0].duration_s)


def test_a_loss_that_is_not_finite_stays_in_its_place(record, tmp_path):
    blocks = record.of_kind(BlockEvent, "eager")
    broken = blocks[-1].model_copy(update={"losses": [None] * 5})
    record.events[record.events.index(blocks[-1])] = broken
    export(select_contenders([record], "eager"), "tensorboard", tmp_path / "events")
    curve = read_events(tmp_path / "events" / "eager")["train/loss"]
    assert len(curve) == 240
    assert [np.isnan(value) for _, value, _ in curve[-6:]] == [False] + [True] * 5


def test_without_the_writer_the_extra_is_named_and_nothing_is_left(record, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("tensorboardX.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match=r"pip install 'oneflow-bench\[tensorboard\]'"):
        export(select_contenders([record], None), "tensorboard", tmp_path / "events")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("room", [0, 10_000])
def test_a_full_disk_is_one_sentence_and_leaves_no_file(record, tmp_path, capfd, room):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limit[1]))
    try:
        with pytest.raises(InputError, match="events cannot be written .File too large.; give"):
            export(select_contenders([record], None), "tensorboard", tmp_path / "events")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list(tmp_path.iterdir()) == [] and capfd.readouterr() == ("", "")


def test_the_extra_that_is_named_exists():
    from pathlib import Path

    from oneflow_bench.bench.report.export.tensorboard import EXTRA

    setup = Path(__file__).resolve().parents[4] / "setup.py"
    assert f'"{EXTRA}": TENSORBOARD' in setup.read_text()


def test_a_long_curve_keeps_its_extremes(record):
    record.events += [
        BlockEvent(
            contender="graph", epoch=1, block=48 + i, turn=0, kind="steady", steps=100, cpu_s=1.0,
            duration_s=1.0, started_s=100.0 + i, first_step=240 + 100 * i, lr=[0.1] * 100,
            losses=[9.0 if (i, k) == (77, 50) else k / 100 for k in range(100)], labels_digest="",
        )
        for i in range(200)
    ]  # fmt: skip
    (graph,) = select_contenders([record], "graph")
    points = list_curves(graph)["train/loss"]
    assert len(points) <= 2 * COLUMNS and points[0].step == 0
    assert [point.step for point in points if point.value == 9.0] == [240 + 7750]
