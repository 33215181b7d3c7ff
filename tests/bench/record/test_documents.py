from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, ConfigDict

from oneflow_bench.bench.errors import InputError, RecordError
from oneflow_bench.bench.record.checksum import format_document
from oneflow_bench.bench.record.run import create_run_folder, load_document


class Note(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_version: int
    text: str


def load(path):
    return load_document(path, Note, (2, 3), "note", "write one")


def test_a_document_of_a_known_version_is_read(tmp_path):
    path = tmp_path / "note.json"
    path.write_text('{"schema_version": 3, "text": "x"}')
    assert load(path).text == "x"


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"schema_version": 3,', "is not JSON; the note is damaged"),
        (b"\xff\xfe", "is not JSON"),
        (b'{"schema_version": 1, "text": "x"}', "version 1, this program reads 2, 3"),
        (b'{"schema_version": 3, "text": 1}', "not a valid note: text"),
        (b'{"schema_version": 3, "text": "x", "more": 1}', "not a valid note: more"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path, content, message):
    path = tmp_path / "note.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=message):
        load(path)


def test_a_changed_digit_is_noticed_and_another_layout_is_not(tmp_path):
    path = tmp_path / "note.json"
    note = Note(schema_version=3, text="7 \u20ac")
    path.write_text(format_document(note), encoding="utf-8")
    whole = path.read_text(encoding="utf-8")
    assert load(path) == note and list(json.loads(whole))[-1] == "crc32"
    path.write_text(json.dumps(json.loads(whole), sort_keys=True))
    assert load(path) == note
    for old, new in (("7", "8"), (": 3", ": 2"), ('"crc32": "', '"crc32": "0')):
        path.write_text(whole.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(RecordError, match="note.json was changed .* or delete its crc32"):
            load(path)
    changed = {"schema_version": 3, "text": "8"}
    path.write_text(json.dumps(changed))
    assert load(path) == Note(**changed)


def test_a_missing_document_says_what_to_give(tmp_path):
    with pytest.raises(RecordError, match=r"no note at .*\(No such file or directory\); write one"):
        load(tmp_path / "note.json")


def test_a_run_folder_is_new(tmp_path):
    create_run_folder(tmp_path / "a" / "b")
    with pytest.raises(InputError, match="exists already; give --out"):
        create_run_folder(tmp_path / "a")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write .* --out"):
        create_run_folder(tmp_path / "file" / "run")
