from __future__ import annotations

import json

import pytest
from sweep_cells import create_cell, create_result, create_sweep

from oneflow_bench.bench.errors import InputError, RecordError
from oneflow_bench.bench.tools.sweep.document import load_sweep, name_cell, save_sweep


def test_a_sweep_is_read_as_it_was_written(tmp_path):
    document = create_sweep(create_cell(result=create_result()), create_cell("alexnet"))
    save_sweep(tmp_path, document)
    assert load_sweep(tmp_path) == document
    assert load_sweep(tmp_path / "sweep.json") == document
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.json"]


@pytest.mark.parametrize(
    "text, word",
    [
        ("{", "not JSON"),
        ("[]", "has no schema_version"),
        ('{"schema_version": 99}', "schema version 99"),
        ('{"schema_version": 1}', "not a valid sweep"),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(tmp_path, text, word):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(RecordError, match=word):
        load_sweep(tmp_path)


def test_a_key_that_is_not_known_is_refused(tmp_path):
    raw = create_sweep(create_cell()).model_dump()
    (tmp_path / "sweep.json").write_text(json.dumps({**raw, "extra": 1}))
    with pytest.raises(RecordError, match="extra"):
        load_sweep(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecordError, match="no sweep at"):
        load_sweep(tmp_path)
    with pytest.raises(InputError, match="cannot write"):
        save_sweep(tmp_path / "missing", create_sweep(create_cell()))


def test_cells_are_named_by_the_words_of_the_flags():
    assert name_cell({"model": "lenet", "batch_size": 4, "feed": "memory"}) == (
        "lenet batch_size=4 feed=memory"
    )
