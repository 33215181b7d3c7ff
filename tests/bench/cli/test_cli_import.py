from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from oneflow_bench.bench.cli import bench
from oneflow_bench.bench.errors import InputError


def run(*arguments):
    return CliRunner().invoke(bench, ["data", "import", *map(str, arguments), "--workers", "1"])


@pytest.fixture
def arrays(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 6), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=pixels, labels=np.arange(8) % 2 + 1)
    return tmp_path / "set.npz"


def test_a_source_is_recognised_and_described(arrays, tmp_path):
    flags = ["--val-fraction", "0.5", "--label-base", "1", "--parts", "1", "--json"]
    done = run(arrays, "--out", tmp_path / "out", *flags)
    assert done.exit_code == 0, done.output
    described = json.loads(done.stdout)
    assert described["train"]["images_per_class"] == {"1": 2, "2": 2}
    assert "is read as arrays of NumPy, images (8, 6, 6)" in done.stderr
    assert "--flips does it" in done.stderr and not described["horizontal_flip"]


@pytest.mark.parametrize(
    "words, reason",
    [
        (["{source}"], "--label-base 1"),
        (["imagefolder", "{source}"], "is no folder"),
        (["odd", "{source}"], "odd is no format"),
        (["idx", "csv", "{source}"], "idx csv is no format"),
        (["{source}.gone"], "does not exist"),
    ],
)
def test_bad_input_is_one_sentence(words, reason, arrays, tmp_path):
    given = [word.format(source=arrays) for word in words]
    done = run(*given, "--out", tmp_path / "out")
    assert isinstance(done.exception, InputError) and reason in str(done.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.npz"]
