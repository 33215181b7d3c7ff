from __future__ import annotations

import pytest

from oneflow_bench.bench.distributed.report import (
    FLOOR,
    MULTIPLIER,
    ReferenceErrors,
    find_known,
    judge_ranks,
    measure_errors,
    measure_relative,
)
from oneflow_bench.bench.parity.judge import load_known_differences
from oneflow_bench.bench.plan.modes import list_strategies

UNJUDGED = ("not judged", "the recorded losses differ from step 1 on")


def errors(contender, baseline=1e-7):
    return ReferenceErrors(
        steps=20, contender=contender, baseline=baseline, allowed=MULTIPLIER * baseline + FLOOR
    )


def judge(verdict=UNJUDGED, found=None, accuracy=0.0, kinds=(), oneflow="0.9.0"):
    known = find_known(kinds, "ddp", oneflow)
    return judge_ranks(verdict, found, 3e-2, accuracy, known)


def test_errors_are_relative_to_the_reference_over_the_first_steps():
    found = measure_errors([2.0 * (1 + 1e-6)] * 20, [2.0 * (1 - 1e-4)] * 20, [2.0] * 20)
    assert found.steps == 20
    assert found.baseline == pytest.approx(1e-6, rel=1e-3)
    assert found.contender == pytest.approx(1e-4, rel=1e-3)
    assert found.allowed == pytest.approx(4 * found.baseline + 1e-6)


def test_a_loss_near_zero_is_not_divided_by():
    assert measure_relative([1e-9], [0.0]) == pytest.approx(1e-6)


def test_a_run_cut_short_is_compared_as_far_as_all_got():
    assert measure_errors([2.0] * 10, [2.0] * 20, [2.0] * 20).steps == 10
    assert measure_errors([], [2.0], [2.0]) is None


def test_losses_that_are_not_finite_have_no_error():
    assert measure_errors([2.0, 2.0], [2.0, None], [2.0, 2.0]) is None
    assert measure_relative([1.0, None], [2.0, 2.0]) == 0.5
    assert measure_relative([], []) == 0.0


@pytest.mark.parametrize(
    "contender, parity",
    [(1e-7, "equal within rounding"), (1.39e-6, "equal within rounding"), (1.41e-6, "different")],
)
def test_the_error_may_be_a_few_times_that_of_one_process(contender, parity):
    judged = judge(found=errors(contender))
    assert judged.parity == parity and judged.expected is None
    assert f"{contender:.1e}" in judged.reason


def test_a_large_error_is_rounding_if_that_of_one_process_is_as_large():
    assert judge(found=errors(5e-5)).parity == "different"
    assert judge(found=errors(3e-4, baseline=1e-4)).parity == "equal within rounding"


def test_another_accuracy_is_different_whatever_the_first_losses_are():
    assert judge(found=errors(1e-7), accuracy=-0.05).parity == "different"


@pytest.mark.parametrize("verdict", [("identical", "x"), ("inconclusive", "other batches")])
def test_what_the_reference_cannot_say_better_stays(verdict):
    judged = judge(verdict, errors(1.0))
    assert (judged.parity, judged.reason) == verdict


def test_without_a_reference_the_verdict_of_the_two_stays():
    assert judge(found=None).parity == "not judged"


@pytest.mark.parametrize(
    "kinds, known",
    [
        (["BatchNorm2d", "Conv2d"], "batch-norm-shards"),
        (["FusedBatchNorm2d"], "batch-norm-shards"),
        (["Dropout"], "dropout-masks"),
    ],
)
def test_a_difference_with_a_known_cause_is_expected_with_its_size(kinds, known):
    judged = judge(found=errors(3e-2), kinds=kinds)
    assert judged.parity == "different" and judged.expected.id == known
    assert judged.expected.size == 3e-2 and "expected, by 3.0e-02" in judged.reason


@pytest.mark.parametrize("kinds", [[], ["Conv2d", "LayerNorm", "Linear"]])
def test_no_cause_is_made_up(kinds):
    assert judge(found=errors(3e-2), kinds=kinds).expected is None


@pytest.mark.parametrize("word", [word for word in list_strategies() if word != "graph-pp"])
def test_a_pipeline_alone_takes_batch_norm_over_the_whole_batch(word):
    assert "batch-norm-shards" in {one.id for one in find_known(["BatchNorm2d"], word, "0.9.0")}
    others = find_known(["BatchNorm2d"], "graph-pp", "0.9.0")
    assert {one.id for one in others} == {"gradient-order"}


def test_the_causes_are_those_of_one_version():
    assert judge(found=errors(3e-2), kinds=["BatchNorm2d"], oneflow="9.9.9").expected is None


def test_the_order_of_the_gradients_explains_rounding_and_no_difference():
    assert "another order of the same additions" in judge(found=errors(1e-7)).reason
    assert "another order" not in judge(found=errors(1.0)).reason


def test_the_entries_of_ranks_are_not_met_by_a_check_of_two_modes():
    entries = [one for one in load_known_differences() if one.levels == ["ranks"]]
    assert {one.id for one in entries} == {"batch-norm-shards", "dropout-masks", "gradient-order"}
    for entry in entries:
        assert not entry.explains("trained", "bn1.running_mean", "BatchNorm2d", "0.9.0")
