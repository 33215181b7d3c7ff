from __future__ import annotations

import pytest
from histories import create_run, create_runs
from records import create_events, create_record, create_speed_events, save_record

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.tools.history import METRICS
from oneflow_bench.bench.tools.history.series import (
    build_history,
    find_runs,
    find_worse,
    load_history,
)

ALL = list(METRICS)


@pytest.fixture(autouse=True)
def no_memory(monkeypatch):
    monkeypatch.setenv("BENCH_CACHE_DIR", "")


def curve_of(series, metric, contender):
    (found,) = [c for c in series.curves if (c.metric, c.contender) == (metric, contender)]
    return found


def test_a_series_holds_every_metric_of_every_contender_in_order_of_time():
    (series,) = build_history(list(reversed(create_runs([0.08] * 4))), ALL).series
    assert series.runs == ["run-00", "run-01", "run-02", "run-03"]
    assert {(curve.metric, curve.contender) for curve in series.curves} == {
        ("train_step_time_s", "eager"),
        ("train_step_time_s", "graph"),
        ("speedup", "graph"),
        ("compile_s", "graph"),  # eager compiles nothing
        ("peak_rss_bytes", "eager"),
        ("peak_rss_bytes", "graph"),
        ("accuracy", "eager"),
        ("accuracy", "graph"),
        ("parity", "graph"),
    }
    step = curve_of(series, "train_step_time_s", "eager").points[0]
    assert step.value == pytest.approx(0.1, rel=0.01)
    assert step.low < step.value < step.high
    assert curve_of(series, "speedup", "graph").points[0].value == pytest.approx(1.25, rel=0.03)
    assert curve_of(series, "parity", "graph").points[0].value == "identical"
    assert curve_of(series, "accuracy", "graph").points[0].value == 0.9


def test_the_speedup_is_the_speed_phases_where_a_run_has_one():
    sides = create_events("eager", 0.1), create_events("graph", 0.1)
    for more, ratio in (((), 1.0), (create_speed_events(contender=0.08), 1.25)):
        (series,) = build_history([create_record(*sides, more=more)], ["speedup"]).series
        (point,) = series.curves[0].points
        assert point.value == pytest.approx(ratio, rel=0.01)


def test_a_change_is_marked_at_its_run_and_in_its_metrics_alone():
    (series,) = build_history(create_runs([0.08] * 8 + [0.09] * 8), ALL).series
    changed = {(c.metric, c.contender): c.changes for c in series.curves if c.changes}
    assert set(changed) == {("train_step_time_s", "graph"), ("speedup", "graph")}
    (change,) = changed["train_step_time_s", "graph"]
    assert (change.index, change.run_id) == (8, "run-08")
    assert change.relative == pytest.approx(0.125, abs=0.02)
    (change,) = changed["speedup", "graph"]
    assert change.relative == pytest.approx(1 / 1.125 - 1, abs=0.02)


def test_accuracy_changes_in_points_and_parity_by_verdict():
    runs = [create_run(day, correct=90) for day in range(6)]
    runs += [create_run(day, correct=85, loss_shift=1e-7) for day in range(6, 12)]
    (series,) = build_history(runs, ALL).series
    (change,) = curve_of(series, "accuracy", "graph").changes
    assert (change.run_id, change.before, change.after) == ("run-06", 0.9, 0.85)
    (change,) = curve_of(series, "parity", "graph").changes
    assert (change.run_id, change.before, change.relative) == ("run-06", "identical", None)
    assert change.after == "not judged"
    assert "parity of graph is worse" in find_worse(build_history(runs, ["parity"]))[0]


def test_an_accuracy_that_is_not_finite_is_no_point_and_is_told():
    runs = [create_run(0), create_run(1, correct=None, metrics={"accuracy": None})]
    history = build_history(runs, ["accuracy"])
    assert len(curve_of(history.series[0], "accuracy", "graph").points) == 1
    assert len(curve_of(history.series[0], "accuracy", "eager").points) == 2
    assert history.left_out == ["run-01: accuracy of graph is not finite"]
    assert find_worse(history) == ["series 1: accuracy of graph is not finite in run-01"]
    assert find_worse(build_history([*runs, create_run(2)], ["accuracy"])) == []


def test_other_machines_and_settings_stand_apart_with_what_differs():
    runs = create_runs([0.08] * 3) + [create_run(9, cores=4), create_run(10, cores=4)]
    series = build_history(runs, ALL).series
    assert [len(one.runs) for one in series] == [3, 2]
    assert [one.differences for one in series] == [[], ["cores 4 rather than 2"]]
    assert (series[1].first[:10], series[1].last[:10]) == ("2026-01-10", "2026-01-11")


def test_incomplete_runs_and_copies_are_left_out_and_named():
    runs = [create_run(0), create_run(1), create_run(1)]
    runs[0].document.status = "interrupted"
    history = build_history(runs, ALL)
    assert history.series[0].runs == ["run-01"]
    assert history.left_out == [
        "run-00: it is interrupted, not complete",
        "run-01: a copy of a run that is there already",
    ]


def test_a_run_stays_where_the_one_that_continues_it_is_not_selected():
    runs = create_runs([0.1, 0.1])
    runs[1].document.environment_start["continues"] = "run-00"
    for run, branch in zip(runs, ("main", "dev")):
        run.document.environment_start["project"] = {"branch": branch, "commit": None}
    history = build_history(runs, ["train_step_time_s"], {"branch": "main"})
    assert [series.runs for series in history.series] == [["run-00"]]
    assert history.left_out == ["run-01: branch dev"]


def test_a_run_that_another_continues_is_no_point_of_its_own():
    runs = [create_run(0), create_run(1), create_run(2)]
    runs[1].document.environment_start["continues"] = "run-00"
    history = build_history(runs, ALL)
    assert history.series[0].runs == ["run-01", "run-02"]
    assert history.left_out == ["run-00: run-01 continues it, with its samples"]
    runs[1].document.status = "interrupted"
    assert build_history(runs, ALL).series[0].runs == ["run-00", "run-02"]


def test_only_the_metrics_asked_for_are_there():
    (series,) = build_history(create_runs([0.08] * 2), ["speedup"]).series
    assert [curve.metric for curve in series.curves] == ["speedup"]


def test_runs_are_found_in_folders_and_by_themselves_once(tmp_path):
    one = save_record(create_run(0), tmp_path / "results" / "one")
    two = save_record(create_run(1), tmp_path / "results" / "two")
    (tmp_path / "results" / "not-a-run").mkdir()
    assert find_runs([tmp_path / "results", two]) == [one, two]
    assert find_runs([two]) == [two]


def test_a_damaged_record_is_named_and_the_others_are_read(tmp_path):
    for day in range(2):
        save_record(create_run(day), tmp_path / f"run-{day}")
    (tmp_path / "run-0" / "samples.jsonl").write_text("{\n")
    done = []
    history = load_history([tmp_path], ALL, lambda *at: done.append(at))
    assert history.series[0].runs == ["run-01"]
    assert len(history.skipped) == 1 and "run-0/samples.jsonl line 1" in history.skipped[0]
    assert done == [(1, 2), (2, 2)]


@pytest.mark.parametrize("make, words", [
    (lambda at: None, "is no folder; make a run"),
    (lambda at: at.mkdir(), "holds no run"),
    (lambda at: save_record(create_run(0), at / "run") and (at / "run/record.json").write_text("{"),
     "no complete run was found among 1: .*record.json is not JSON"),
])  # fmt: skip
def test_nothing_to_show_is_said_in_a_sentence(tmp_path, make, words):
    make(tmp_path / "results")
    with pytest.raises(InputError, match=words):
        load_history([tmp_path / "results"], ALL)


def on_branch(record, branch, label=None, data="/a/photos", checksum="c" * 64):
    document = record.document
    document.environment_start.update(
        project={"branch": branch, "commit": "abc"}, data_checksum=checksum
    )
    document.workload = document.workload.model_copy(update={"data": data})
    document.measuring = document.measuring.model_copy(update={"label": label})
    return record


def test_two_alternating_branches_are_two_series_without_a_change():
    times = [0.08, 0.1] * 8
    runs = [on_branch(run, "ab"[i % 2]) for i, run in enumerate(create_runs(times))]
    history = build_history(runs, ["train_step_time_s"])
    assert [one.key["branch"] for one in history.series] == ["a", "b"]
    assert history.series[1].differences == ["branch b rather than a"]
    assert not any(curve.changes for one in history.series for curve in one.curves)
    assert history.series[0].curves[0].points[0].commit == "abc"


def test_a_branch_or_a_label_selects_and_a_label_splits():
    runs = create_runs([0.08] * 4)
    for run, where in zip(runs, [("main", "x"), ("main", "y"), ("main", "x"), ("other", None)]):
        on_branch(run, *where)
    assert sorted(one.runs for one in build_history(runs, []).series) == [
        ["run-00", "run-02"], ["run-01"], ["run-03"]
    ]  # fmt: skip
    chosen = build_history(runs, [], {"branch": "main", "label": "x"})
    assert [one.runs for one in chosen.series] == [["run-00", "run-02"]]
    assert chosen.left_out == ["run-01: label y", "run-03: branch other, label none"]


def test_data_are_known_by_their_checksum_and_never_by_their_folder():
    runs = create_runs([0.08] * 4)
    places = [("/a/photos", "c"), ("/moved/here", "c"), ("/a/photos", "d"), ("/a/photos", None)]
    for run, (folder, checksum) in zip(runs, places):
        on_branch(run, "main", data=folder, checksum=checksum and checksum * 64)
    found = [one.runs for one in build_history(runs, []).series]
    assert sorted(found) == [["run-00", "run-01"], ["run-02"], ["run-03"]]


@pytest.mark.parametrize(
    "times, worse",
    [([0.08] * 6 + [0.1] * 4, True), ([0.1] * 6 + [0.08] * 4, False), ([0.08] * 10, False),
     ([0.1] * 5 + [0.08] * 5 + [0.1] * 5, True), ([0.08] * 5 + [0.1] * 5 + [0.08] * 5, False)],
)  # fmt: skip
def test_the_newest_level_is_worse_by_the_changes_found(times, worse):
    found = find_worse(build_history(create_runs(times), ["train_step_time_s", "speedup"]))
    assert len(found) == 2 * worse
    if worse:
        assert found[0].startswith("series 1: train step of graph is worse from run-")
