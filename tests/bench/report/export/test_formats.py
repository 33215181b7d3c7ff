"""`bench export` as a user types it, and that nothing is written by halves."""

from __future__ import annotations

import json

import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.report.export import FOLDER_FORMATS, FORMATS, TEXT_FORMATS, export
from oneflow_bench.bench.report.export.selection import select_contenders


@pytest.mark.parametrize("name", TEXT_FORMATS)
def test_text_goes_to_standard_output_or_to_a_file_alike(record, tmp_path, name):
    selected = select_contenders([record], None)
    text = "".join(export(selected, name, None))
    assert text.endswith("\n") and not text.endswith("\n\n\n")
    assert export(selected, name, tmp_path / "out") is None
    assert (tmp_path / "out").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_command_prints_the_text_or_the_path(bench, run, tmp_path):
    printed = bench("export", run, "--format", "bencher")
    assert printed.returncode == 0
    assert set(json.loads(printed.stdout)) == {"alexnet_cifar/eager", "alexnet_cifar/graph"}
    written = bench("export", run, run / "record.json", "--format", "csv", "--out", tmp_path / "x")
    assert written.returncode == 2 and "given more than once" in written.stderr
    written = bench("export", run, "--format", "csv", "--out", tmp_path / "x")
    assert written.stdout == f"{tmp_path / 'x'}\n"
    assert (tmp_path / "x").read_text().startswith("run_id,")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--format", "xml"], "'xml' is not one of"),
        (["--format", "tensorboard"], "give --out FOLDER"),
        (["--format", "csv", "--contender", "tuned"], "give --contender one of eager, graph"),
        (["--format", "csv", "--out", "{tmp}"], "exists already; give a new name"),
        (["--format", "csv", "--out", "{tmp}/none/out.csv"], "No such file or directory"),
        (["--format", "tensorboard", "--out", "{tmp}/none/out"], "No such file or directory"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(bench, run, tmp_path, arguments, words):
    before = sorted(tmp_path.rglob("*"))
    done = bench("export", run, *[a.format(tmp=tmp_path) for a in arguments])
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_record_that_cannot_be_read_is_refused(bench, run):
    (run / "record.json").write_text("{")
    done = bench("export", run, "--format", "csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert "record.json is not JSON" in done.stderr


def test_a_failure_half_way_leaves_no_folder(record, tmp_path, monkeypatch):
    def write_folder(selected, folder):
        (folder / "half").write_text("x")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(FOLDER_FORMATS, "tensorboard", write_folder)
    with pytest.raises(InputError, match="No space left on device"):
        export(select_contenders([record], None), "tensorboard", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_help_names_every_format(bench):
    done = bench("export", "--help")
    assert "\n  bench export " in done.stdout
    for name in FORMATS:
        assert name in done.stdout.replace("\n", "").replace(" ", "") or name in done.stdout
