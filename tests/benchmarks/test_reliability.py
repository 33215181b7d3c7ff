"""The reliability suites, small; benchmarks/reliability.py runs them large."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import reliability
from reliability_records import FORMATS, Format, make_row, try_inputs

MOUNT = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_refused_in_a_sentence_or_read(name):
    row = try_inputs(name, 1, 12)
    assert row["verdict"] == "held", row["reason"]
    assert row.get("refused", 0) > 0


def test_a_reader_that_fails_hangs_or_accepts_a_change_is_found(monkeypatch):
    good = FORMATS["weights"]
    for error, word in ((KeyError("x"), "traceback"), (TimeoutError(), "hang")):
        answers = iter([0])

        def read(folder, answers=answers, error=error):
            for answer in answers:
                return answer
            raise error

        monkeypatch.setitem(FORMATS, "bad", Format(good.write, read, True))
        assert try_inputs("bad", 0, 3)[word] == 3
    values = iter(range(9))
    monkeypatch.setitem(FORMATS, "bad", Format(good.write, lambda folder: next(values), True))
    assert try_inputs("bad", 0, 3)["silent"] == 3


def test_a_killed_writer_loses_no_epoch_that_its_record_holds():
    row = reliability.kill_writer(0)
    assert row["verdict"] == "held", row["reason"]


def test_a_lost_epoch_and_an_unreadable_record_are_found(tmp_path):
    reliability.write_epochs(tmp_path / "run", 2)
    assert reliability._check_left(tmp_path / "run") == []
    for file in (tmp_path / "run" / "checkpoints" / "eager").glob("[el]*2*"):
        file.unlink()
    for file in (tmp_path / "run" / "checkpoints" / "eager").glob("last*"):
        file.unlink()
    assert "lost: an epoch" in reliability._check_left(tmp_path / "run")[0]
    (tmp_path / "run" / "samples.jsonl").write_text("{}\n")
    assert "unreadable" in reliability._check_left(tmp_path / "run")[0]


def test_the_table_names_what_did_not_hold():
    rows = [{"case": "kill eager 0", **make_row([])}, {"case": "kill eager 1", **make_row(["x"])}]
    table = reliability.create_table(rows)
    assert "| kill eager | 2 | 2 | 1 | 1 |" in table and table.endswith("- kill eager 1: x\n")


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.parametrize("mode, seed", [("eager", 2), ("graph", 4), ("compare", 5)])
def test_a_killed_run_is_read_and_resumed(mode, seed):
    row = reliability.kill_run(mode, seed)
    assert row["verdict"] == "held", row["reason"]


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.parametrize("mode, seed", [("eager", 0), ("graph", 1), ("compare", 2)])
def test_a_full_disk_is_a_sentence(mode, seed):
    if shutil.which("unshare") is None or subprocess.run(MOUNT, check=False).returncode:
        pytest.skip("this machine lets no user mount a disk")
    row = reliability.fill_disk(mode, seed)
    assert row["verdict"] == "held", row["reason"]
