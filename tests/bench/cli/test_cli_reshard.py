"""`bench data reshard` as a user types it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time

import pytest
from command import refused, run_command
from test_cli import COMMAND

from oneflow_bench.data import default_dataset_path, inspect_dataset

DIGITS = default_dataset_path()


def test_reshard_says_what_it_wrote(tmp_path):
    done = run_command("data", "reshard", DIGITS, "--parts", 4, "--out", "four", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "train 1438 images, 359 to 360 in each of 4 parts",
        "val   359 images, 89 to 90 in each of 4 parts",
        "written to four",
    ]
    assert inspect_dataset(tmp_path / "four")["problems"] == []


def test_reshard_prints_json(tmp_path):
    out = tmp_path / "two"
    done = run_command("data", "reshard", DIGITS, "--parts", 2, "--out", out, "--json")
    described = json.loads(done.stdout)
    index = json.loads((out / "index.json").read_text())
    assert described["path"] == str(out) and described["source"] == str(DIGITS)
    assert described["splits"]["train"]["parts"] == index["splits"]["train"]["parts"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such", "--parts", 2, "--out", "out"], ["no-such", "does not exist"]),
        ([DIGITS, "--parts", 0, "--out", "out"], ["--parts", "0 is not in the range"]),
        ([DIGITS, "--parts", 360, "--out", "out"], ["359 images", "360", "--parts 359 or less"]),
        ([DIGITS, "--parts", 2, "--out", "."], ["not empty"]),
        ([DIGITS, "--parts", 2, "--out", "file/out"], ["file/out cannot be written"]),
        ([DIGITS, "--out", "out"], ["--parts"]),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(tmp_path, arguments, words):
    (tmp_path / "file").touch()
    refused(run_command("data", "reshard", *arguments, cwd=tmp_path), *words)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("has_index", [True, False])
def test_a_truncated_part_is_refused(tmp_path, has_index):
    source = tmp_path / "digits"
    shutil.copytree(DIGITS, source)
    if not has_index:
        (source / "index.json").unlink()
    part = source / "val" / "part-00001"
    part.write_bytes(part.read_bytes()[:-100])
    done = run_command("data", "reshard", source, "--parts", 2, "--out", tmp_path / "out")
    refused(done, str(part), "record 178", "truncated")
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def create_long_dataset(root, times):
    """The digits with each training part `times` times over, so that writing takes a while."""
    (root / "train").mkdir(parents=True)
    shutil.copytree(DIGITS / "val", root / "val")
    parts = sorted((DIGITS / "train").iterdir())
    for number, part in enumerate(parts * times):
        (root / "train" / f"part-{number:05d}").symlink_to(part)
    index = json.loads((DIGITS / "index.json").read_text())
    train = index["splits"]["train"]
    train["parts"] *= times
    train["num_samples"] *= times
    train["class_counts"] = [count * times for count in train["class_counts"]]
    (root / "index.json").write_text(json.dumps(index))
    return root


def test_ctrl_c_leaves_nothing_behind(tmp_path):
    source = create_long_dataset(tmp_path / "long", 50)
    command = [*COMMAND, "data", "reshard", str(source), "--parts", "300", "--out", "out"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".out.*/train")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130 and "Traceback" not in log
    assert list(tmp_path.iterdir()) == [source]
