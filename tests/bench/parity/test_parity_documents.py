from __future__ import annotations

import json

import pytest
from made_checks import create_check, create_check_document, create_different_check

from oneflow_bench.bench.errors import InputError, RecordError
from oneflow_bench.bench.parity import documents
from oneflow_bench.bench.parity.documents import create_check_document as create_empty
from oneflow_bench.bench.parity.documents import load_check, save_check
from oneflow_bench.bench.parity.planning import create_check_plans


def test_a_check_is_read_as_it_was_written(tmp_path):
    document = create_check_document(create_check(), create_different_check())
    save_check(document, tmp_path)
    assert load_check(tmp_path) == load_check(tmp_path / "check.json") == document
    assert [path.name for path in tmp_path.iterdir()] == ["check.json"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "is not JSON; the check is damaged"),
        ('{"schema_version": 3}', "schema version 3, this program reads 1, 2"),
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


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*check\.json .* --out"):
        save_check(create_check_document(), tmp_path / "nowhere")


def test_a_new_document_says_what_it_was_made_on(monkeypatch):
    class Resolver:
        def find_kernel(self, contender, python):
            return "Haswell"

    monkeypatch.setattr(documents, "RuntimeResolver", Resolver)
    plans = create_check_plans(["lenet", "vgg11"], {})
    document = create_empty(plans[:1])
    assert document.run_id.startswith("check-lenet-")
    assert create_empty(plans).run_id.startswith("check-2-models-")
    assert (document.blas_kernel, document.oneflow, document.checks) == ("Haswell", "0.9.0", [])
    assert document.machine["cpu"]["cores"] >= 1
    json.loads(document.model_dump_json())
