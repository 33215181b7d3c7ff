"""The summaries fit a screen of 80 x 40, and begin with the verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest
from golden import assert_golden, shown
from made_checks import (
    create_check,
    create_check_document,
    create_different_check,
    create_failed_check,
    create_speedup,
)
from records import create_events, create_rank_record, create_record, create_speed_events

from oneflow_bench import data
from oneflow_bench.bench.parity.gate import judge_checks
from oneflow_bench.bench.parity.result import Cause
from oneflow_bench.bench.report.before_after import compare_record, compare_runs
from oneflow_bench.bench.report.blocks import Heading, Table, Text, format_markdown
from oneflow_bench.bench.report.comparison import summarize_contender
from oneflow_bench.bench.report.screen import (
    MOST_ROWS,
    cut_table,
    describe_dataset,
    summarize_blocks,
    summarize_checks,
    summarize_comparisons,
    summarize_run,
    summarize_runs,
)
from oneflow_bench.bench.verdict import statistics
from oneflow_bench.data import inspect_dataset

DIGITS = Path(data.__file__).parent / "digits"
WIDTH, HEIGHT = 80, 40
LONG = "graph-fuse_add_to_output"


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Of the bootstrap of two runs, whose interval is not tested here."""
    monkeypatch.setattr(statistics, "BOOTSTRAP_SAMPLES", 100)


def compare(*names):
    sides = [create_events(name, 0.1, noise=0.01) for name in ("eager", "graph", *names)]
    speed = create_speed_events(0.12, 0.10, 0.12)
    record = create_record(*sides, more=speed)
    return compare_record(record)


def check(*checks):
    return summarize_checks(judge_checks(create_check_document(*checks)))


def summarize_ranks():
    record = create_rank_record(("ddp", "graph-dp", "graph-tp"), noise=0.01)
    return summarize_comparisons(compare_record(record), {"graph-zero": "aborts"})


def summarize_one():
    return summarize_run(summarize_contender(create_record(create_events("eager")), "eager"))


def summarize_two_runs():
    sides = ("eager", "graph")
    runs = [create_record(*(create_events(one, blocks=4) for one in sides)) for _ in range(2)]
    return summarize_runs(compare_runs(*runs, gate=None))


def summarize_many_checks():
    models = [create_check(f"resnet{number}") for number in range(60)]
    return check(*models, create_check(speedup=create_speedup()))


CASES = {
    "a comparison": lambda: summarize_comparisons(compare()),
    "three contenders": lambda: summarize_comparisons(compare(LONG)),
    "ranks": summarize_ranks,
    "one mode": summarize_one,
    "two runs": summarize_two_runs,
    "a check": lambda: check(create_different_check()),
    "a failed check": lambda: check(create_failed_check()),
    "many checks": summarize_many_checks,
    "a dataset": lambda: describe_dataset(inspect_dataset(DIGITS, scan=False)),
}


@pytest.mark.parametrize("name", list(CASES))
def test_a_summary_fits_one_screen(name):
    lines = shown(CASES[name](), WIDTH).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert len(lines) < HEIGHT - 3  # below it stand the folder and the prompt
    assert not any("…" in line for line in lines)


def test_a_value_that_a_graph_freezes_is_shown_beside_an_identical_verdict():
    cause = Cause(kind="frozen at trace time", sentence="forward changes n", remedy="pass it")
    text = shown(
        check(create_check(), create_check("own", cause=cause, reason="forward changes n"))
    )
    assert "own: Forward changes n." in text and "Judged: 6 train steps" in text
    assert "lenet: " not in text


def test_a_loss_that_is_not_finite_is_the_first_line_of_a_run():
    record = create_record(create_events("eager", loss=None))
    text = shown(summarize_run(summarize_contender(record, "eager")))
    assert "Warning: the loss is not finite from step 1 on." in text


def test_the_summaries_are_as_stored():
    assert_golden("compare-summary.txt", shown(summarize_comparisons(compare()), WIDTH))
    several = summarize_comparisons(compare(LONG))
    assert_golden("compare-several-summary.txt", shown(several, WIDTH))


def test_verdicts_come_first_and_then_at_most_ten_rows():
    blocks = summarize_comparisons(compare())
    lines = shown(blocks, 200).splitlines()
    assert lines[1].startswith("Parity: identical.") and lines[2].startswith("Speed: faster.")
    (table,) = [block for block in blocks if isinstance(block, Table)]
    labels = [row[0] for row in table.rows]
    assert len(labels) <= MOST_ROWS and "compilation pays for itself" in labels
    assert "blocks" not in labels


def test_metrics_of_the_user_take_the_rows_that_are_left():
    summary = summarize_contender(create_record(create_events("eager")), "eager")
    own = {f"metric {number}": 1.0 for number in range(9)}
    (_, table, more) = summarize_run(summary.model_copy(update={"metrics": own}))
    labels = [row[0] for row in table.rows]
    assert len(labels) == MOST_ROWS and {"metric 0", "peak memory, MiB"} < set(labels)
    assert more.lines == [f"{9 - MOST_ROWS + 8} more metrics are in report.md; -v shows them"]


def test_several_contenders_have_a_reason_where_the_modes_do_not_agree():
    agreed, other = compare(LONG)
    other = other.model_copy(update={"parity": "different", "parity_reason": "conv1 differs"})
    text = shown(summarize_comparisons([agreed, other]), 200)
    assert f"Parity of {LONG}: different. Conv1 differs." in text
    assert "Parity of graph:" not in text and "identical" in text
    expected = other.model_copy(update={"parity_expected": True})
    assert "Conv1 differs" not in shown(summarize_comparisons([agreed, expected]), 200)


def test_the_worst_models_of_a_check_come_first():
    text = shown(check(*(create_check(f"m{n}") for n in range(20)), create_different_check()))
    assert "Check of 21 models" in text and "12 more: -v" in text
    assert text.index("vgg11") < text.index("m0 ") and "Conv2d, 4x8x16x16" in text


def test_a_table_is_cut_and_says_so():
    rows = [[str(number), "x"] for number in range(12)]
    cut = cut_table(Table(["a", "b"], rows))
    assert len(cut.rows) == MOST_ROWS and cut.rows[-1] == ["3 more: -v", ""]
    assert cut_table(Table(["a", "b"], rows[:10])).rows == rows[:10]


def test_a_dataset_is_a_table_without_json():
    text = format_markdown(describe_dataset(inspect_dataset(DIGITS, scan=False)))
    assert "| images | 1,438 | 359 |" in text and "| size | 912 KiB | 228 KiB |" in text
    assert "{" not in text and "32x32" in text


def test_a_long_report_is_its_first_table_and_what_it_ends_with():
    rows = [[str(number)] for number in range(12)]
    failures = Text([f"cell {number} failed" for number in range(12)])
    blocks = [Heading("a"), Text(["b"]), Table(["n"], rows), Heading("more"), Table(["n"], rows)]
    shorter = summarize_blocks([*blocks, Heading("failures"), failures])
    assert [type(block) for block in shorter] == [Heading, Text, Table, Heading, Text]
    assert len(shorter[2].rows) == MOST_ROWS and shorter[4].lines[-1] == "3 more: -v"
    assert summarize_blocks(blocks) == [*blocks[:2], cut_table(blocks[2])]
    assert summarize_blocks(blocks[:2]) == blocks[:2]
