from __future__ import annotations

import csv
import io
import json
import math

import pytest
from records import create_events, create_record

from oneflow_bench.bench.record.events import BlockEvent, EvalEvent, StepParametersEvent
from oneflow_bench.bench.report.comparison import compare_contenders
from oneflow_bench.bench.report.export.selection import SETTINGS, select_contenders
from oneflow_bench.bench.report.export.tables import render_csv as render
from oneflow_bench.bench.report.export.tables import render_series
from oneflow_bench.bench.report.export.tensorboard import list_curves
from oneflow_bench.bench.verdict.statistics import paired_log_ratio

LISTS = ("losses", "lr")


def read(text):
    return list(csv.DictReader(io.StringIO("".join(text))))


def test_every_block_can_be_made_again_from_its_row(record):
    rows = read(render(select_contenders([record], None)))
    made = []
    for row in rows:
        named = [name for name in BlockEvent.model_fields if name != "event"]
        fields = {name: row[name] or None for name in named}  # an empty cell: there is no value
        fields.update({name: json.loads(row[name]) for name in LISTS})
        made.append(BlockEvent.model_validate(fields))
    assert made == record.of_kind(BlockEvent, "eager") + record.of_kind(BlockEvent, "graph")


def test_the_rows_give_the_speedup_of_the_report(record):
    rows = [r for r in read(render(select_contenders([record], None))) if r["kind"] == "steady"]
    sides = [
        [float(row["step_time_s"]) for row in rows if row["contender"] == name]
        for name in ("eager", "graph")
    ]
    comparison = compare_contenders(record, "eager", record, "graph")
    assert paired_log_ratio(*sides).ratio == pytest.approx(comparison.speedup.ratio, rel=1e-12)


def test_the_run_the_job_and_the_machine_are_in_every_row(record):
    for row in read(render(select_contenders([record], "graph"))):
        assert (row["run_id"], row["model"], row["contender"]) == ("test", "alexnet_cifar", "graph")
        assert (row["cpu_model_name"], row["cpu_count"]) == ("Example CPU", "2")
        assert row["oneflow_version"] == ""  # this made-up record does not say


def test_what_only_some_contenders_have_is_an_empty_cell_for_the_others(record):
    settings = {"ranks": 2, "strategy": "dp", "blas": "mkl", "env": {"B": "1", "A": "x"}}
    graph = record.document.contenders[1].model_copy(
        update={**settings, "graph_options": {"enable_amp": True}}
    )
    record.document.contenders[1] = graph
    by_name = {row["contender"]: row for row in read(render(select_contenders([record], None)))}
    assert [by_name["eager"][name] for name in SETTINGS] == [""] * 6
    assert [by_name["graph"][name] for name in SETTINGS] == [
        "2", "dp", "", "mkl", "A=x B=1", "enable_amp=True",
    ]  # fmt: skip


def test_the_series_are_those_of_the_record(record):
    difference = {"baseline": "eager", "contender": "graph", "max_abs": 1e-9, "mean_abs": 1e-10}
    record.events += [
        StepParametersEvent(step=step, relative_l2=1e-9, largest_in="w", digests={}, **difference)
        for step in range(3)
    ]
    rows = read(render_series(select_contenders([record], None)))
    found = {}
    for row in rows:
        values = found.setdefault((row["contender"], row["series"]), {})
        values[int(row["at"])] = float(row["value"])
    blocks = record.of_kind(BlockEvent, "graph")
    losses = [loss for block in blocks for loss in block.losses]
    assert found["graph", "loss"] == dict(enumerate(losses, start=1))
    passes = record.of_kind(EvalEvent, "graph")
    assert found["graph", "accuracy"] == {e.epoch + 1: e.accuracy for e in passes}
    assert found["graph", "eval_epoch_time_s"] == {e.epoch + 1: e.duration_s for e in passes}
    seconds = sum(found["graph", "train_step_time_s"].values())
    assert sum(found["graph", "train_epoch_time_s"].values()) == pytest.approx(seconds)
    assert found["graph", "parameter_difference_by_step"] == {1: 1e-9, 2: 1e-9, 3: 1e-9}
    # five series of each, and the difference by epoch and by step
    assert len(found) == 12


def test_a_value_of_a_curve_that_is_not_finite_is_nan():
    events = create_events("eager", loss=None, correct=None, metrics={"accuracy": None})
    (eager,) = select_contenders([create_record(events)], None)
    rows = read(render_series([eager]))
    for name, count in (("loss", 240), ("accuracy", 2)):
        assert [row["value"] for row in rows if row["series"] == name] == ["nan"] * count
    points = list_curves(eager)["validation/accuracy"]
    assert [math.isnan(point.value) for point in points] == [True, True]


def test_each_cell_is_as_the_csv_module_writes_it(record):
    block = record.of_kind(BlockEvent, "eager")[-1]
    odd = {"images_digest": 'a "b",\n', "losses": [None, -0.0], "lr": [0.0, 1e-7]}
    more = [
        {"block": 90, **odd},
        {"block": 91, **odd, "rank_durations_s": [0.5], "images_digest": "%d"},
        {"block": 92, "images_digest": None, "losses": [0.0, 1e22]},
    ]
    record.events = [block.model_copy(update=update) for update in more]
    record.document.run_id = "100 %d, of them"
    selected = select_contenders([record], "eager")
    text = "".join(render(selected))
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(csv.reader(io.StringIO(text)))
    assert text == stream.getvalue()
    rows = read(text)
    assert [row["images_digest"] for row in rows] == ['a "b",\n', "%d", ""]
    assert [row["losses"] for row in rows] == [*["[null, -0.0]"] * 2, "[0.0, 1e+22]"]
    assert rows[1]["rank_durations_s"] == "[0.5]" and rows[2]["rank_durations_s"] == ""
    losses = [row["value"] for row in read(render_series(selected)) if row["series"] == "loss"]
    assert losses == ["nan", "-0.0", "nan", "-0.0", "0.0", "1e+22"]
