from __future__ import annotations

import json
import random
import time

import reliability_data
from reliability_data import Format, list_formats, main, mutate, try_formats, try_input

from oneflow_bench.data import DataError


def test_every_format_stands_what_is_done_to_it():
    lines = list(try_formats(12, {}))
    assert len(lines) == len({line["format"] for line in lines}) > 15
    assert [line for line in lines if line["faults"]] == []


def test_whole_files_are_read(tmp_path):
    for one in list_formats(tmp_path):
        path = reliability_data._place(one, tmp_path)
        path.write_bytes(one.whole)
        one.read(path)


def test_the_faults_of_a_reader_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(reliability_data, "LIMIT_S", 0.1)
    monkeypatch.setattr(reliability_data, "mutate", lambda whole, source: (b"cut", True))

    def fail(path):
        raise KeyError("a traceback")

    def refuse(path):
        raise DataError("a sentence")

    readers = {
        "traceback: KeyError: 'a traceback'": fail,
        "hang": lambda path: time.sleep(5),
        "accepted, though its end is cut off": lambda path: None,
        "": refuse,
    }
    for fault, read in readers.items():
        assert try_input(Format("x", b"whole", read), tmp_path, 0) == fault


def test_mutations_repeat_and_a_run_goes_on(tmp_path, monkeypatch):
    assert mutate(bytes(99), random.Random("x 1")) == mutate(bytes(99), random.Random("x 1"))
    out = tmp_path / "deep" / "data.jsonl"
    for inputs in (2, 3):
        monkeypatch.setattr("sys.argv", ["x", "--inputs", str(inputs), "--out", str(out)])
        main()
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["first"], line["end"]) for line in lines if line["format"] == "w.npz"] == [
        (0, 2),
        (2, 3),
    ]
