"""Read by pyperf itself."""

from __future__ import annotations

import json
import statistics

import pytest
from records import create_events, create_record, save_record

from oneflow_bench.bench.report.export.benchmarks import render_pyperf as render
from oneflow_bench.bench.report.export.selection import select_contenders


def test_pyperf_loads_the_values_the_warmups_and_the_metadata(record):
    import pyperf

    selected = select_contenders([record], None)
    suite = pyperf.BenchmarkSuite.loads(render(selected))
    assert suite.get_benchmark_names() == [
        "alexnet_cifar/train_step/eager",
        "alexnet_cifar/train_step/graph",
    ]
    for one, benchmark in zip(selected, suite):
        times = one.list_step_times()
        assert list(benchmark.get_values()) == times
        assert benchmark.mean() == pytest.approx(statistics.mean(times))
        assert benchmark.get_loops() == 5
        assert benchmark.get_unit() == "second"
        first = one.blocks[0]
        assert benchmark.get_runs()[0].warmups == ((5, first.step_time_s),)
        metadata = benchmark.get_metadata()
        assert metadata["cpu_model_name"] == "Example CPU"
        assert metadata["mem_max_rss"] == 400 * 2**20
        assert metadata["mode"] == one.contender.mode
    assert suite.get_dates()[0].isoformat() == "2026-01-01T00:00:00"


def test_pyperf_stats_opens_it(bench, read_with, run, tmp_path):
    out = tmp_path / "both.json"
    assert bench("export", run, "--format", "pyperf", "--out", out).returncode == 0
    printed = read_with("pyperf", "stats", out)
    assert "Number of benchmarks: 2" in printed
    assert "Total number of values: 47" in printed
    assert "Mean +- std dev: 80" in printed


def test_pyperf_compares_the_files_of_two_contenders(bench, read_with, run, tmp_path):
    for name in ("eager", "graph"):
        done = bench(
            "export", run, "--format", "pyperf", "--contender", name, "--out", tmp_path / name
        )
        assert done.returncode == 0, done.stderr
    printed = read_with("pyperf", "compare_to", tmp_path / "eager", tmp_path / "graph")
    assert "[eager] 99.8 ms" in printed and "[graph] 80.2 ms" in printed
    assert "1.24x faster" in printed


def test_a_contender_that_was_never_steady_is_refused(bench, tmp_path):
    run = save_record(create_record(create_events("eager", blocks=1, epochs=1)), tmp_path / "run")
    done = bench("export", run, "--format", "pyperf", "--out", tmp_path / "out.json")
    assert done.returncode == 2
    assert "no steady blocks of eager" in done.stderr and "--format csv" in done.stderr
    assert not (tmp_path / "out.json").exists()


def test_a_run_without_warmup_has_none(record):
    record.events = [e for e in record.events if getattr(e, "kind", "steady") == "steady"]
    content = json.loads(render(select_contenders([record], "eager")))
    assert "warmups" not in content["benchmarks"][0]["runs"][0]
