from __future__ import annotations

import json

import pytest
from made_checks import create_check, create_check_document
from records import create_events, create_record, create_speed_events

from oneflow_bench.bench.cli.run import judge_parities
from oneflow_bench.bench.parity.result import save_check
from oneflow_bench.bench.record.run import RunRecord
from oneflow_bench.bench.report.before_after import compare_record
from oneflow_bench.bench.report.comparison import (
    compare_contenders,
    summarize_contender,
)
from oneflow_bench.bench.report.parity import REMEDY
from oneflow_bench.bench.report.rows import list_measurements


def compare(left, right, **options):
    record = create_record(left, right, **options)
    return compare_contenders(record, "eager", record, "graph")


def test_identical_losses_and_a_known_speedup():
    result = compare(
        create_events("eager", 0.12, noise=0.01),
        create_events("graph", 0.10, noise=0.01, compile_s=2.0),
    )
    assert result.parity == "identical"
    assert "240 steps" in result.parity_reason
    assert result.loss.max_abs == 0 and result.loss.first_different_step is None
    assert result.speedup.low < 1.2 < result.speedup.high
    assert result.speed_verdict == "inconclusive" and "one pair of processes" in result.speed_reason
    assert result.break_even.steps == pytest.approx(2.0 / 0.02, rel=0.1)
    assert result.break_even.low is None  # one compilation of each side
    assert result.same_weights and result.same_batches and result.batches_by == "images"


def test_a_tiny_difference_is_kept_at_full_precision_and_is_not_judged_without_levels():
    result = compare(
        create_events("eager"), create_events("graph", loss_shift=3e-9, shift_from=7), max_abs=3e-9
    )
    assert result.parity == "not judged"
    assert "differ from step 8 on, by at most 3.0e-09; `bench check`" in result.parity_reason
    assert result.loss.max_abs == pytest.approx(3e-9, rel=1e-6)
    assert result.loss.first_different_step == 7
    assert result.parameter_difference[0].max_abs == 3e-9


def test_an_accuracy_or_metric_that_is_not_finite_keeps_its_place():
    left = create_events("eager", correct=None, metrics={"accuracy": 0.5, "mAP": 0.1})
    right = create_events("graph", correct=None, metrics={"accuracy": None, "mAP": None})
    result = compare(left, right)
    assert (result.baseline.accuracy, result.contender.accuracy) == ([0.5, 0.5], [None, None])
    assert result.accuracy_difference is None and result.accuracy_correlation is None
    rows = list_measurements(result.contender)
    assert (rows["accuracy by epoch, %"], rows["mAP"]) == ("NaN NaN", "not finite")
    assert rows["best accuracy, %"] == "-"
    mixed = create_events("graph", correct=None, metrics={"accuracy": None}, epochs=1)
    mixed += create_events("graph", correct=80, epochs=1)
    rows = list_measurements(summarize_contender(create_record(mixed), "graph"))
    assert rows["accuracy by epoch, %"] == "NaN 80.0"


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"weights": "other"}, "same weights"),
        ({"batches": "other"}, "same batches"),
        ({"blocks": 0}, "no blocks"),
        ({"correct": 80}, "the accuracy after epoch 1 is not"),
    ],
)
def test_other_bits_are_not_judged_without_levels(options, reason):
    result = compare(create_events("eager"), create_events("graph", **options))
    assert result.parity == "not judged"
    assert reason in result.parity_reason
    assert compare(create_events("eager"), create_events("graph"), max_abs=1e-9).parity_reason == (
        f"the recorded losses are equal and the trained weights are not; {REMEDY}"
    )


def test_equal_bits_of_a_run_that_did_not_end_are_not_judged():
    record = create_record(create_events("eager"), create_events("graph"))
    record.document.status = "running"
    result = compare_contenders(record, "eager", record, "graph")
    assert result.parity == "not judged"
    assert "the 240 recorded steps are bitwise equal, and the training did not end" in (
        result.parity_reason
    )


def test_losses_that_are_no_numbers():
    finite, broken = create_events("eager"), create_events("graph", loss=None)
    assert compare(finite, broken).parity == "inconclusive"
    both = compare(create_events("eager", loss=None), broken)
    told = "the loss is not finite from step 1 on, and a fault may hide behind it"
    assert (both.parity, both.parity_reason) == ("inconclusive", told)


def test_losses_that_are_no_numbers_in_both_are_never_a_pass(tmp_path):
    sides = [create_events(one, loss=None) for one in ("eager", "graph")]
    for verdict, parity in (("identical", "inconclusive"), ("different", "different")):
        record = create_record(*sides)
        save_check(create_check_document(create_check(verdict=verdict)), tmp_path)
        record.folder = tmp_path
        assert compare_contenders(record, "eager", record, "graph").parity == parity


def test_a_mode_that_is_not_observed_is_not_judged_with_the_reason():
    record = create_record(create_events("eager"), create_events("graph", loss_shift=1e-3))
    third = record.document.contenders[1].model_copy(update={"mode": "third"})
    record.document.contenders[1] = third
    result = compare_contenders(record, "eager", record, "graph")
    assert result.parity == "not judged"
    assert result.parity_reason.endswith("in the mode 'third', and only eager and graph are judged")


def judged(tmp_path, verdict, steps=6, start_step=0, error=None, **graph):
    """The comparison of a record in whose folder the parity phase left a result."""
    record = create_record(create_events("eager"), create_events("graph", **graph))
    check = create_check(verdict=verdict, reason="as made up", steps=steps, error=error)
    check.start_step = start_step
    save_check(create_check_document(check), tmp_path)
    record.folder = tmp_path
    return compare_contenders(record, "eager", record, "graph")


@pytest.mark.parametrize("shift", [0.0, 1e-3])
@pytest.mark.parametrize("verdict", ["different", "inconclusive", "equal within rounding"])
def test_the_verdict_of_the_parity_phase_is_that_of_the_comparison(tmp_path, verdict, shift):
    result = judged(tmp_path, verdict, loss_shift=shift)
    assert result.parity == verdict and result.check.steps == 6
    assert result.parity_reason.startswith("as made up; 6 of 240 steps were judged")
    assert "check" not in json.loads(result.model_dump_json())


def test_the_steps_before_a_late_start_are_named(tmp_path):
    reason = judged(tmp_path, "different", start_step=40, loss_shift=1e-3).parity_reason
    assert "6 of 240 steps were judged, from step 41 on, after 40 steps with equal losses" in reason


def test_a_training_that_parts_later_by_rounding_says_so_with_its_accuracies(tmp_path):
    result = judged(tmp_path, "equal within rounding", loss_shift=1e-3, shift_from=50, correct=80)
    assert "The recorded losses differ from step 51 on, by at most 1.0e-03." in result.parity_reason
    assert result.parity_reason.endswith("The last accuracies are 90.0 % and 80.0 %")


@pytest.mark.parametrize("steps", [6, 60])
def test_losses_too_far_apart_are_not_left_to_rounding_unless_they_were_judged(tmp_path, steps):
    result = judged(
        tmp_path, "equal within rounding", steps=steps, loss_shift=1.0, shift_from=50, correct=90
    )
    assert result.parity == ("inconclusive" if steps == 6 else "equal within rounding")
    assert ("the losses of step 51 are 0.03922 and 1.039" in result.parity_reason) == (steps == 6)


@pytest.mark.parametrize("correct, shift", [(50, 1e-9), (50, 0.1), (87, 1e-9)])
def test_an_accuracy_that_its_training_does_not_explain_is_inconclusive(tmp_path, correct, shift):
    result = judged(tmp_path, "equal within rounding", loss_shift=shift, correct=correct)
    is_departed = (correct, shift) == (50, 1e-9)  # else a few samples, or losses that part too
    assert result.parity == ("inconclusive" if is_departed else "equal within rounding")
    told = "but the accuracy after epoch 1 is 0.9 and 0.5, which losses so close do not explain"
    assert (told in result.parity_reason) == is_departed


@pytest.mark.parametrize("ours", [{"error": 1.0}, {"other": 3.0}, None])
def test_the_metrics_of_an_own_step_are_compared(ours):
    sides = create_events("eager", metrics=ours), create_events("graph", metrics={"error": 3.0})
    told = "the recorded losses are equal and the metric error after epoch 1 is not"
    assert told in compare(*sides).parity_reason.replace("metric other", "metric error")


def test_a_training_that_parts_after_identical_steps_is_inconclusive(tmp_path):
    assert judged(tmp_path, "identical").parity == "identical"
    result = judged(tmp_path, "identical", loss_shift=1e-3, shift_from=100)
    assert result.parity == "inconclusive" and "judges all steps" in result.parity_reason
    assert judged(tmp_path, "equal within rounding", loss=None).parity == "inconclusive"


def test_a_worker_of_the_parity_phase_that_failed_has_its_exit_status(tmp_path):
    result = judged(tmp_path, "inconclusive", error="the worker 'graph' died\nlog")
    assert (result.parity, judge_parities([result])) == ("inconclusive", 4)
    assert "the worker 'graph' died" in result.parity_reason


def test_a_slower_graph_never_breaks_even():
    result = compare(create_events("eager", 0.10), create_events("graph", 0.12, compile_s=2.0))
    assert result.break_even.steps is None


def test_two_records_give_no_speed_verdict():
    left = create_record(create_events("eager", 0.12, noise=0.02))
    right = create_record(create_events("graph", 0.10, noise=0.02))
    result = compare_contenders(left, "eager", right, "graph")
    assert result.parity == "identical"
    assert result.speedup.ratio == pytest.approx(1.2, rel=0.02)
    assert not result.speedup.paired
    assert result.speed_verdict == "inconclusive" and "did not take turns" in result.speed_reason


def test_the_speed_phase_gives_the_verdict_and_its_interval():
    # a 95 % interval holds the truth for 95 of 100 seeds, and for seed 0 it does not
    events = create_speed_events(contender=0.08, seed=1)
    sides = create_events("eager", 0.1), create_events("graph", 0.1, compile_s=2.0)
    result = compare(*sides, more=events)
    assert result.speed_verdict == "faster"
    assert result.speedup.low < 1.25 < result.speedup.high and result.speedup.count == 4
    assert result.break_even.low < result.break_even.steps < result.break_even.high
    assert result.speed.judgement.control_verdict == "equivalent"


def test_the_speed_phase_says_nothing_of_contenders_that_were_not_in_it():
    sides = [create_events(name) for name in ("eager", "tuned", "graph")]
    record = create_record(*sides, more=create_speed_events(contender=0.08))
    assert compare_contenders(record, "eager", record, "graph").speed_verdict == "faster"
    for baseline, contender in (("eager", "tuned"), ("graph", "eager")):
        other = compare_contenders(record, baseline, record, contender)
        assert other.speed is None and other.speed_verdict == "inconclusive"
        assert other.speedup.ratio == pytest.approx(1.0)


def test_every_prefix_of_a_run_can_be_compared():
    sides = create_events("eager", epochs=1, blocks=3), create_events("graph")
    whole = create_record(*sides, more=create_speed_events(replicates=2, abba_pairs=1))
    for length in range(len(whole.events)):
        partial = RunRecord(whole.document, whole.events[:length])
        compare_contenders(partial, "eager", partial, "graph").model_dump_json()


def test_a_summary_counts_what_was_measured():
    summary = summarize_contender(create_record(create_events("eager", 0.1)), "eager")
    assert summary.steps == 240
    assert summary.train_step_time_s.median == pytest.approx(0.1)
    assert summary.images_per_s == pytest.approx(320)
    assert summary.eval_step_time_s.median == pytest.approx(0.1)
    assert summary.time_to_first_step_s == pytest.approx(1.0 + 0.5 + 0.5)
    assert summary.accuracy == [0.9, 0.9]
    assert summary.peak_rss_bytes == 400 * 2**20


def test_every_contender_is_set_against_the_first():
    sides = [create_events(name) for name in ("eager", "a", "b")]
    record = create_record(*sides, max_abs=1e-9)
    found = compare_record(record)
    assert [(c.baseline.name, c.contender.name) for c in found] == [("eager", "a"), ("eager", "b")]
    # the differences of the parameters are each contender's own
    assert [[e.contender for e in c.parameter_difference] for c in found] == [["a"] * 2, ["b"] * 2]
