"""The worker itself: as a process of an interpreter, with and without OneFlow."""

from __future__ import annotations

import ast
import io
import json
import os
import sys
from pathlib import Path

import pytest

from oneflow_bench.bench.errors import WorkerError
from oneflow_bench.bench.tools.doctor import worker
from oneflow_bench.bench.tools.doctor.diagnosis import (
    Identity,
    ImportOutcome,
    MemoryMeasurements,
    StepBlock,
    ThreadMeasurements,
)
from oneflow_bench.bench.tools.doctor.probe import create_probe_launcher
from oneflow_bench.bench.worker import product_times


def test_an_exception_is_answered_and_the_next_request_served(capsys):
    replies = io.StringIO()
    requests = io.StringIO('{"call": "build_model"}\n{"call": "identify"}\n')
    worker.serve(worker.Session(), requests, replies)
    failed, done = map(json.loads, replies.getvalue().splitlines())
    assert failed["ok"] and failed["error"].startswith("AttributeError")
    assert Identity(**{k: v for k, v in done.items() if k != "ok"}).installed["numpy"]
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("file", [worker.__file__, product_times.__file__])
def test_the_worker_is_one_that_python_3_7_reads_and_imports_nothing_of_the_suite(file):
    source = Path(file).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 7))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
             for alias in node.names}  # fmt: skip
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert "sys" in names and not any("oneflow_bench" in name for name in names)


def test_a_page_fault_takes_time():
    assert 0 < worker.measure_page_fault() < 0.1


def test_repeats_are_counted_without_the_first():
    calls = []
    durations = worker.repeat(lambda: calls.append(1), seconds=0.0)
    assert len(durations) == worker.LEAST_REPEATS == len(calls) - 1


def test_what_is_not_there_is_none(tmp_path):
    assert worker.read_status_bytes(str(tmp_path / "status"), "VmHWM:") is None
    assert worker.open_library("libnosuch.so") is None


@pytest.fixture
def start(tmp_path):
    """A worker that finds a package oneflow with the given code before any other."""
    workers = []

    def launch(code=None):
        environment = dict(os.environ, GLOG_minloglevel="2")
        if code is not None:
            (tmp_path / "oneflow").mkdir()
            (tmp_path / "oneflow" / "__init__.py").write_text(code)
            environment["PYTHONPATH"] = str(tmp_path)
        workers.append(create_probe_launcher(sys.executable, tmp_path / "logs")("w", environment))
        return workers[-1]

    yield launch
    for started in workers:
        started.close()


def test_an_import_that_raises_is_an_answer(start):
    answer = start("raise ImportError('libz.so.1: cannot open shared object file')").ask(
        "import_oneflow", 60
    )
    assert answer == {"error": "ImportError: libz.so.1: cannot open shared object file"}


def test_an_import_that_ends_the_process_is_seen(start):
    with pytest.raises(WorkerError, match="SIGABRT"):
        start("import os; os.abort()").ask("import_oneflow", 60)


@pytest.mark.oneflow
def test_oneflow_is_measured(start):
    started = start()
    loaded = ImportOutcome(**started.ask("import_oneflow", 120))
    assert loaded.error is None and loaded.oneflow and loaded.oneflow_cuda
    assert loaded.cudnn[0] // 1000 == 8 and loaded.cublas[0] == 11
    assert started.ask("measure_matrix_product", 120)["flops_per_s"] > 1e8
    shapes = [[0, 0, 0, 64, 64, 64], [0, 1, 1, 2, 3, 4]]
    products = started.ask("measure_products", 120, timer=product_times.__file__, shapes=shapes)
    large_s, small_s = products["times_s"]
    assert large_s > 0 and small_s >= 0
    threads = ThreadMeasurements(**started.ask("measure_reduction", 120))
    assert sum(threads.reduction.threads_s.values()) > 0
    operators = started.ask("measure_operators", 120)["operators_s"]
    assert "bias add" in operators and all(duration > 0 for duration in operators.values())
    assert started.ask("build_model", 120) == {}
    block = StepBlock(**started.ask("measure_train_steps", 120, block_s=0.01))
    assert block.steps >= 1 and block.wall_s >= 0.01 and block.cpu_s > 0
    memory = MemoryMeasurements(**started.ask("measure_memory", 120))
    assert memory.peak_rss_bytes > 50 << 20
