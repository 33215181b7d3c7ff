from __future__ import annotations

import json

import pytest
from golden import shown
from records import create_events, create_record, create_speed_events, save_record

from oneflow_bench.bench.cli import _run
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.record.events import ConditionsEvent, SetupEvent
from oneflow_bench.bench.record.run import load_record
from oneflow_bench.bench.report.before_after import (
    build_runs_report,
    compare_runs,
    dump_runs,
    pair_contenders,
)
from oneflow_bench.bench.report.screen import summarize_runs
from oneflow_bench.bench.verdict import statistics


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Of the bootstrap of two runs, whose interval is not tested here."""
    monkeypatch.setattr(statistics, "BOOTSTRAP_SAMPLES", 100)


def create_run(factor=1.0, fixed_work_s=None, control=1.0, **changes):
    """Eager and graph with a speed phase; all times are multiplied by `factor`."""
    eager, graph = 0.1 * factor, 0.08 * factor
    speed = create_speed_events(eager, graph, eager * control, 8, seed=int(factor * 100))
    record = create_record(create_events("eager"), create_events("graph"), more=speed)
    if fixed_work_s:
        record.events.append(
            ConditionsEvent(when="after", started_s=1, conditions={"fixed_work_s": fixed_work_s})
        )
    record.document.workload = record.document.workload.model_copy(update=changes)
    return record


def verdicts(found):
    return [one.speed_verdict for one in found.comparisons]


def test_contenders_of_the_same_name_are_paired():
    assert pair_contenders(create_run(), create_run()) == [("eager",) * 2, ("graph",) * 2]
    eager, graph = (create_record(create_events(name)) for name in ("eager", "graph"))
    assert pair_contenders(eager, graph) == [("eager", "graph")]  # the only ones
    assert compare_runs(eager, create_run()).left_out == ["graph"]


def test_without_a_common_name_the_error_lists_the_names_of_both():
    ours = create_record(create_events("eager"), create_events("graph"))
    theirs = create_record(create_events("a"), create_events("b"))
    with pytest.raises(InputError, match="has eager, graph and run test has a, b, and no name"):
        compare_runs(ours, theirs)


def test_files_of_the_users_code_that_differ_are_named():
    runs = {"before": {"code": {"ed.py": "1" * 64, "same.py": "5" * 64, "old.py": "6" * 64}},
            "after": {"code": {"ed.py": "2" * 64, "same.py": "5" * 64}}, "older": {}}  # fmt: skip
    made = {}
    for name, environment in runs.items():
        made[name] = create_run(model="ed:mlp")
        for place, event in enumerate(made[name].events):
            if isinstance(event, SetupEvent):
                made[name].events[place] = event.model_copy(update={"environment": environment})
    found = compare_runs(made["before"], made["after"])
    assert found.differences == [
        ("SHA-256 of ed.py", "1" * 12, "2" * 12), ("SHA-256 of old.py", "6" * 12, "not loaded"),
    ]  # fmt: skip
    assert "Nothing that the records hold differs" not in shown(build_runs_report(found))
    ((field, before, _),) = compare_runs(made["older"], made["after"]).differences
    assert (field, before) == ("your code", "unknown")


def test_a_slowdown_of_both_modes_is_seen_and_gated():
    found = compare_runs(create_run(), create_run(1.3), gate=0.05)
    assert verdicts(found) == ["slower", "slower"] and found.slower == ["eager", "graph"]
    assert found.comparisons[0].speedup.ratio == pytest.approx(1 / 1.3, abs=0.01)
    assert "Gate: eager, graph became slower by more than 5 %." in shown(build_runs_report(found))


def test_a_gate_without_a_step_time_does_not_pass(tmp_path, capsys):
    runs = []
    for name in ("before", "after"):
        short = create_record(create_events("eager", blocks=1, epochs=1), create_events("graph"))
        runs.append(save_record(short, tmp_path / name))
    found = compare_runs(*map(load_record, runs), gate=0.05)
    assert found.unmeasured == ["eager (after)"] and not found.slower
    assert "Gate: not passed. The runs do not both hold a step time of eager (after)." in shown(
        build_runs_report(found)
    )
    assert _run(["compare", *map(str, runs), "--gate", "5%"]) == 3


def test_a_gate_that_loses_its_contender_does_not_pass(tmp_path, capsys):
    old, new = (create_record(create_events("eager"), create_events(n)) for n in ("graph", "g2"))
    runs = [save_record(one, tmp_path / name) for name, one in (("old", old), ("new", new))]
    found = compare_runs(*map(load_record, runs), gate=0.05)
    assert (found.left_out, found.unmeasured) == (["graph", "g2"], ["graph"])
    assert _run(["compare", *map(str, runs), "--gate", "5%"]) == 3
    assert (
        "Gate: not passed. The runs do not both hold a step time of graph."
        in capsys.readouterr().out
    )
    more = create_record(*(create_events(name) for name in ("eager", "graph", "g2")))
    assert compare_runs(old, more, gate=0.05).unmeasured == []


@pytest.mark.parametrize("status, which", [("interrupted", 0), ("running", 1)])
def test_a_gate_of_a_run_that_did_not_end_does_not_pass(tmp_path, capsys, status, which):
    records = [create_run(), create_run()]
    records[which].document.status = status
    runs = [str(save_record(one, tmp_path / str(i))) for i, one in enumerate(records)]
    assert _run(["compare", *runs, "--gate", "5%", "--quiet"]) == 3
    said = f"Gate: not passed. Not every run came to its end: test is {status}."
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("factor, gate", [(1.0, 0.05), (1.03, 0.05), (0.7, 0.05), (1.3, 0.5)])
def test_the_gate_lets_pass_what_is_not_beyond_it(factor, gate):
    assert compare_runs(create_run(), create_run(factor), gate).slower == []


def test_a_slowdown_that_the_machine_had_too_is_no_verdict():
    found = compare_runs(create_run(1, 0.01), create_run(1.3, 0.013), gate=0.05)
    assert verdicts(found) == ["inconclusive"] * 2 and found.slower == []
    assert "took 1.300 times as long" in found.comparisons[0].speed_reason
    half = compare_runs(create_run(1, 0.01), create_run(1.3, 0.011), gate=0.05)
    assert half.slower == ["eager", "graph"]  # 18 % remain
    assert compare_runs(create_run(1, 0.01), create_run(1, 0.02), gate=0.05).slower == []


def test_a_run_whose_control_differs_from_itself_gives_no_verdict():
    found = compare_runs(create_run(), create_run(1.3, control=1.2), gate=0.05)
    assert found.slower == [] and "the control of test differs" in found.comparisons[1].speed_reason


def test_other_work_and_another_machine_give_no_verdict_and_stand_in_the_table():
    after = create_run(1.3, batch_size=64)
    after.document.environment_start = {"python": "3.9.1", "cpu": {"model": "Other", "cores": 8}}
    found = compare_runs(create_run(), after, gate=0.05)
    assert found.slower == [] and "(batch_size, processor, cores)" in found.judgements[0].reason
    assert ("Python of the suite", "unknown", "3.9.1") in found.differences
    assert ["batch_size", "32", "64"] in json.loads(dump_runs(found))["differences"]
    assert "Other" in shown(summarize_runs(found))


def test_runs_without_fresh_processes_are_compared_without_a_verdict():
    before, after = (create_record(create_events("eager", time)) for time in (0.1, 0.2))
    found = compare_runs(before, after, gate=0.05)
    assert verdicts(found) == ["inconclusive"] and found.slower == []
    assert "did not take turns" in found.comparisons[0].speed_reason
    assert "Run both without `--no-speed`" in found.judgements[0].reason
    assert "Gate: not passed. A run without a speed phase" in shown(build_runs_report(found))
