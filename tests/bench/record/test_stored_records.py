"""Everything stored in results/ is read by today's readers, whatever names it was written with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from study import load_rows
from verdict_quality_cells import judge_ours

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.parity.baseline import load_baseline
from oneflow_bench.bench.record.events import BlockEvent, InterimAnalysisEvent, SpeedBlockEvent
from oneflow_bench.bench.record.run import load_record
from oneflow_bench.bench.verdict.judge import Interval, Judgement
from oneflow_bench.bench.verdict.summary import summarize_record_speed
from oneflow_bench.bench.worker.runtime_profile import load_runtime_profile

RESULTS = Path(__file__).resolve().parents[3] / "results"
RECORDS = sorted(path.parent for path in RESULTS.rglob("record.json"))
PROFILES = sorted(RESULTS.rglob("runtime.json"))
BASELINES = sorted((RESULTS / "baselines").glob("*.json"))
STUDIES = sorted(RESULTS.rglob("comparisons.jsonl"))


def name(path):
    return str(path.relative_to(RESULTS))


def test_there_are_results_of_every_kind():
    assert len(RECORDS) >= 14 and len(PROFILES) >= 5 and len(BASELINES) >= 5 and len(STUDIES) >= 2


@pytest.mark.parametrize("folder", RECORDS, ids=name)
def test_a_record_is_read_and_judged(folder):
    record = load_record(folder)
    lines = (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(record.events) == len(lines) > 0
    blocks = record.of_kind(SpeedBlockEvent)
    assert blocks or record.of_kind(BlockEvent)
    assert all(block.untimed_steps >= 0 for block in blocks)
    baseline, *others = record.racing_names()
    for contender in others:
        speed = summarize_record_speed(record, baseline, contender)
        if blocks:
            assert speed is not None and speed.judgement.verdict
    for number, analysis in enumerate(record.of_kind(InterimAnalysisEvent), start=1):
        assert analysis.number == number
        assert analysis.action in ("stop", "longer", "fresh", "rest")


@pytest.mark.parametrize("folder", RECORDS, ids=name)
def test_an_event_that_is_written_again_is_the_event(folder):
    for event in load_record(folder).events:
        assert type(event).model_validate_json(event.model_dump_json()) == event


@pytest.mark.parametrize("store", STUDIES, ids=name)
def test_the_comparisons_of_a_study_are_judged(store):
    rows = load_rows(store)
    assert len(rows) > 100
    for row in rows[::20]:
        assert judge_ours(row).replicates >= 1


@pytest.mark.parametrize("path", BASELINES, ids=name)
def test_a_baseline_is_read(path):
    assert load_baseline(path)


@pytest.mark.parametrize("path", PROFILES, ids=name)
def test_a_runtime_profile_is_read(path):
    profile = load_runtime_profile(path)
    assert profile.variables_of("eager") or profile.variables_of("graph")


def test_a_judgement_is_read_by_its_old_names():
    ratio = {"ratio": 1.1, "low": 1.0, "high": 1.2, "strict_low": 0.9, "strict_high": 1.3}
    text = json.dumps(ratio)
    interval = Interval.model_validate_json(text)
    assert (interval.sequential_low, interval.sequential_high) == (0.9, 1.3)
    old = {
        "verdict": "equivalent", "reason": "", "speedup": ratio,
        "control": ratio, "control_verdict": "equivalent", "smallest_effect": None,
        "replicates": 3, "double_rounds": 4, "looks": 2, "process_spread": None,
        "within_share": None, "location": "median",
    }  # fmt: skip
    judgement = Judgement.model_validate(old)
    assert (judgement.abba_pairs, judgement.analyses) == (4, 2)
    assert judgement.process_estimate == "median"
    assert Judgement.model_validate(judgement.model_dump()) == judgement


def test_an_error_of_a_reader_names_the_file(tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        load_runtime_profile(tmp_path / "missing.json")
