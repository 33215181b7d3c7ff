from __future__ import annotations

import re

import pytest
from made_checks import (
    create_check,
    create_check_document,
    create_different_check,
    create_failed_check,
    create_failed_speedup,
    create_inconclusive_check,
    create_rounding_check,
    create_side,
)

from oneflow_bench.bench.parity.baseline import create_baseline
from oneflow_bench.bench.parity.gate import judge_checks
from oneflow_bench.bench.report.annotations import format_annotations


def annotate(*checks, baselines=()):
    return format_annotations(judge_checks(create_check_document(*checks), baselines))


@pytest.mark.parametrize(
    "check, begin",
    [
        (create_different_check(), "::error title=bench check%3A vgg11::different: forward: "),
        (create_failed_check(), "::error title=bench check%3A mnasnet1_0::a worker failed: "),
        (create_inconclusive_check(), "::warning title=bench check%3A googlenet::inconclusive: "),
        (create_rounding_check(), "::warning title=bench check%3A resnet18::the known difference"),
    ],
)
def test_what_wants_a_look_is_annotated(check, begin):
    (line,) = annotate(check)
    assert line.startswith(begin)


def test_what_is_the_same_is_not():
    assert annotate(create_check()) == []


def test_a_difference_names_where_it_begins():
    (line,) = annotate(create_different_check())
    assert line.endswith("%0AIt begins at features.3 (Conv2d).")


def test_findings_are_errors_and_notices():
    old = create_baseline(
        create_check_document(), create_check(graph=create_side(graph_ops=60, accuracy=0.75))
    )
    assert annotate(create_check(), baselines=[old]) == [
        "::error title=bench check%3A lenet::regression of graph accuracy: -50.00 points, beyond "
        "10 (baseline 75.0 %25, now 25.0 %25)",
        "::notice title=bench check%3A lenet::improvement of graph operators: -10 operators "
        "(baseline 60, now 50)",
    ]


def test_nothing_in_a_message_can_end_the_line_or_begin_another_command():
    check = create_failed_check("a:b,c%d")
    check.error = "50 % done\r\n::error::planted\n"
    (line,) = annotate(check)
    assert line == (
        "::error title=bench check%3A a%3Ab%2Cc%25d::"
        "a worker failed: 50 %25 done%0D%0A::error::planted%0A"
    )
    assert not re.search(r"[\r\n]", line)


def test_a_speed_that_could_not_be_measured_is_an_error():
    failed = create_failed_speedup()
    (line,) = annotate(create_check(speedup=failed))
    assert line == "::error title=bench check%3A lenet::its speed: a worker failed: it died"
