from __future__ import annotations

from pathlib import Path

import pytest
from made_checks import (
    LOSSES,
    create_check,
    create_check_document,
    create_failed_speedup,
    create_side,
    create_speedup,
)

from oneflow_bench.bench.parity.baseline import create_baseline
from oneflow_bench.bench.parity.gate import (
    ACCURACY_TOLERANCE,
    COMPILE_FACTOR,
    COMPILE_FLOOR_S,
    FIRST_LOSS_TOLERANCE,
    LOSS_TOLERANCE,
    MEMORY_FACTOR,
    MEMORY_FLOOR_BYTES,
    compare_with_baseline,
)

OTHER_KERNEL = {"blas_kernel": "Zen"}
OTHER_VERSION = {"oneflow": "0.8.0"}
OTHER_MACHINE = {"machine": {"cpu": {"model": "A Processor 9000", "cores": 8}}}


def create(document=None, verdict="identical", **graph):
    side = create_side(**{"graph_ops": 50, "compile_s": 0.5, **graph})
    check = create_check(graph=side, verdict=verdict)
    return create_baseline(create_check_document(**(document or {})), check)


def find(found, baseline, metric, mode="graph"):
    findings = [
        finding
        for finding in compare_with_baseline(found, baseline)
        if (finding.metric, finding.mode) == (metric, mode)
    ]
    assert len(findings) == 1
    return findings[0]


def kinds(found, baseline):
    """The metrics by kind, those that are the same left out."""
    findings = compare_with_baseline(found, baseline)
    return {(f.subject, f.kind) for f in findings if f.kind != "same"}


def test_the_same_is_the_same_in_every_metric():
    findings = compare_with_baseline(create(), create())
    assert {finding.kind for finding in findings} == {"same"}
    assert len({finding.subject for finding in findings}) == len(findings) == 15


def test_other_bits_are_a_regression_where_version_and_kernel_are_the_same():
    assert kinds(create(parameters_digest="b" * 64), create()) == {
        ("graph parameters digest", "regression")
    }


@pytest.mark.parametrize(
    "document, reason",
    [
        (OTHER_KERNEL, "BLAS kernel is Haswell and the baseline's Zen"),
        (OTHER_VERSION, "OneFlow is 0.9.0 and the baseline's 0.8.0"),
        ({"blas_kernel": None}, "BLAS kernel is Haswell and the baseline's unknown"),
        (OTHER_MACHINE, "the baseline is from another machine (A Processor 9000, 8 cores)"),
    ],
)
def test_other_bits_are_not_compared_elsewhere_and_the_reason_is_said(document, reason):
    finding = find(create(parameters_digest="b" * 64), create(document), "parameters digest")
    assert (finding.kind, finding.reason) == ("not compared", reason)


def test_two_unknown_kernels_are_not_the_same_kernel():
    unknown = {"blas_kernel": None}
    finding = find(create(unknown, parameters_digest="b"), create(unknown), "parameters digest")
    assert finding.kind == "not compared"


def changed(step, relative):
    losses = list(LOSSES)
    losses[step] *= 1 + relative
    return losses


@pytest.mark.parametrize("relative", [1e-7, -0.1])
def test_a_loss_off_by_anything_is_a_regression_on_the_same_kernel(relative):
    finding = find(create(losses=changed(3, relative)), create(), "losses")
    assert finding.kind == "regression"
    assert "at step 4 of 6" in finding.reason
    assert finding.expected == LOSSES[3]


@pytest.mark.parametrize(
    "step, tolerance", [(0, FIRST_LOSS_TOLERANCE), (1, LOSS_TOLERANCE), (5, LOSS_TOLERANCE)]
)
def test_on_another_kernel_a_loss_has_its_tolerance(step, tolerance):
    baseline = create(OTHER_KERNEL)
    assert find(create(losses=changed(step, 0.9 * tolerance)), baseline, "losses").kind == "same"
    finding = find(create(losses=changed(step, -1.1 * tolerance)), baseline, "losses")
    assert finding.kind == "regression"
    assert finding.expected == LOSSES[step]


def test_a_loss_near_zero_is_held_to_the_floor():
    baseline = create(OTHER_KERNEL, validation_loss=1e-9)
    assert find(create(validation_loss=1e-5), baseline, "validation loss").kind == "same"
    assert find(create(validation_loss=1e-2), baseline, "validation loss").kind == "regression"


@pytest.mark.parametrize("document", [{}, OTHER_KERNEL])
def test_a_loss_that_is_not_finite_is_a_regression(document):
    losses = [*LOSSES[:5], None]
    assert find(create(losses=losses), create(document), "losses").kind == "regression"
    assert find(create(losses=losses), create(document, losses=losses), "losses").kind == "same"


def test_another_number_of_steps_is_a_regression():
    finding = find(create(losses=LOSSES[:5]), create(), "losses")
    assert (finding.kind, finding.expected, finding.found) == ("regression", "6 steps", "5 steps")


@pytest.mark.parametrize("metric", ["resumed losses", "validation loss"])
def test_the_other_losses_are_compared_too(metric):
    values = {"resumed losses": {"resumed_losses": [2.0, 2.0, 2.0]},
              "validation loss": {"validation_loss": 3.0}}[metric]  # fmt: skip
    assert find(create(**values), create(), metric).kind == "regression"


@pytest.mark.parametrize(
    "difference, kind",
    [
        (0.9 * ACCURACY_TOLERANCE, "same"),
        (1.1 * ACCURACY_TOLERANCE, "improvement"),
        (-1.1 * ACCURACY_TOLERANCE, "regression"),
    ],
)
def test_accuracy_is_compared_in_points(difference, kind):
    finding = find(create(accuracy=0.25 + difference), create(), "accuracy")
    assert finding.kind == kind
    assert f"{difference * 100:+.2f} points" in finding.reason


@pytest.mark.parametrize(
    "document, ops, kind",
    [
        ({}, 51, "regression"),
        ({}, 49, "improvement"),
        (OTHER_KERNEL, 51, "regression"),
        (OTHER_VERSION, 51, "not compared"),
    ],
)
def test_operators_are_counted_within_one_version(document, ops, kind):
    assert find(create(graph_ops=ops), create(document), "operators").kind == kind


@pytest.mark.parametrize(
    "metric, field, factor, floor",
    [
        ("compile time", "compile_s", COMPILE_FACTOR, COMPILE_FLOOR_S),
        ("peak memory", "peak_rss_bytes", MEMORY_FACTOR, MEMORY_FLOOR_BYTES),
    ],
)
def test_costs_have_margins_both_ways_and_need_the_same_machine(metric, field, factor, floor):
    small = 10 * floor
    limit = int(factor * small + floor)
    for value, kind in ((limit - 1, "same"), (limit + 1, "regression")):
        assert find(create(**{field: value}), create(**{field: small}), metric).kind == kind
    better = find(create(**{field: small}), create(**{field: limit + 1}), metric)
    assert better.kind == "improvement"
    finding = find(create(**{field: limit + 1}), create(OTHER_MACHINE, **{field: small}), metric)
    assert finding.kind == "not compared"
    assert "another machine (A Processor 9000, 8 cores)" in finding.reason


@pytest.mark.parametrize(
    "document, before, now, kind",
    [
        ({}, "identical", "equal within rounding", "regression"),
        (OTHER_KERNEL, "identical", "equal within rounding", "change"),
        (OTHER_KERNEL, "identical", "different", "regression"),
        ({}, "equal within rounding", "identical", "improvement"),
        ({}, "identical", "inconclusive", "not compared"),
    ],
)
def test_verdicts_have_an_order(document, before, now, kind):
    finding = find(create(verdict=now), create(document, verdict=before), "verdict", None)
    assert (finding.kind, finding.expected, finding.found) == (kind, before, now)


def of_speed(found, baseline, document=None):
    def baseline_of(speedup, document):
        check = create_check(speedup=speedup)
        return create_baseline(create_check_document(**document or {}), check)

    pair = baseline_of(found, {}), baseline_of(baseline, document)
    return find(*pair, "speedup", None)


@pytest.mark.parametrize(
    "now, kind",
    [(1.2, "same"), (1.16, "same"), (1.13, "regression"), (1.24, "same"), (1.28, "improvement")],
)
def test_a_speedup_has_changed_when_the_intervals_lie_apart_by_the_margin(now, kind):
    finding = of_speed(create_speedup(now), create_speedup(1.2))
    assert (finding.kind, finding.expected, finding.found) == (kind, 1.2, now)
    assert "in the baseline 95 % 1.176 to 1.224" in finding.reason


@pytest.mark.parametrize(
    "found, baseline, reason",
    [
        (None, create_speedup(), "this check has no speedup; give it --speed"),
        (create_speedup(), None, "the baseline has no speedup; give bench baseline update --speed"),
        (
            create_speedup(0.5, control_verdict="slower"),
            create_speedup(),
            "this check found eager mode slower than itself",
        ),
        (create_speedup(0.5, low=None, high=None), create_speedup(), "too few processes"),
        (
            create_failed_speedup(),
            create_speedup(),
            "this check has no speedup, since a worker failed",
        ),
    ],
)
def test_a_speedup_that_cannot_be_trusted_is_not_compared(found, baseline, reason):
    finding = of_speed(found, baseline)
    assert finding.kind == "not compared" and reason in finding.reason


def test_a_speedup_of_another_machine_is_not_compared():
    finding = of_speed(create_speedup(0.5), create_speedup(), OTHER_MACHINE)
    assert finding.kind == "not compared" and "another machine" in finding.reason


def test_without_speed_on_either_side_nothing_is_said_of_it():
    assert "speedup" not in {f.metric for f in compare_with_baseline(create(), create())}


def test_what_is_missing_is_not_compared():
    nothing = {"graph_ops": None, "compile_s": None, "peak_rss_bytes": None, "accuracy": None}
    found = create(**nothing, parameters_digest="", resumed_losses=[])
    baseline = create(resumed_losses=[])
    metrics = ("operators", "compile time", "peak memory", "accuracy", "parameters digest")
    for metric in (*metrics, "resumed losses"):
        assert find(found, baseline, metric).kind == "not compared"


def test_the_docs_give_the_tolerances_as_they_are():
    text = (Path(__file__).resolve().parents[3] / "docs" / "baselines.md").read_text()
    for words in (
        f"first loss within {FIRST_LOSS_TOLERANCE * 100:g} % and later ones within "
        f"{LOSS_TOLERANCE * 100:g} %",
        f"within {ACCURACY_TOLERANCE * 100:g} points",
        f"below {COMPILE_FACTOR:g} times the baseline's plus {COMPILE_FLOOR_S:g} s",
        f"below {MEMORY_FACTOR:g} times the baseline's plus {MEMORY_FLOOR_BYTES / 2**20:g} MiB",
    ):
        assert words in text
