from __future__ import annotations

from datetime import datetime, timezone

import pytest

from oneflow_bench.bench.report.format import (
    format_age,
    format_break_even,
    format_exact,
    format_interval,
    format_number,
    format_percent,
    format_sentence,
    format_sequential,
    format_short_ratio,
    format_size,
    format_summary_ms,
    round_up,
)
from oneflow_bench.bench.verdict.judge import Interval
from oneflow_bench.bench.verdict.statistics import BreakEven, Ratio, Summary

BOUNDS = {"low": 1.1, "high": 1.3, "strict_low": 1.05, "strict_high": 1.35}


def test_times_are_milliseconds_with_their_interval():
    assert format_summary_ms(Summary(median=0.1, low=0.09, high=0.2, count=9)) == (
        "100.0 (90.0 to 200.0)"
    )
    assert format_summary_ms(Summary(median=0.1, low=None, high=None, count=2)) == "100.0"
    assert format_summary_ms(None) == "-"


def test_ratios_have_both_intervals():
    interval = Interval(ratio=1.2, **BOUNDS)
    assert format_interval(interval) == "1.200 (95 % 1.100 to 1.300)"
    assert format_sequential(interval) == "1.050 to 1.350"
    alone = Interval(ratio=1.2, **dict.fromkeys(BOUNDS))
    assert (format_interval(alone), format_sequential(alone)) == ("1.200", "-")
    assert format_short_ratio(1.2, 1.1, 1.3) == "1.200 (1.100-1.300)"
    assert format_short_ratio(1.2, None, None) == "1.200 (no interval)"


def test_only_equal_bits_are_0():
    assert format_exact(0.0) == "0 (bitwise equal)" and format_exact(3e-9) == "3e-09"


def test_shares_are_percent_and_points():
    assert format_percent(0.0726) == "7.26 %" and format_percent(None) == "-"
    assert format_number(-0.1, "+.2f", 100) == "-10.00" and format_number(None, ".1f", 100) == "-"


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "-"),
        (BreakEven(steps=65.4, low=None, high=None), "after 65 steps"),
        (BreakEven(steps=65.4, low=15, high=None), "after 65 steps (15 to never)"),
        (BreakEven(steps=65.4, low=15, high=90), "after 65 steps (15 to 90)"),
    ],
)
def test_a_compilation_pays_after_some_steps(value, text):
    assert format_break_even(value, create_ratio(1.1, 1.3)) == text


def test_a_compilation_never_pays_only_where_the_graph_is_slower():
    never = BreakEven(steps=None, low=None, high=None)
    assert format_break_even(never, create_ratio(0.7, 0.9)) == "never at this speedup"
    for ends in ((0.7, 1.4), (None, None)):
        assert format_break_even(never, create_ratio(*ends)) == "-"


@pytest.mark.parametrize("ends", [(None, None), (0.9, 1.3), (0.7, 0.9)])
def test_no_steps_are_promised_where_a_speedup_of_1_is_not_excluded(ends):
    pays = BreakEven(steps=65.4, low=None, high=None)
    assert format_break_even(pays, create_ratio(*ends)) == format_break_even(pays, None) == "-"


def create_ratio(low, high):
    return Ratio(ratio=1.2, low=low, high=high, count=3, paired=True, smallest_effect=None)


def test_a_reason_becomes_a_sentence():
    assert format_sentence("the losses differ") == "The losses differ."
    assert format_sentence("Rerun it.") == "Rerun it." and format_sentence("") == ""


@pytest.mark.parametrize(
    "value, rounded", [(0.2, 1), (9.1, 10), (560, 600), (600, 600), (601, 700)]
)
def test_budgets_are_rounded_up_to_one_digit(value, rounded):
    assert round_up(value) == rounded


@pytest.mark.parametrize(
    ("then", "told"),
    [
        ("2026-01-10T11:59:31+00:00", "just now"),
        ("2026-01-10T11:58:59+00:00", "1 min ago"),
        ("2026-01-10T10:00:00", "2 h ago"),  # of a record without a zone
        ("2026-01-10T12:30:00+02:00", "1 h ago"),
        ("2026-01-04T12:00:00+00:00", "6 d ago"),
        ("2026-01-03T12:00:00+00:00", "2026-01-03"),
        ("2026-01-11T12:00:00+00:00", "2026-01-11"),  # of a clock that went back
        ("", "-"),
    ],
)
def test_a_time_is_told_by_its_age(then, told):
    assert format_age(then, datetime(2026, 1, 10, 12, tzinfo=timezone.utc)) == told


@pytest.mark.parametrize(
    ("size", "told"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (933432, "912 KiB"), (1536 * 1024, "1.5 MiB"),
     (3 * 2**40, "3,072.0 GiB")],
)  # fmt: skip
def test_a_size_is_in_a_unit_that_people_read(size, told):
    assert format_size(size) == told
