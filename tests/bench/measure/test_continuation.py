from __future__ import annotations

import pytest
from speed_world import World

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.measure.continuation import check_prepared, list_open, read_progress
from oneflow_bench.bench.record.events import (
    ConditionsEvent,
    InterimAnalysisEvent,
    Prepared,
    SetupEvent,
    SpeedBlockEvent,
    SpeedSetupEvent,
)
from oneflow_bench.bench.record.run import load_record
from oneflow_bench.bench.verdict.conditions import measure_controller_share
from oneflow_bench.bench.verdict.judge import analysis_alpha
from oneflow_bench.bench.verdict.summary import (
    count_analyses,
    judge_record_speed,
    select_contender,
    summarize_record_speed,
)

NAMES = ("base", "other")
HARD = {"names": NAMES, "factors": {"contender": 1.03}, "spread": 0.02}


def create_world(folder, trained=NAMES, versions="0.9.0", **fields):
    """A world whose record begins with the setups of a training."""
    world = World(folder, **{**HARD, **fields})
    world.writer.append(
        *(
            SetupEvent(
                contender=name,
                import_s=1.0,
                build_s=0.3,
                initial_digest="d" * 64,
                num_params=10,
                compile_train_s=0.0,
                compile_eval_s=0.0,
                environment={"oneflow": versions},
            )
            for name in trained
        )
    )
    return world


def go_on(before, folder, seed=2, **fields):
    world = World(folder, **{**HARD, "seed": seed, **fields})
    world.writer.append(*before.events)
    return world.run(before)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    record = create_world(tmp_path_factory.mktemp("first") / "run", budget_s=20).run()
    assert judge_record_speed(record, *NAMES).verdict == "inconclusive"
    return record


def scored(record):
    return [b for b in record.of_kind(SpeedBlockEvent) if b.kind == "scored"]


def test_a_run_goes_on_with_fresh_processes_and_all_that_it_had(first, tmp_path):
    record = go_on(first, tmp_path / "run", budget_s=60)
    assert record.events[: len(first.events)] == first.events
    old, new = scored(first), scored(record)[len(scored(first)) :]
    assert {b.wave for b in old}.isdisjoint({b.wave for b in new})
    assert {b.replicate for b in old}.isdisjoint({b.replicate for b in new})
    assert {b.steps for b in old} == {b.steps for b in new}
    assert new[0].turn > old[-1].turn and new[0].started_s > old[-1].started_s
    assert new[-1].started_s - old[-1].started_s < 62  # the budget is for the new part alone
    judgement = judge_record_speed(record, *NAMES)
    assert judgement.replicates == 1 + max(b.replicate for b in new)
    assert judgement.std_error < judge_record_speed(first, *NAMES).std_error


def test_the_analyses_go_on_with_their_numbers_and_share_one_error(first, tmp_path):
    record = go_on(first, tmp_path / "run", budget_s=60)
    before = len(first.of_kind(InterimAnalysisEvent))
    analyses = record.of_kind(InterimAnalysisEvent)
    numbers = [analysis.number for analysis in analyses]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > before
    judgement = judge_record_speed(record, *NAMES)
    assert judgement.analyses == len(numbers)
    assert sum(analysis_alpha(number) for number in numbers) < judgement.alpha


def test_the_report_on_an_interrupted_run_was_an_analysis_too(tmp_path):
    world = create_world(tmp_path / "killed", budget_s=60)
    killed = world.run_until_a_control_fails("measure", works=20)
    progress = read_progress(killed)
    assert not progress.is_analysed
    seen = count_analyses(select_contender(killed.events, "other"))
    record = go_on(killed, tmp_path / "run", budget_s=60)
    analyses = record.of_kind(InterimAnalysisEvent)
    assert [analysis.number for analysis in analyses] == list(range(1, len(analyses) + 1))
    assert judge_record_speed(record, *NAMES).analyses == len(analyses) > seen


def test_a_continued_run_can_be_continued_until_it_has_its_verdict(first, tmp_path):
    second = go_on(first, tmp_path / "second", budget_s=20)
    third = go_on(second, tmp_path / "third", seed=3, budget_s=3000)
    assert judge_record_speed(third, *NAMES).verdict == "slower"
    with pytest.raises(InputError, match=r"has its verdict \(other is slower\)"):
        list_open(third)
    summary = summarize_record_speed(third, *NAMES)
    assert summary.earlier_replicates == judge_record_speed(second, *NAMES).replicates
    assert summarize_record_speed(first, *NAMES).earlier_replicates == 0


def test_contenders_with_a_verdict_are_left_out(tmp_path):
    names = ("base", "slow", "open")
    several = {"names": names, "factors": {"slow": 1.5, "open": 1.02}}
    before = create_world(tmp_path / "first", trained=names, budget_s=40, **several).run()
    assert list_open(before) == ["open"]
    record = go_on(before, tmp_path / "run", budget_s=40, **several)
    started = record.of_kind(SpeedSetupEvent)[len(before.of_kind(SpeedSetupEvent)) :]
    assert {setup.contender for setup in started} == {"base", "open"}
    old, new = (judge_record_speed(one, "base", "slow") for one in (before, record))
    assert new.speedup == old.speedup and new.verdict == "slower"


def test_even_the_smallest_budget_adds_a_pair_of_rounds(first, tmp_path):
    record = go_on(first, tmp_path / "run", budget_s=0.1)
    assert len(scored(record)) > len(scored(first))
    assert judge_record_speed(record, *NAMES).analyses == 1 + len(
        first.of_kind(InterimAnalysisEvent)
    )


def test_what_passed_between_the_parts_is_no_time_of_the_controller():
    def event(when, started_s, cpu_s):
        conditions = {"controller_cpu_s": cpu_s}
        return ConditionsEvent(when=when, started_s=started_s, conditions=conditions)

    one = [event("before", 0, 5.0), event("after", 10, 5.1)]
    other = [event("before", 10, 0.5), event("after", 20, 0.6)]
    assert measure_controller_share(one + other) == pytest.approx(0.01)


@pytest.mark.parametrize("trained, said", [((), "trained nothing"), (NAMES, "0.8.0 and is 0.9.0")])
def test_other_versions_are_refused(tmp_path, trained, said):
    before = create_world(tmp_path / "first", trained, versions="0.8.0", budget_s=20).run()
    world = World(tmp_path / "run", **HARD)
    launched = world.launch

    def launch(contender):
        worker = launched(contender)
        receive = worker.receive
        worker.receive = lambda *call: {**receive(*call), "environment": {"oneflow": "0.9.0"}}
        return worker

    world.launch = launch
    with pytest.raises(InputError, match=said):
        world.run(before)
    world.writer.close()
    assert not [name for name, call in world.log if call == "compile"]


@pytest.mark.parametrize(
    "speed, status, said",
    [
        (True, "interrupted", "was interrupted before the first scored block"),
        (True, "running", "was killed before the first scored block"),
        (False, "failed", "has no blocks of a speed phase.*without --no-speed"),
    ],
)
def test_a_run_without_a_scored_block_is_refused_with_the_reason(tmp_path, speed, status, said):
    world = create_world(tmp_path / "run")
    document = world.writer.document
    document.measuring = document.measuring.model_copy(update={"speed": speed})
    document.status = status
    world.writer.close()
    with pytest.raises(InputError, match=said):
        read_progress(load_record(world.folder))


def test_changed_code_of_the_user_is_refused(first):
    old, new = ({"oneflow": "0.9.0", "code": {"my.py": letter * 64}} for letter in "ab")
    setup = first.of_kind(SetupEvent)[0].model_copy(update={"environment": old})
    prepared = Prepared(**setup.model_dump(include=set(Prepared.model_fields)))
    check_prepared([setup], setup.contender, prepared)
    changed = prepared.model_copy(update={"environment": new})
    with pytest.raises(InputError, match="SHA-256 of my.py of base was a{12} and is b{12} now"):
        check_prepared([setup], setup.contender, changed)
    before = setup.model_copy(update={"environment": {"oneflow": "0.9.0"}})
    check_prepared([before], setup.contender, changed)
