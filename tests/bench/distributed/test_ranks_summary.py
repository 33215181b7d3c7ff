from __future__ import annotations

import pytest
from records import RANK_PEAKS, create_rank_record, create_speed_events

import oneflow_bench.bench.distributed  # noqa: F401  registers its strategies and its report
from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.distributed.summary import (
    derive_communication,
    measure_spread,
    sent_bytes,
    summarize_ranks,
)
from oneflow_bench.bench.report.before_after import compare_record
from oneflow_bench.bench.report.comparison import compare_contenders
from oneflow_bench.bench.verdict.statistics import Ratio

RATIO = Ratio(ratio=1.6, low=1.5, high=1.7, count=9, paired=True, smallest_effect=0.01)


def summarize(record, name="ddp", baseline="eager", ratio=RATIO):
    comparison = compare_contenders(record, baseline, record, name)
    return summarize_ranks(record, comparison.model_copy(update={"speedup": ratio}))


def side(strategy, mode="graph", ranks=4, **fields):
    return Contender(name="x", mode=mode, ranks=ranks, strategy=strategy, **fields)


def test_strong_scaling_divides_the_speedup_by_the_ranks():
    found = summarize(create_rank_record())
    assert (found.strategy, found.ranks, found.weak) == ("ddp", 2, False)
    assert (found.speedup.ratio, found.efficiency.ratio) == (1.6, 0.8)
    assert (found.efficiency.low, found.efficiency.high) == (0.75, 0.85)
    assert found.batch_size == found.baseline_batch_size == 32


def test_weak_scaling_counts_the_images_of_all_ranks():
    record = create_rank_record(reference=False)
    contenders = record.document.contenders
    contenders[0] = contenders[0].model_copy(update={"batch_size": 16})
    slower = RATIO.model_copy(update={"ratio": 0.9, "low": 0.8, "high": 1.0})
    found = summarize(record, ratio=slower)
    assert found.weak and (found.baseline_batch_size, found.batch_size) == (16, 32)
    assert found.speedup.ratio == pytest.approx(1.8)
    assert found.efficiency.ratio == pytest.approx(0.9)
    assert found.efficiency.high == pytest.approx(1.0)


def test_one_process_has_no_summary_and_ranks_no_efficiency_against_ranks():
    record = create_rank_record(("ddp", "graph-dp"))
    assert summarize(record, "eager", baseline="ddp") is None
    assert summarize(record, "graph-dp", baseline="ddp").efficiency is None


def test_the_ranks_are_apart_by_the_slowest_over_the_fastest():
    found = summarize(create_rank_record()).spread
    assert found.median == pytest.approx(1.1) and found.worst == pytest.approx(1.1)
    assert (found.slowest_rank, found.slowest_share) == (1, 1.0)
    mixed = measure_spread([[1.0, 1.0, 2.0], [1.0, 1.0, 4.0], [3.0, 1.0, 2.0]])
    assert (mixed.median, mixed.worst, mixed.slowest_rank) == (3.0, 4.0, 2)
    assert mixed.slowest_share == pytest.approx(2 / 3)
    assert measure_spread([]) is None


def test_memory_and_cores_are_those_of_the_ranks():
    found = summarize(create_rank_record())
    assert found.rank_peak_rss_bytes == RANK_PEAKS
    assert found.rank_cores == [[0], [1]]


@pytest.mark.parametrize("ranks, share", [(1, 0.0), (2, 1.0), (4, 1.5), (1024, 2046 / 1024)])
def test_an_all_reduce_sends_almost_twice_its_bytes(ranks, share):
    assert sent_bytes(ranks, 1000) == pytest.approx(share * 1000)


@pytest.mark.parametrize("strategy, mode", [("ddp", "eager"), ("global", "eager"), ("dp", "graph")])
def test_data_parallel_ranks_send_their_gradients_once(strategy, mode):
    found = derive_communication(side(strategy, mode), 1000)
    assert found.sent_bytes == 2 * 3 / 4 * 4000


@pytest.mark.parametrize(
    "contender, num_params, why",
    [
        (side("tp"), 10, "activations between the split layers"),
        (side("pp"), 10, "activations between the stages"),
        (side("dp"), None, "does not hold the parameters"),
        (side("ddp", "eager", accumulation_steps=2), 10, "after each part of a batch"),
    ],
)
def test_what_was_not_derived_says_why(contender, num_params, why):
    found = derive_communication(contender, num_params)
    assert found.sent_bytes is None and why in found.basis


def test_a_comparison_holds_the_ranks_and_leaves_the_reference_out():
    record = create_rank_record(("ddp", "graph-tp"))
    ddp, tp = compare_record(record)
    assert (ddp.contender.name, tp.contender.name) == ("ddp", "graph-tp")
    assert ddp.parity == "equal within rounding"
    assert ddp.ranks.errors.contender == pytest.approx(1e-7, rel=0.1)
    assert ddp.ranks.errors.baseline == pytest.approx(2e-7, rel=0.1)


def test_the_speed_phase_has_the_last_word_on_the_step_time():
    more = [
        event.model_copy(update={"contender": "ddp"})
        if getattr(event, "contender", None) == "graph"
        else event
        for event in create_speed_events(0.2, 0.125, 0.2)
    ]
    record = create_rank_record(more=more)
    (found,) = compare_record(record)
    assert found.ranks.step_time_s == pytest.approx(0.125, rel=0.02)
    assert found.ranks.efficiency.ratio == pytest.approx(0.8, rel=0.02)
    assert found.ranks.efficiency.low < found.ranks.efficiency.high


def test_weak_scaling_judges_no_parity():
    record = create_rank_record(reference=False)
    contenders = record.document.contenders
    contenders[0] = contenders[0].model_copy(update={"batch_size": 16})
    (found,) = compare_record(record)
    assert found.parity == "not judged" and "two sizes" in found.parity_reason


def test_an_expected_difference_is_named():
    record = create_rank_record(shift=3e-2, kinds=["BatchNorm2d"])
    (found,) = compare_record(record)
    assert found.parity == "different" and found.ranks.expected.id == "batch-norm-shards"
    assert found.ranks.expected.size == pytest.approx(3e-2, rel=0.01)
