from __future__ import annotations

import pytest
from study import append_row, load_rows, run_main, run_study

from oneflow_bench.bench.errors import InputError, Interrupted


def test_rows_are_appended_whole(tmp_path):
    stored = tmp_path / "rows.jsonl"
    append_row(stored, {"a": 1})
    stored.write_text(stored.read_text() + '{"a": ')  # a kill while the next was written
    append_row(stored, {"a": 2})
    assert load_rows(stored) == [{"a": 1}, {"a": 2}]


def test_nothing_stored_is_no_rows(tmp_path):
    assert load_rows(tmp_path / "rows.jsonl") == []


def test_a_study_goes_on_where_it_stopped_and_a_failure_is_a_row(tmp_path, capsys):
    stored = tmp_path / "rows.jsonl"
    append_row(stored, {"case": "a", "verdict": "good"})

    def run(value):
        raise InputError(f"no {value}")

    run_study(stored, [("a", (1,)), ("b", (2,))], run)
    assert [row.get("error") for row in load_rows(stored)] == [None, "no 2"]
    assert "1/1 b" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error, status, said",
    [
        (InputError("give another"), 2, "error: give another"),
        (Interrupted("x"), 130, "what was finished is stored"),
        (KeyboardInterrupt(), 130, "what was finished is stored"),
    ],
)
def test_a_program_ends_with_one_line(error, status, said, capsys):
    def action():
        raise error

    assert run_main(action) == status
    assert said in capsys.readouterr().err


def test_a_program_that_worked_ends_with_0():
    assert run_main(lambda: None) == 0
