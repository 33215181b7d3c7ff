from __future__ import annotations

from itertools import groupby

import pytest
from fakes import FakeSpeedWorker
from speed_world import STEP_TIME_S, World

from oneflow_bench.bench.measure.speed_phase import ALIVE_REPLICATES
from oneflow_bench.bench.record.events import (
    ConditionsEvent,
    InterimAnalysisEvent,
    SpeedBlockEvent,
    SpeedEndEvent,
    SpeedSetupEvent,
)
from oneflow_bench.bench.verdict.estimate import FEWEST_REPLICATES
from oneflow_bench.bench.verdict.judge import Margins
from oneflow_bench.bench.verdict.summary import (
    select_contender,
    summarize_record_speed,
    summarize_speed,
)


def judge(record):
    return summarize_speed(record.events, Margins())


def test_a_big_difference_is_known_within_seconds(tmp_path):
    world = World(tmp_path / "run", {"contender": 1.1})
    record = world.run()
    summary = judge(record)
    assert summary.judgement.verdict == "slower"
    assert summary.judgement.speedup.low < 1 / 1.1 < summary.judgement.speedup.high
    assert summary.judgement.control_verdict != "slower"
    assert world.clock.now < 30  # five processes of each role start in 16 s


def test_equal_programs_are_equivalent(tmp_path):
    assert judge(World(tmp_path / "run").run()).judgement.verdict == "equivalent"


def test_a_control_that_differs_spoils_the_verdict_and_says_so(tmp_path):
    world = World(tmp_path / "run", {"contender": 1.1, "control": 1.1}, budget_s=20)
    judgement = judge(world.run()).judgement
    assert judgement.verdict == "inconclusive"
    assert "the control, the baseline against itself, was judged slower" in judgement.reason


def test_all_processes_do_equal_work_in_palindromic_double_rounds(tmp_path):
    record = World(tmp_path / "run", {"contender": 1.03}).run()
    scored = [b for b in record.of_kind(SpeedBlockEvent) if b.kind == "scored"]
    assert len({b.steps for b in scored}) == 1
    by_pair = [
        [(b.role, b.replicate) for b in blocks]
        for _, blocks in groupby(scored, key=lambda b: (b.wave, b.pair))
    ]
    for forth, back in zip(by_pair[::2], by_pair[1::2]):
        assert back == forth[::-1]
        assert len(set(forth)) == len(forth) == 3 * ALIVE_REPLICATES
    assert len({tuple(order) for order in by_pair}) > 2


def test_the_budget_ends_the_phase(tmp_path):
    world = World(tmp_path / "run", {"contender": 1.013}, noise=0.3, budget_s=30)
    record = world.run()
    assert world.clock.now < 33
    analyses = record.of_kind(InterimAnalysisEvent)
    assert analyses[-1].action == "stop"
    assert [analysis.number for analysis in analyses] == list(range(1, len(analyses) + 1))


@pytest.mark.parametrize("budget_s, most", [(30, 5), (3000, 13)])
def test_a_process_that_does_not_settle_runs_on_only_where_the_budget_has_room(
    tmp_path, budget_s, most
):
    """Steps of 2 s that go on getting quicker by a tenth."""

    class Restless(World):
        def launch(self, contender):
            worker = super().launch(contender)
            steps = iter(range(10**6))
            worker._step_time_s = lambda: 0.5 + 2 * 0.9 ** next(steps)
            return worker

    record = Restless(tmp_path / "run", budget_s=budget_s, replicates=1).run()
    steps = {role: 0 for role in ("baseline", "contender", "control")}
    for block in record.of_kind(SpeedBlockEvent):
        if block.kind == "warmup":
            steps[block.role] += block.steps
    assert steps == dict.fromkeys(steps, most)


def test_the_smallest_budget_still_gives_a_ratio(tmp_path):
    summary = judge(World(tmp_path / "run", budget_s=0.1).run())
    assert summary.judgement.verdict in ("equivalent", "inconclusive")
    assert summary.judgement.replicates >= 1


def test_no_more_replicates_than_asked_for(tmp_path):
    record = World(tmp_path / "run", {"contender": 1.012}, spread=0.05, replicates=4).run()
    assert len(record.of_kind(SpeedSetupEvent)) == 3 * 4
    assert judge(record).judgement.replicates == 4


def test_until_ends_the_phase_when_the_effect_would_have_been_seen(tmp_path):
    aims = {"factors": {"contender": 1.015}, "spread": 0.02, "budget_s": 600}
    loose = World(tmp_path / "loose", until=0.1, **aims)
    summary = judge(loose.run())
    assert summary.judgement.smallest_effect <= 0.1
    tight = World(tmp_path / "tight", until=0.02, **aims)
    tight.run()
    assert loose.clock.now < tight.clock.now / 2


def test_one_process_at_a_time_compiles_warms_up_and_measures(tmp_path):
    world = World(tmp_path / "run")
    world.run()
    first = [name for name, call in world.log if call == "compile"][:3]
    assert len(set(first)) == 3
    prepared = [i for i, (_, call) in enumerate(world.log) if call == "prepare"]
    compiled = [i for i, (_, call) in enumerate(world.log) if call == "compile"]
    assert prepared[2] < compiled[0]


def test_memory_limits_how_many_are_alive_together(tmp_path):
    world = World(tmp_path / "run", budget_s=20, replicates=2)
    world.options = {"baseline": {"peak_rss_bytes": 2**50}}
    record = world.run()
    assert {b.wave for b in record.of_kind(SpeedBlockEvent)} == {0, 1}
    assert judge(record).judgement.replicates == 2


@pytest.mark.parametrize("factor, expected", [(1.0, ALIVE_REPLICATES), (50.0, FEWEST_REPLICATES)])
def test_slow_steps_leave_out_the_replicates_that_an_interval_does_not_need(
    tmp_path, factor, expected
):
    """Blocks of 0.5 s: eight rounds of twelve processes would take most of the budget."""
    slow = {role: factor for role in ("baseline", "contender", "control")}
    record = World(tmp_path / "run", slow, budget_s=60).run()
    first = {b.replicate for b in record.of_kind(SpeedBlockEvent) if b.wave == 0}
    assert len(first) == expected


def test_where_memory_holds_two_processes_of_a_side_a_second_wave_gives_an_interval(
    tmp_path, monkeypatch
):
    """Steps of 2 s: the rounds of a first analysis would use up the whole budget."""
    monkeypatch.setattr(
        "oneflow_bench.bench.measure.speed_phase.read_available_bytes", lambda: 600 * 2**20
    )
    slow = {role: 200.0 for role in ("baseline", "contender", "control")}
    world = World(tmp_path / "run", slow, noise=0.002, budget_s=200)
    record = world.run()
    assert {b.wave for b in record.of_kind(SpeedBlockEvent) if b.kind == "scored"} == {0, 1}
    judgement = judge(record).judgement
    assert judgement.replicates == 4 and judgement.speedup.low is not None
    assert world.clock.now < 200


def test_a_failing_worker_ends_all_and_what_was_measured_is_kept(tmp_path):
    world = World(tmp_path / "run")
    record = world.run_until_a_control_fails("compile")
    assert all(w.killed and w.closed for w in world.workers.values())
    assert record.of_kind(ConditionsEvent)


def test_the_turns_before_a_worker_failed_in_its_own_are_in_the_record(tmp_path):
    world = World(tmp_path / "run")
    blocks = world.run_until_a_control_fails("measure", works=20).of_kind(SpeedBlockEvent)
    turns = [call for _, call in world.log].count("measure") - 1  # the last one failed
    assert [block.turn for block in blocks] == list(range(turns))
    assert any(block.kind == "scored" for block in blocks)


def test_what_ended_before_a_worker_failed_to_is_in_the_record(tmp_path):
    world = World(tmp_path / "run")
    record = world.run_until_a_control_fails("end")
    ended = [name for name, call in world.log if call == "end"][:-1]  # the last one failed
    assert ended and all("control" not in name for name in ended)
    assert len(record.of_kind(SpeedEndEvent)) == len(ended)


def test_the_summary_has_what_the_record_holds(tmp_path):
    world = World(tmp_path / "run", {"contender": 0.8})
    world.options = {"contender": {"compile_s": 2.0}}
    record = world.run()
    summary = judge(record)
    contender = summary.roles["contender"]
    assert summary.judgement.verdict == "faster"
    assert contender.compile_s.median == 2.0
    assert contender.peak_rss_bytes == 100 * 2**20
    assert len(record.of_kind(SpeedEndEvent)) == sum(r.processes for r in summary.roles.values())
    assert summary.cpu.ratio == pytest.approx(1.25, rel=0.02)
    assert summary.instructions is None and summary.unreadable == {"energy_j": "not here"}
    assert summary.break_even.steps == pytest.approx(1.8 / 0.002, rel=0.1)
    assert summary.break_even.low < summary.break_even.steps < summary.break_even.high


NAMES = ("base", "slow", "same", "close")


def of_contender(record, name):
    return summarize_record_speed(record, "base", name)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several") / "run"
    factors = {"slow": 1.2, "close": 1.015}
    return World(folder, factors, spread=0.006, names=NAMES, budget_s=300, replicates=12).run()


def test_every_contender_has_its_own_verdict_against_the_shared_baseline(several):
    slow, same = of_contender(several, "slow"), of_contender(several, "same")
    assert slow.judgement.verdict == "slower" and same.judgement.verdict == "equivalent"
    assert slow.judgement.speedup.low < 1 / 1.2 < slow.judgement.speedup.high
    assert slow.roles["contender"].contender == "slow"
    assert slow.roles["baseline"].contender == slow.roles["control"].contender == "base"
    setups = several.of_kind(SpeedSetupEvent)
    first = [(s.role, s.contender) for s in setups if s.replicate == 0]
    assert sorted(first) == [
        ("baseline", "base"), ("contender", "close"), ("contender", "same"),
        ("contender", "slow"), ("control", "base"),
    ]  # fmt: skip


def test_a_contender_whose_verdict_is_known_leaves_the_race(several):
    processes = {
        name: of_contender(several, name).roles["contender"].processes for name in NAMES[1:]
    }
    assert processes["slow"] < processes["close"]
    # what it is judged by are the processes it was measured beside, and its own analyses
    slow = of_contender(several, "slow")
    assert slow.roles["baseline"].processes == processes["slow"] == slow.judgement.replicates
    assert slow.judgement.analyses < of_contender(several, "close").judgement.analyses


def test_the_error_rate_is_shared_between_the_contenders(several):
    alone = summarize_speed(select_contender(several.events, "same"), Margins()).judgement.speedup
    shared = of_contender(several, "same").judgement.speedup
    assert (shared.low, shared.high) == (alone.low, alone.high)
    assert (
        shared.sequential_low < alone.sequential_low
        and shared.sequential_high > alone.sequential_high
    )


def test_a_contender_may_be_called_like_a_role(tmp_path):
    names = ("control", "baseline", "contender")
    record = World(tmp_path / "run", {"contender": 1.2}, names=names).run()
    assert summarize_record_speed(record, "control", "contender").judgement.verdict == "slower"


def test_contenders_that_were_not_set_against_each_other_have_no_verdict(several):
    assert summarize_record_speed(several, "slow", "same") is None
    assert summarize_record_speed(several, "base", "base") is None


def test_a_group_of_ranks_says_which_cores_and_how_much_memory_each_had(tmp_path):
    class Group(FakeSpeedWorker):
        def receive(self, call, timeout_s):
            return {**super().receive(call, timeout_s), "rank_cores": [[0], [1]]}

        def _end(self, request):
            return {"peak_rss_bytes": 30, "rank_peak_rss_bytes": [10, 20], "teacher_digest": None}

    class RanksWorld(World):
        def launch(self, contender):
            if not contender.name.startswith("speed-contender"):
                return super().launch(contender)
            return Group(contender.name, self.clock, self.log, lambda: STEP_TIME_S)

    record = RanksWorld(tmp_path / "run", replicates=3).run()
    for setup in record.of_kind(SpeedSetupEvent):
        assert setup.rank_cores == ([[0], [1]] if setup.role == "contender" else None)
    for end in record.of_kind(SpeedEndEvent):
        assert end.rank_peak_rss_bytes == ([10, 20] if end.role == "contender" else None)
