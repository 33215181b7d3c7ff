"""`bench doctor` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from command import run_command
from limits_records import GRAPH, create_layer_profile, create_profile

from oneflow_bench.bench.cli.doctor import read_step
from oneflow_bench.bench.record.machine import read_cpu
from oneflow_bench.bench.tools.profile.work import Product

PRODUCT = Product(
    of="forward",
    transposed_left=False,
    transposed_right=True,
    adds=False,
    rows=2,
    columns=3,
    inner=4,
    count=5,
)


def bench_doctor(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "oneflow_bench", "doctor", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.fixture
def bare_python(tmp_path):
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    path.chmod(0o755)
    return path


def test_an_interpreter_without_oneflow_is_a_finding(bare_python):
    done = run_command("doctor", "--python", bare_python)
    assert (done.returncode, done.stderr) == (1, "")
    assert "import oneflow fails: OneFlow is not installed there" in " ".join(done.stdout.split())
    assert "remedy: pip install oneflow==0.9.0" in done.stdout


def test_json_says_the_same(bare_python):
    done = run_command("doctor", "--python", bare_python, "--json", "--runtime", "stock")
    diagnosis = json.loads(done.stdout)
    checks = {check["name"]: check for check in diagnosis["checks"]}
    assert done.returncode == 1 and diagnosis["runtime"] == "stock"
    assert checks["oneflow_import"]["status"] == "attention"
    assert checks["onednn"]["status"] == "unknown"
    assert diagnosis["machine"]["usable_cores"] >= 1


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--python", "/no/such/python"], "cannot be started (No such file or directory)"),
        (["--python", "/bin/true"], "is no Python interpreter"),
        (["--budget", "0"], "not in the range"),
        (["--runtime", "fast"], "tuned"),
    ],
)
def test_bad_input_is_refused_with_status_2(arguments, said):
    done = run_command("doctor", *arguments)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def store_profile(folder, model=None, blas=None, products=(PRODUCT,), **changes):
    layer = create_layer_profile(0, products=list(products))
    profile = create_profile([layer], **changes).model_copy(
        update={"machine": {"cpu": {"model": model or read_cpu()["model"]}},
                "environment": {"blas": blas}}
    )  # fmt: skip
    (folder / "profile.json").write_text(profile.model_dump_json())
    return folder


def test_a_profile_gives_its_step_and_the_shapes_of_its_products(tmp_path):
    step = read_step(store_profile(tmp_path))
    assert (step.model, step.mode, step.batch) == ("alexnet", "eager", "batch 4, 32 px")
    assert (step.step_s, step.shapes, step.counts) == (0.1, [[0, 1, 0, 2, 3, 4]], [5])
    assert read_step(store_profile(tmp_path, mode="graph", graph=GRAPH)).step_s == 0.08


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"model": "another"}, "is of the processor another and this one is"),
        ({"blas": {"path": "x"}}, "was made with another BLAS"),
        ({"products": ()}, "has no matrix products"),
    ],
)
def test_a_profile_that_tells_nothing_of_this_step_is_refused(tmp_path, changes, said):
    done = run_command("doctor", "--profile", store_profile(tmp_path, **changes))
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert "make a `bench profile` of the model here" in done.stderr
    assert run_command("doctor", "--profile", tmp_path / "gone").returncode == 2


@pytest.mark.slow
@pytest.mark.oneflow
def test_this_interpreter_is_examined():
    done = bench_doctor("--json", "--budget", "90")
    diagnosis = json.loads(done.stdout)
    checks = {check["name"]: check for check in diagnosis["checks"]}
    assert done.returncode in (0, 1, 3), done.stderr
    assert checks["oneflow_import"]["status"] == checks["versions"]["status"] == "ok"
    assert checks["blas_kernel"]["measured"]["kernel"]
    assert checks["matmul_rate"]["measured"]["oneflow_flops_per_s"] > 1e8
    assert checks["measurements"]["status"] != "attention"
