from __future__ import annotations

from pathlib import Path

import pytest
from golden import assert_golden, shown
from made_checks import (
    create_check,
    create_check_document,
    create_different_check,
    create_failed_check,
    create_failed_speedup,
    create_inconclusive_check,
    create_rounding_check,
    create_side,
    create_speedup,
    create_stored,
)

from oneflow_bench.bench.parity.gate import judge_checks
from oneflow_bench.bench.report.blocks import format_markdown
from oneflow_bench.bench.report.check import (
    build_models,
    conclude,
    format_value,
    report_check,
    report_update,
)


def create_report():
    """Five models, each with another verdict, two of them with a baseline."""
    document = create_check_document(
        create_check(),
        create_rounding_check(),
        create_different_check(),
        create_inconclusive_check(),
        create_failed_check(),
    )
    worse = create_side(
        graph_ops=40, compile_s=0.5, peak_rss_bytes=900 * 2**20, parameters_digest="b" * 64
    )
    other_machine = {"cpu": {"model": "Another Processor with a Long Name", "cores": 64}}
    baselines = [
        create_stored(create_check(graph=worse)),
        create_stored(create_rounding_check(), blas_kernel="Zen", machine=other_machine),
    ]
    return report_check(document, judge_checks(document, baselines))


def test_the_terminal_shows_what_is_stored():
    text = shown(create_report())
    assert max(map(len, text.splitlines())) <= 80
    assert_golden("check-terminal.txt", text)


def test_markdown_shows_what_is_stored():
    assert_golden("check-report.md", format_markdown(create_report()))


def test_the_origin_shows_both_values_the_reference_and_the_script():
    text = shown(report_check(document := create_check_document(create_different_check()),
                              judge_checks(document)))  # fmt: skip
    for words in (
        "forward: features.3",
        "Conv2d, 4x8x16x16",
        "eager at [0, 3, 2, 1]  0.123456789",
        "graph at [0, 3, 2, 1]  0.25",
        "reference there        0.12345679",
        "reproduced: in isolation",
        "vgg11/reproduce.py (shows the difference)",
    ):
        assert words in text


def test_an_identical_model_is_one_row():
    document = create_check_document(create_check())
    text = shown(report_check(document, judge_checks(document)))
    assert "Exit status 0: the modes agree (1 of 1 model)." in text
    assert "initial weights" not in text and "baseline" not in text


def test_what_is_different_is_named_before_what_is_inexact():
    check = create_different_check()
    check.levels[1].first_inexact = "images"
    document = create_check_document(check)
    assert "forward: features.3" in shown(report_check(document, judge_checks(document))[:2])


def test_outdated_known_differences_are_named_so():
    document = create_check_document(create_rounding_check(), create_rounding_check("resnet34"))
    text = shown(report_check(document, judge_checks(document)), width=200)
    assert "Tensors that it explains: resnet18 (2), resnet34 (2)." in text
    assert "Outdated in resnet18, resnet34:" in text


def test_the_conclusion_names_the_models_that_it_is_due_to():
    document = create_check_document(create_failed_check(), create_inconclusive_check())
    assert conclude(judge_checks(document)) == [
        "Exit status 4: a worker failed (1 of 2 models).",
        "Models with this status: mnasnet1_0.",
        "Judged: 6 train steps; --epochs and --steps-per-epoch set them.",
    ]


@pytest.mark.parametrize(
    "metric, value, text",
    [
        ("losses", 2.302585124969482, "2.30258512"),
        ("losses", None, "-"),
        ("parameters digest", "0123456789abcdef", "0123456789ab"),
        ("verdict", "equal within rounding", "equal within rounding"),
        ("accuracy", 0.28125, "28.1 %"),
        ("peak memory", 450 * 2**20, "450 MiB"),
        ("compile time", 0.5, "0.50 s"),
        ("operators", 50, "50"),
    ],
)
def test_values_have_their_units(metric, value, text):
    assert format_value(metric, value) == text


def test_the_speed_has_a_row_where_it_was_asked_for():
    failed = create_failed_speedup("it died\nits last line")
    checks = [create_check(speedup=create_speedup()), create_check("cnn", speedup=failed)]
    text = format_markdown(report_check(create_check_document(*checks), judge(checks)))
    assert "| lenet | faster | 1.200 | 1.176 to 1.224 | 6 | 25 |" in text
    assert "| cnn | failed | - | - | 0 | 0 | it died |" in text
    plain = [create_check()]
    assert "Speed of graph" not in format_markdown(
        report_check(create_check_document(*plain), judge(plain))
    )


def judge(checks):
    return judge_checks(create_check_document(*checks))


def test_an_update_shows_old_and_new():
    old = create_stored(create_check(graph=create_side(graph_ops=60)), oneflow="0.8.0")
    text = shown(report_update(old, create_stored(create_check()), Path("b/lenet.json")), width=120)
    assert "b/lenet.json" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["OneFlow", "0.8.0", "0.9.0"] in rows
    assert any(row[:4] == ["graph", "operators", "60", "50"] for row in rows)
    assert "losses" not in text


def test_an_update_of_the_workload_shows_the_fields():
    check = create_check()
    old = create_check(workload=check.workload.model_copy(update={"lr": 0.5}))
    text = shown(report_update(create_stored(old), create_stored(check), Path("lenet.json")))
    assert ["lr", "0.5", "0.02"] in [line.split() for line in text.splitlines()]


@pytest.mark.parametrize(
    "old, words",
    [(None, "The first baseline: identical, 50 graph operators."), (1, "Only the date changes.")],
)
def test_an_update_without_a_difference_says_so(old, words):
    new = create_stored(create_check())
    assert words in shown(report_update(new if old else None, new, Path("lenet.json")))


def test_a_legend_explains_only_columns_that_have_a_value():
    check = create_check()
    check.levels, check.duration_s = [], 0.0
    table, *legend = build_models([check])
    assert legend == [] and table.rows[0][3:] == ["-", "0", "-"]
