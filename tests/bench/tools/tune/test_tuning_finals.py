from __future__ import annotations

import pytest
from tuning_machine import Machine, create_request, variable

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.errors import WorkerError
from oneflow_bench.bench.record.run import load_record
from oneflow_bench.bench.tools.tune.candidates import Setting
from oneflow_bench.bench.tools.tune.confirm import Confirmed, Finalist, with_feeds
from oneflow_bench.bench.tools.tune.finals import Finals, choose_confirmed
from oneflow_bench.bench.tools.tune.first_steps import Entrant
from oneflow_bench.bench.tools.tune.plot import list_bars
from oneflow_bench.bench.tools.tune.race import NO_TIME
from oneflow_bench.bench.tools.tune.result import NOT_TRIED, Confirmation, ModeResult
from oneflow_bench.bench.tools.tune.run import run_search
from oneflow_bench.bench.verdict.judge import Interval, Judgement

A, B = variable("A=1"), variable("B=1")


def confirmed(name, verdict="faster", low=1.4, high=1.6):
    interval = Interval(ratio=1.5, low=low, high=high, strict_low=low, strict_high=high)
    judgement = Judgement(
        verdict=verdict, reason="", speedup=interval, control=interval, control_verdict="",
        smallest_effect=None, replicates=3, double_rounds=2, looks=1, process_spread=None,
        within_share=None,
    )  # fmt: skip
    return Confirmation(
        name=name, settings=[], verdict=verdict, reason="", judgement=judgement, folder=None
    )


def test_the_first_that_is_faster_is_chosen_unless_a_later_one_is_surely_more_so():
    first, second = confirmed("first"), confirmed("second", low=1.45, high=1.9)
    assert choose_confirmed([first, second]) is first
    better = confirmed("better", low=1.61, high=1.9)
    assert choose_confirmed([first, better]) is better
    assert choose_confirmed([confirmed("no", "inconclusive"), second]) is second
    assert choose_confirmed([confirmed("no", "slower")]) is None
    assert choose_confirmed([]) is None


class _Worker:
    def __init__(self):
        self.sent = []

    def send(self, call, **request):
        self.sent.append((call, request))

    def kill(self):
        self.killed = True


def test_only_the_finalist_with_a_feed_of_its_own_gets_it():
    finalists = [
        Finalist(Contender(name="tuned-1", mode="graph"), "graph"),
        Finalist(Contender(name="tuned-2", mode="graph"), None),
    ]
    launch = with_feeds(lambda contender: _Worker(), finalists)
    fed = {}
    for name in (
        "speed-contender-tuned-1-1",
        "speed-contender-tuned-2-1",
        "speed-baseline-stock-1",
    ):
        worker = launch(Contender(name=name, mode="graph"))
        worker.send("prepare", workload={"feed": "loader", "model": "m"})
        worker.send("compile")
        worker.kill()
        assert worker.killed and worker.sent[1] == ("compile", {})
        fed[name] = worker.sent[0][1]["workload"]
    assert [workload["feed"] for workload in fed.values()] == ["graph", "loader", "loader"]
    assert all(workload["model"] == "m" for workload in fed.values())


class _Failing(Machine):
    """A machine on which confirmations of `broken` settings die."""

    broken = frozenset()

    def launch_confirm(self, contender):
        worker = super().launch_confirm(contender)
        if self.broken and self.broken <= set(contender.env):
            worker._fail_at = ("compile", 0, WorkerError("it died"))
        return worker


def search(machine, folder, settings):
    request = create_request({"eager": settings})
    document = run_search(
        request, folder, folder / "p.json", machine.launchers(), clock=machine.clock
    )
    return document.modes[0]


def test_both_finalists_share_one_speed_phase(tmp_path):
    mode = search(Machine({"A=1": 1.5, "B=1": 1.2}), tmp_path, [A, B])
    assert [c.name for c in mode.confirmations] == ["A=1 B=1", "A=1"]
    assert {c.folder for c in mode.confirmations} == {"confirm-eager-1"}
    names = load_record(tmp_path / "confirm-eager-1").contender_names()
    assert names == ["stock", "tuned-1", "tuned-2"]


def test_a_finalist_that_dies_takes_nobody_along(tmp_path):
    machine = _Failing({"A=1": 1.5, "B=1": 1.2})
    machine.broken = frozenset(["A", "B"])
    mode = search(machine, tmp_path, [A, B])
    assert [c.verdict for c in mode.confirmations] == ["crashed", "faster"]
    assert mode.chosen == "A=1"
    assert load_record(tmp_path / "confirm-eager-1").document.status == "failed"
    assert all(worker.closed for worker in machine.workers)


def test_a_stock_that_dies_is_no_finalists_gain(tmp_path):
    machine = Machine({"A=1": 1.5})
    confirm = machine.launch_confirm

    def dying(contender):
        worker = confirm(contender)
        if "baseline" in contender.name:
            worker._fail_at = ("measure", 3, WorkerError("it died"))
        return worker

    machine.launch_confirm = dying
    mode = search(machine, tmp_path, [A])
    assert mode.chosen is None and mode.confirmations[0].verdict == "crashed"


def test_the_feed_is_searched_like_any_setting(tmp_path):
    feed = Setting(name="--feed graph", family="feed", why="w", feed="graph", modes=("eager",))
    machine = Machine({})
    mode = search(machine, tmp_path, [feed])
    feeds = {r["workload"]["feed"] for r in machine.requests}
    assert feeds == {"memory", "graph"}
    assert mode.of_phase("alone")[0].verdict in ("equivalent", "inconclusive")


@pytest.mark.parametrize("error, verdict", [(1e-3, "parity failed"), (3e-7, "faster")])
def test_a_combination_is_screened_before_it_is_confirmed(tmp_path, error, verdict):
    """Each alone computes what stock computes; together they may not."""
    machine = Machine({"A=1": 1.5, "B=1": 1.2})
    machine.joint_errors = {frozenset(["A=1", "B=1"]): error}
    mode = search(machine, tmp_path, [A, B])
    found = next(c for c in mode.confirmations if c.name == "A=1 B=1")
    assert found.verdict == verdict
    assert mode.chosen == ("A=1" if verdict == "parity failed" else "A=1 B=1")


class _Screened:
    """Nothing was screened before, and nothing fails."""

    def find(self, name):
        return None

    def screen(self, entrant, trained, failure):
        return None


class _First:
    def train_alone(self, entrant):
        return None


class _Confirmer:
    def confirm(self, folder, finalists, left_s):
        return [Confirmed("faster", "sure", None) for _ in finalists]


@pytest.mark.parametrize("left_s, second", [(100.0, NOT_TRIED), (140.0, "faster")])
def test_a_finalist_without_time_is_not_tried_rather_than_inconclusive(tmp_path, left_s, second):
    workload = create_request({"eager": [A]}).plan.workload
    programs = [
        (Entrant(name, Contender(name=name, mode="eager"), workload), []) for name in ("A", "B")
    ]
    finals = Finals(_First(), _Screened(), _Confirmer(), tmp_path, lambda: 0.0)
    found = finals.run(programs, end_s=left_s, fewest_s=99.0)
    assert [c.verdict for c in found] == ["faster", second]
    assert (found[1].reason == NO_TIME) == (second == NOT_TRIED)
    mode = ModeResult(mode="eager", stock_step_time_s=1.0, trained_steps=3, confirmations=found)
    assert len(list_bars(mode)) == (1 if second == NOT_TRIED else 2)
