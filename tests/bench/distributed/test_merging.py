"""One answer out of the ranks' answers."""

from __future__ import annotations

import pytest

from oneflow_bench.bench.distributed.group import merge_answers
from oneflow_bench.bench.distributed.placement import Address, place_ranks
from oneflow_bench.bench.errors import WorkerError
from oneflow_bench.bench.record.events import (
    BlockEvent,
    EndEvent,
    EvalEvent,
    SetupEvent,
    SpeedBlockEvent,
)
from oneflow_bench.bench.training.identity import join_digests

PLACED = place_ranks(["a", "a"], [[0, 1]] * 2, Address("a", 1))
CORES = [[0], [1]]


def prepared(**changes):
    answer = {
        "import_s": 1.0,
        "build_s": 2.0,
        "initial_digest": "aa",
        "num_params": 10,
        "first_step": 0,
        "dropped": None,
        "teacher_digest": None,
        "environment": {"oneflow": "0.9.0"},
    }
    return {**answer, **changes}


def trained(**changes):
    answer = {
        "duration_s": 2.0,
        "cpu_s": 3.0,
        "first_step": 4,
        "losses": [1.0, 0.5],
        "lr": [0.1, 0.1],
        "labels_digest": "aa",
        "images_digest": "bb",
    }
    return {**answer, **changes}


def measured(**changes):
    answer = {
        "duration_s": 2.0,
        "cpu_s": 3.0,
        "minor_faults": 5,
        "major_faults": 0,
        "voluntary_switches": 7,
        "involuntary_switches": 1,
        "instructions": 100,
        "energy_j": 50.0,
        "machine_busy_s": 2.5,
    }
    return {**answer, **changes}


def test_a_group_is_prepared_when_its_slowest_rank_is():
    merged = merge_answers(
        "prepare", [prepared(import_s=5.0), prepared(build_s=7.0)], "ddp", PLACED
    )
    assert (merged["import_s"], merged["build_s"]) == (5.0, 7.0)
    assert merged["rank_cores"] == CORES
    assert merged["environment"] == {"oneflow": "0.9.0"}


@pytest.mark.parametrize("name", ["initial_digest", "first_step", "teacher_digest"])
def test_ranks_that_begin_from_different_states_are_an_error_that_names_one(name):
    with pytest.raises(WorkerError, match=rf"rank 2 begins with another {name} \(other\)"):
        merge_answers("prepare", [prepared(), prepared(), prepared(**{name: "other"})])


def test_compiling_takes_as_long_as_the_slowest_and_the_operators_are_rank_0s():
    answers = [
        {"compile_train_s": 3.0, "compile_eval_s": 0.1, "graph_ops": 60},
        {"compile_train_s": 1.0, "compile_eval_s": 0.4, "graph_ops": 58},
    ]
    assert merge_answers("compile", answers) == {
        "compile_train_s": 3.0,
        "compile_eval_s": 0.4,
        "graph_ops": 60,
    }


def test_a_set_up_group_fits_the_record():
    compiled = {"compile_train_s": 3.0, "compile_eval_s": 0.1, "graph_ops": None}
    merged = merge_answers("setup", [{**prepared(), **compiled}] * 2, "ddp", PLACED)
    assert SetupEvent(contender="ddp", **merged).rank_cores == CORES


def test_under_ddp_the_loss_is_the_mean_of_the_ranks_losses():
    answers = [trained(losses=[1.0, 0.1]), trained(losses=[2.0, 0.2]), trained(losses=[6.0, 0.6])]
    merged = merge_answers("train", answers, "ddp")
    assert merged["losses"] == [3.0, pytest.approx(0.3, rel=1e-15)]


def test_a_loss_that_is_not_finite_on_one_rank_is_not_on_the_whole():
    answers = [trained(losses=[1.0, None]), trained(losses=[2.0, 0.5])]
    assert merge_answers("train", answers, "ddp")["losses"] == [1.5, None]


@pytest.mark.parametrize("strategy", ["global", "dp", "tp", "pp", "zero"])
def test_a_global_loss_is_known_to_every_rank(strategy):
    answers = [trained(losses=[1.0, 0.5]), trained(losses=[1.0, 0.5])]
    assert merge_answers("train", answers, strategy)["losses"] == [1.0, 0.5]


def test_a_trained_block_says_how_long_each_rank_took():
    answers = [trained(), trained(duration_s=2.5, cpu_s=1.0, labels_digest="cc")]
    merged = merge_answers("train", answers, "ddp")
    assert merged["duration_s"] == 2.5
    assert merged["rank_durations_s"] == [2.0, 2.5]
    assert merged["cpu_s"] == 4.0
    assert merged["labels_digest"] == join_digests(["aa", "cc"])
    assert merged["images_digest"] == join_digests(["bb", "bb"])
    place = {"epoch": 0, "block": 0, "turn": 0, "kind": "steady", "steps": 2, "started_s": 0.0}
    BlockEvent(contender="ddp", **place, **merged)


def test_images_that_one_rank_did_not_see_have_no_digest():
    merged = merge_answers("train", [trained(images_digest=None), trained()], "ddp")
    assert merged["images_digest"] is None


def test_what_ranks_used_is_summed_and_what_cannot_be_divided_is_rank_0s():
    answers = [measured(), measured(duration_s=2.1, energy_j=60.0, instructions=None)]
    merged = merge_answers("measure", answers, "ddp", PLACED)
    assert (merged["duration_s"], merged["cpu_s"]) == (2.1, 6.0)
    assert (merged["minor_faults"], merged["voluntary_switches"]) == (10, 14)
    assert merged["instructions"] is None
    assert merged["energy_j"] == 50.0
    place = {"contender": "ddp", "role": "contender", "replicate": 0, "wave": 0, "turn": 0}
    SpeedBlockEvent(**place, kind="scored", steps=1, untimed_steps=0, started_s=0.0, **merged)


def test_how_busy_the_cores_were_is_summed_only_over_cores_of_ones_own():
    answers = [measured(), measured()]
    assert merge_answers("measure", answers, "ddp", PLACED)["machine_busy_s"] == 5.0
    shared = place_ranks(["a", "a"], [[0]] * 2, Address("a", 1))
    assert merge_answers("measure", answers, "ddp", shared)["machine_busy_s"] == 2.5


def test_a_validation_pass_weighs_the_losses_by_the_samples():
    answers = [
        {"duration_s": 1.0, "steps": 2, "samples": 30, "correct": 20, "loss": 1.0},
        {"duration_s": 1.5, "steps": 2, "samples": 10, "correct": 4, "loss": 2.0},
    ]
    merged = merge_answers("eval", answers, "ddp")
    assert merged == {"duration_s": 1.5, "steps": 2, "samples": 40, "correct": 24, "loss": 1.25}
    assert EvalEvent(contender="ddp", epoch=0, **merged).accuracy == 0.6
    answers[1]["loss"] = None
    assert merge_answers("eval", answers, "ddp")["loss"] is None


def test_memory_is_summed_and_kept_by_rank():
    answers = [{"peak_rss_bytes": 10, "teacher_digest": None}, {"peak_rss_bytes": 30}]
    merged = merge_answers("end", answers)
    assert (merged["peak_rss_bytes"], merged["rank_peak_rss_bytes"]) == (40, [10, 30])
    EndEvent(contender="ddp", **merged)


def test_a_probe_is_as_slow_as_the_slowest_rank():
    probed = {"sync_s": 1e-4, "loader_step_time_s": 1e-3, "peak_rss_bytes": 5, "unreadable": {}}
    merged = merge_answers("probe", [probed, {**probed, "sync_s": 2e-4}])
    assert merged == {**probed, "sync_s": 2e-4, "peak_rss_bytes": 10}


def test_rank_0_says_what_was_saved():
    assert merge_answers("save", [{"digest": "aa"}, {"digest": "bb"}]) == {"digest": "aa"}


def test_the_answers_themselves_are_left_as_they_were():
    answers = [trained(), trained(losses=[3.0, 3.0])]
    merge_answers("train", answers, "ddp")
    assert answers[0] == trained()


def test_a_call_that_no_group_knows_is_an_error():
    with pytest.raises(WorkerError, match="forward cannot be asked of a group"):
        merge_answers("forward", [{}, {}])
