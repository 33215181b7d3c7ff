from __future__ import annotations

import json

import pytest
from golden import shown
from records import create_events, create_rank_record, create_record

from oneflow_bench.bench.cli.run import judge_parities
from oneflow_bench.bench.distributed.report import list_blocks
from oneflow_bench.bench.report.before_after import compare_record
from oneflow_bench.bench.report.blocks import Heading, Table, Text, format_markdown
from oneflow_bench.bench.report.compare import build_report, dump_comparisons

ZERO = {"graph-zero": "OneFlow 0.9.0 aborts"}


def compare(*names, **given):
    record = create_rank_record(names or ("ddp", "graph-dp", "graph-tp"), noise=0.01, **given)
    return compare_record(record)


def list_tables(comparisons, unavailable=None):
    return [b for b in list_blocks(comparisons, unavailable or {}) if isinstance(b, Table)]


def list_titles(comparisons):
    return [b.text for b in list_blocks(comparisons, {}) if isinstance(b, Heading)]


def show_notes(comparisons, unavailable=None):
    (notes,) = [b for b in list_blocks(comparisons, unavailable or {}) if isinstance(b, Text)]
    return "\n".join(notes.lines)


def terminal(comparisons, width=80, unavailable=None):
    return shown(build_report(comparisons, unavailable), width)


def test_every_contender_of_ranks_has_a_row_in_every_table():
    scaling, costs, parity = list_tables(compare(), ZERO)
    names = ["ddp", "graph-dp", "graph-tp"]
    assert list_titles(compare())[0] == "Strong scaling against eager"
    assert [row[0] for row in scaling.rows] == ["eager", *names, "graph-zero"]
    assert scaling.rows[-1][3] == "not available here"
    assert [row[0] for row in costs.rows] == [row[0] for row in parity.rows] == names
    for table in (scaling, costs, parity):
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_the_cells_have_their_units():
    scaling, costs, parity = list_tables(compare("ddp"))
    assert scaling.rows[1][1] == "2" and float(scaling.rows[1][2]) == pytest.approx(100, rel=0.02)
    assert scaling.rows[1][4].startswith("0.50 (")
    # 10 parameters of 4 bytes, each of 2 ranks sends half of them twice
    assert costs.rows[0] == ["ddp", "4e-05", "200 to 260", "1.100", "1.100", "1"]
    assert parity.rows[0] == ["ddp", "1.0e-07", "2.0e-07", "equal within rounding"]


def test_what_was_not_derived_or_is_not_alike_is_said():
    notes = show_notes(compare(), ZERO)
    assert "graph-tp: bytes sent not derived: the sizes of the activations" in notes
    assert "efficiency of graph contenders is against eager mode" in notes
    assert "ddp: rank 1 was the slowest in 100 % of" in notes
    assert "graph-zero is not available here: OneFlow 0.9.0 aborts." in notes
    assert "no reference in float64 was trained" in show_notes(compare("ddp", reference=False))


def test_a_run_too_short_for_a_speedup_says_so():
    record = create_rank_record(["ddp"], noise=0.01)
    record.events = [e for e in record.events if getattr(e, "kind", "steady") != "steady"]
    notes = show_notes(compare_record(record))
    assert "Speedup and efficiency are not known" in notes
    assert "several ranks itself" not in notes


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_fit_a_terminal(width):
    text = terminal(compare(shift=3e-2, kinds=["BatchNorm2d"]), width, ZERO)
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    for title in ("Strong scaling against eager", "Each rank, a step", "one process in float64"):
        assert title in text


def test_the_report_and_the_json_hold_the_same():
    comparisons = compare()
    text = format_markdown(build_report(comparisons, ZERO))
    for line in ("| ddp | 2 |", "| graph-zero | - | - | not available here |", "| ddp | 1.0e-07 |"):
        assert line in text
    stored = json.loads(dump_comparisons(comparisons))
    assert stored[0]["ranks"]["efficiency"]["ratio"] == pytest.approx(0.5, rel=0.02)
    assert stored[0]["ranks"]["errors"]["steps"] == 20
    assert stored[2]["ranks"]["communication"]["sent_bytes"] is None


def test_one_contender_of_ranks_has_the_tables_too():
    comparisons = compare("ddp")
    assert "Strong scaling against eager" in terminal(comparisons)
    assert "## Strong scaling against eager" in format_markdown(build_report(comparisons))


def test_an_expected_difference_is_shown_with_its_size_and_is_no_fault():
    (expected,) = compare("ddp", shift=3e-2, kinds=["BatchNorm2d"])
    parity = list_tables([expected])[-1]
    assert parity.rows[0][-1] == "different (expected: batch-norm-shards, 3.0e-02)"
    (unexpected,) = compare("ddp", shift=3e-2)
    assert judge_parities([expected]) == 0 and judge_parities([unexpected]) == 1
    assert judge_parities([expected, unexpected]) == 1


def test_weak_scaling_has_no_table_of_parity_and_no_fault():
    record = create_rank_record(reference=False)
    contenders = record.document.contenders
    contenders[0] = contenders[0].model_copy(update={"batch_size": 16})
    comparisons = compare_record(record)
    assert list_titles(comparisons) == ["Weak scaling against eager", "Each rank, a step"]
    assert "One process takes 16 images" in show_notes(comparisons)
    assert judge_parities(comparisons) == 0


def test_without_ranks_nothing_is_added():
    record = create_record(create_events("eager"), create_events("graph"))
    comparisons = compare_record(record)
    assert list_blocks(comparisons, {}) == []
    assert "scaling" not in terminal(comparisons)
