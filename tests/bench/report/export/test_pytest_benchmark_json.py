"""Read by pytest-benchmark itself, and its statistics recomputed by its own class."""

from __future__ import annotations

import json
import random

import pytest

from oneflow_bench.bench.report.export.benchmarks import render_pytest_benchmark as render
from oneflow_bench.bench.report.export.benchmarks import summarize_rounds
from oneflow_bench.bench.report.export.selection import select_contenders


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 9, 30, 31])
def test_the_statistics_are_those_of_pytest_benchmark(count):
    from pytest_benchmark.stats import Stats

    source = random.Random(count)
    times = [source.lognormvariate(0, 0.5) for _ in range(count)]
    theirs = Stats()
    for time in times:
        theirs.update(time)
    expected = {
        name: value if isinstance(value, str) else pytest.approx(value)
        for name, value in theirs.as_dict().items()
    }
    assert summarize_rounds(times) == expected


def test_every_round_and_the_commit_are_there(record):
    content = json.loads(render(select_contenders([record], None)))
    stats = content["benchmarks"][1]["stats"]
    assert stats["rounds"] == len(stats["data"]) == 47
    assert stats["iterations"] == 5
    assert content["commit_info"] == {"id": "abc", "dirty": True}
    assert content["machine_info"]["cpu"] == {"brand_raw": "Example CPU", "count": 2}


def test_pytest_benchmark_compare_opens_it(bench, read_with, run, tmp_path):
    out = tmp_path / "benchmarks.json"
    done = bench("export", run, "--format", "pytest-benchmark", "--out", out)
    assert done.returncode == 0, done.stderr
    printed = read_with("pytest_benchmark", "compare", out)
    assert "benchmark 'alexnet_cifar/train_step': 2 tests" in printed
    assert "alexnet_cifar/train_step/eager" in printed
    assert "Rounds" in printed and " 47 " in printed
