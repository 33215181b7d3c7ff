from __future__ import annotations

import json
import math
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from fakes import Clock, FakeSpeedWorker
from other_rules import RULES
from records import create_speed_events
from study import load_rows
from verdict_quality import beside, main, plan_cells, run_comparison
from verdict_quality_cells import (
    OURS,
    form_rate,
    judge_comparison,
    measure_truth,
    pack_blocks,
    summarize_cells,
    unpack_blocks,
)
from verdict_quality_report import (
    describe_calibration,
    render_cells,
    render_course,
    render_rules,
    render_totals,
    write_report,
)

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.record.events import SpeedBlockEvent

ROOT = Path(__file__).resolve().parents[2]


def create_comparison(kind="aa", condition="quiet", planted=1.0, number=0):
    events = create_speed_events(0.1, 0.1 * planted, 0.1, seed=number)
    truth = [math.log(planted)] * 4 if kind != "aa" else []
    return {
        "condition": condition,
        "kind": kind,
        "number": number,
        "created": f"2026-01-01T0{number % 10}:00:00+00:00",
        "model": "lenet",
        "mode": "graph",
        "wall_s": 10.0 + number,
        "verdict_s": 9.0,
        "controller_cpu_s": 0.2,
        "load": 0.5,
        "looks": 1,
        "truth": truth,
        "processes": pack_blocks([e for e in events if isinstance(e, SpeedBlockEvent)]),
    }


@pytest.fixture
def comparisons():
    both = ("quiet", "hog")
    return [
        create_comparison(kind, condition, planted, number)
        for kind, planted in (("aa", 1.0), ("10", 1.1))
        for condition in both
        for number in range(4)
    ]


def test_packing_keeps_what_is_judged():
    events = create_speed_events(0.1, 0.12)
    scored = [e for e in events if isinstance(e, SpeedBlockEvent) and e.kind == "scored"]
    unpacked = unpack_blocks(json.loads(json.dumps(pack_blocks(scored))))
    assert len(unpacked) == len(scored)
    for key in ("role", "replicate", "wave", "pair", "turn", "steps"):
        told = sorted(str((b.role, b.replicate, b.pair, getattr(b, key))) for b in unpacked)
        assert told == sorted(str((b.role, b.replicate, b.pair, getattr(b, key))) for b in scored)
    assert sum(b.duration_s for b in unpacked) == pytest.approx(
        sum(b.duration_s for b in scored), rel=1e-5
    )


def test_rates_are_exact_binomial():
    assert form_rate(0, 300).high == pytest.approx(1 - 0.025 ** (1 / 300))
    assert (form_rate(40, 40).high, form_rate(0, 40).low) == (1.0, 0.0)


def test_the_tables_have_all_rules_and_cells(comparisons):
    cells = summarize_cells(comparisons[::-1])
    assert [(c.kind, c.condition) for c in cells] == [
        ("aa", "quiet"),
        ("aa", "hog"),
        ("10", "quiet"),
        ("10", "hog"),
    ]
    assert [c.rules[OURS].count for c in cells] == [0, 0, 4, 4]
    assert cells[2].coverage.count >= 3 and cells[2].truth == pytest.approx(1.1)
    rows = read_table(render_rules(cells))
    assert rows[0][1:] == ["the same, quiet", "the same, hog", "+10 %, quiet", "+10 %, hog"]
    assert rows[1][1] == "**0** (0 to 60)" and rows[1][3] == "**100** (40 to 100)"
    assert [row[0] for row in rows[1:]] == [f"**{OURS}**", *RULES]
    told = {row[0]: row[1:] for row in read_table(render_cells(cells))[1:]}
    assert told["the same, eager, hog"][:3] == ["4", "0", "0.0 (0.0 to 60.2)"]
    assert told["+10 %, quiet"][2] == "100.0 (39.8 to 100.0)"
    assert told["+10 %, quiet"][4:] == ["9 (9)", "4 slower"]


def test_the_same_program_in_either_mode_shares_a_column(comparisons):
    graphs = [{**c, "kind": "aa-graph"} for c in comparisons if c["kind"] == "aa"]
    rows = read_table(render_rules(summarize_cells(comparisons + graphs)))
    assert rows[0][1:3] == ["the same, quiet", "the same, hog"]
    assert rows[1][1] == "**0** (0 to 37)"  # of 8


def read_table(text):
    """Its rows, names of the columns first."""
    lines = [line for line in text.splitlines() if not line.startswith("|---")]
    return [[field.strip() for field in line.strip("|").split("|")] for line in lines]


def test_totals_are_of_all_conditions_beside_what_was_aimed_at(comparisons):
    totals = render_totals(summarize_cells(comparisons), comparisons)
    told = {row[0]: row[1:] for row in read_table(totals)}
    called = told["the same program called different, %"]
    assert called[0].endswith(": 0 of 8") and called[1] == "at most 1"
    assert told["+10 % found, %"][0].endswith(": 8 of 8")
    assert told["+10 %, s to the verdict, median (longest)"] == ["9 (9)", "30 at the median, 120"]
    assert "of 8" in told["95 % interval holds the truth, planted work, %"][0]
    assert told["planted work called faster"] == ["0", "0"]
    assert not any(name.startswith("+3 %") for name in told)


def test_the_course_of_the_study_is_told_in_the_order_of_time(comparisons):
    _, first, second = read_table(render_course(comparisons[::-1], parts=2))
    assert first[:2] == ["2026-01-01 00:00 on", "8"] and second[0] == "2026-01-01 02:00 on"
    assert 95 < float(first[2]) < 112  # ms
    assert first[4] == "1.90" and first[5:] == ["0 of 0", "0 of 0", "4 of 4"]


def test_the_calibration_is_told_where_there_is_one(tmp_path):
    stored = tmp_path / "calibration.json"
    assert describe_calibration(stored, ["3", "10"]) == ""
    stored.write_text(json.dumps({"points": [[5, 0.04], [20, 0.1], [6, 0.05], [22, 0.12]]}))
    told = describe_calibration(stored, ["3", "10"])
    assert "3 % of a step make it 4.5 % longer, 10 % of a step make it 11.0 % longer" in told


def test_the_truth_is_what_processes_measured_of_themselves():
    source = np.random.default_rng(0)
    noisy = [{"truth": source.normal(0.03, 0.01, 3).tolist()} for _ in range(100)]
    truth, error = measure_truth(noisy)
    assert truth == pytest.approx(0.03, abs=4 * error) and error < 0.001
    assert measure_truth([{"truth": []}]) == (0.0, 0.0)


def test_the_report_writes_table_summary_and_picture(tmp_path, comparisons):
    store = tmp_path / "comparisons.jsonl"
    assert "nothing is stored" in write_report(store, tmp_path)
    store.write_text("".join(json.dumps(c) + "\n" for c in comparisons) + '{"cut": ')
    assert len(load_rows(store)) == len(comparisons)
    table = write_report(store, tmp_path)
    assert (tmp_path / "table.md").read_text() == table
    assert json.loads((tmp_path / "summary.json").read_text())["setting"]["models"] == ["lenet"]
    assert (tmp_path / "error-rates.png").stat().st_size > 10_000


def test_the_pages_show_the_tables_as_they_were_printed():
    printed = (ROOT / "results" / "verdict-quality" / "table.md").read_text().strip().split("\n\n")
    rules, totals, cells, course, bound, calibration = printed
    page = (ROOT / "results" / "verdict-quality" / "README.md").read_text()
    assert all(table in page for table in (rules, cells, course, bound))
    assert totals in (ROOT / "docs" / "speed.md").read_text()
    assert calibration.startswith("Before the work was chosen")


def test_what_is_stored_is_not_done_again(comparisons):
    options = Namespace(condition=["quiet", "hog"], kind=["aa", "10"], count=5)
    assert plan_cells(options, comparisons) == sorted(
        [(c, k, 4) for c in ("quiet", "hog") for k in ("aa", "10")]
    )
    whole = plan_cells(Namespace(condition=None, kind=None, count=None), [])
    assert len(whole) == 2 * (150 + 3 * 20)
    assert {cell[:2] for cell in whole[:10]} == {(c, k) for c, k, _ in whole}


def test_the_hog_ends_with_the_comparison():
    before = list_hogs()
    with pytest.raises(RuntimeError), beside("hog"):
        assert len(list_hogs()) == len(before) + 1
        raise RuntimeError
    assert list_hogs() == before
    with beside("quiet"):
        assert list_hogs() == before


def list_hogs():
    import os

    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]


def test_a_comparison_of_scripted_workers_is_stored_and_judged(tmp_path, monkeypatch):
    clock, log = Clock(), []

    def launch(name, command, environment, path):
        planted = int(environment.get("PLANTED_PRODUCTS", 0)) / 1000
        source = np.random.default_rng(len(log))
        return FakeSpeedWorker(
            name, clock, log, lambda: 0.01 * (1 + planted) * source.normal(1, 0.01)
        )

    monkeypatch.setattr("planting.WorkerProcess", launch)

    class Environments:
        def resolve(self, contender, python):
            return dict(contender.env)

    options = Namespace(out=tmp_path, budget=60.0, mode="graph")
    stored = run_comparison("10", 3, options, Workload(data="synthetic"), Environments(), 100)
    judgement, others = judge_comparison(json.loads(json.dumps(stored)))
    assert judgement.verdict == "slower"
    assert others["TorchBench (7 %)"] == "slower"
    assert stored["number"] == 3 and stored["looks"] >= 1


@pytest.mark.parametrize("arguments", [["--kind", "4"], ["--condition", "loud"]])
def test_unknown_cells_are_refused(arguments, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["verdict_quality.py", *arguments])
    with pytest.raises(SystemExit) as info:
        main()
    assert info.value.code == 2 and "invalid choice" in capsys.readouterr().err


def test_a_study_ends_after_a_piece_and_goes_on_with_the_next(tmp_path, monkeypatch, capsys):
    def compare(kind, number, *given):
        row = create_comparison(kind, number=number)
        del row["condition"]
        return row

    monkeypatch.setattr("verdict_quality.run_comparison", compare)
    monkeypatch.setattr("verdict_quality.write_report", lambda store, out: "")
    cell = ["--kind", "aa", "--condition", "quiet", "--count", "3", "--at-most", "2"]
    monkeypatch.setattr("sys.argv", ["verdict_quality.py", "--out", str(tmp_path), *cell])
    for stored in (2, 3, 3):
        assert main() == 0
        assert len(load_rows(tmp_path / "comparisons.jsonl")) == stored
