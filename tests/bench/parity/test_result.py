from __future__ import annotations

from pathlib import Path

import pytest
from made_checks import create_check, create_check_document, create_different_check

from oneflow_bench.bench.errors import InputError, RecordError
from oneflow_bench.bench.parity.baseline import find_baseline, load_baseline
from oneflow_bench.bench.parity.gate import judge_checks
from oneflow_bench.bench.parity.result import CheckDocument, load_check, save_check

ROOT = Path(__file__).resolve().parents[3]
GOLDEN, BASELINES = ROOT / "tests" / "golden", ROOT / "results" / "baselines"


def test_a_check_is_read_as_it_was_written(tmp_path):
    document = create_check_document(create_check(), create_different_check())
    save_check(document, tmp_path)
    assert load_check(tmp_path) == load_check(tmp_path / "check.json") == document
    assert [path.name for path in tmp_path.iterdir()] == ["check.json"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "is not JSON; the check is damaged"),
        ('{"schema_version": 9}', "schema version 9, this program reads 1, 2, 3, 4, 5, 6"),
        ('{"schema_version": 1, "run_id": "x"}', "not a valid check: created"),
    ],
)
def test_a_damaged_check_is_one_sentence(tmp_path, text, message):
    (tmp_path / "check.json").write_text(text)
    with pytest.raises(RecordError, match=message):
        load_check(tmp_path)


def test_a_missing_or_empty_check_is_refused(tmp_path):
    with pytest.raises(RecordError, match="no check at .*; give a folder made by bench check"):
        load_check(tmp_path)
    save_check(create_check_document(), tmp_path)
    with pytest.raises(InputError, match="holds no finished model"):
        load_check(tmp_path)


def test_a_changed_digit_is_noticed(tmp_path):
    save_check(create_check_document(create_check()), tmp_path)
    path = tmp_path / "check.json"
    path.write_text(path.read_text().replace('"steps": 6', '"steps": 5', 1))
    with pytest.raises(RecordError, match="check.json was changed .*: its crc32 is wrong"):
        load_check(tmp_path)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*check\.json .* --out"):
        save_check(create_check_document(), tmp_path / "nowhere")


def test_a_check_of_schema_2_is_read_and_judged(tmp_path):
    """A stored check as release 0.1.0 wrote it: identical with its speed, a planted fault, a failed
    worker. Its origin has `alone` for `isolated_layer`."""
    text = (GOLDEN / "check-schema-2.json").read_text()
    assert '"alone": "reproduced"' in text and "isolated_layer" not in text
    (tmp_path / "check.json").write_text(text)
    document = load_check(tmp_path)
    good, faulty, failed = document.checks
    assert good.verdict == "identical" and good.speedup.ratio > 1
    assert (faulty.origin.level, faulty.origin.name) == ("eval forward", "classifier.3")
    assert faulty.origin.isolated_layer == "reproduced"
    assert faulty.origin.isolated_layer_reason.startswith("alone, on the same input")
    assert [one.exit_status for one in judge_checks(document)] == [0, 1, 4]
    assert CheckDocument.model_validate_json(document.model_dump_json()) == document
    assert failed.error.endswith("last words")


@pytest.mark.parametrize("path", sorted(BASELINES.glob("*.json")), ids=lambda path: path.stem)
def test_stored_baselines_are_read(path):
    baseline = load_baseline(path)
    assert baseline.model == path.stem and baseline.verdict == "identical"
    assert find_baseline(BASELINES, baseline.workload) == baseline
