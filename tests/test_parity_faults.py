"""The study of planted faults: its catalogue, and one fault planted for real."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def study():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import parity_quality
    finally:
        sys.path.remove(str(BENCHMARKS))
    return parity_quality


@pytest.mark.oneflow
def test_the_catalogue_names_each_fault_once_and_has_kinds_enough(study):
    from oneflow_bench.bench.parity.result import LEVELS

    names = [fault.name for fault in study.FAULTS]
    assert len(set(names)) == len(names)
    assert len({fault.kind for fault in study.FAULTS}) >= 24
    assert all(fault.levels and set(fault.levels) <= set(LEVELS) for fault in study.FAULTS)


@pytest.mark.slow
@pytest.mark.oneflow
def test_a_planted_fault_is_found_where_it_is(study):
    fault = next(f for f in study.FAULTS if f.name == "ReLU with a slope/lenet/classifier.3/0.0001")
    row = study.plant(fault)
    assert row["detected"] and row["right_name"] and row["name"] == "classifier.3"
    assert row["isolated_layer"] == "reproduced"


def test_a_study_goes_on_where_it_stopped_and_keeps_failures(study, tmp_path):
    from oneflow_bench.bench.errors import WorkerError

    ran = []

    def run(number):
        ran.append(number)
        if number == 2:
            raise WorkerError("died", "last words")
        return {"verdict": "identical", "reason": "equal"}

    stored = tmp_path / "rows.jsonl"
    study.run_study(stored, [("a", (1,)), ("b", (2,))], run)
    study.run_study(stored, [("a", (1,)), ("b", (2,)), ("c", (3,))], run)
    assert ran == [1, 2, 3]
    rows = study.load_rows(stored)
    assert [row["case"] for row in rows] == ["a", "b", "c"]
    assert rows[1]["error"] == "died" and rows[1]["log_tail"] == "last words"
