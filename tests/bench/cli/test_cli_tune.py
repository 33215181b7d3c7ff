"""`bench tune` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import refused, run_command
from tuning_machine import Machine, create_request, variable

from oneflow_bench.bench.tools.tune.report import load_tuning
from oneflow_bench.bench.tools.tune.search import run_search
from oneflow_bench.bench.worker.runtime_profile import load_runtime_profile

LENET = ["--model", "lenet", "--data", "synthetic"]


@pytest.mark.slow
@pytest.mark.oneflow
def test_a_search_with_oneflow_itself(tmp_path):
    """A tiny budget: what matters is that every candidate is judged against stock."""
    tried = ["--try", "OPENBLAS_CORETYPE=Nehalem"]
    only = ["--only", "allow_fuse_cast*", "--only", "OPENBLAS_CORETYPE=Nehalem"]
    done = run_command(
        "tune", *LENET, *tried, *only, "--budget", "400", "--mode", "graph", "--json",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    document = load_tuning(tmp_path / "run")
    assert printed == json.loads(document.model_dump_json())
    assert document.oneflow == "0.9.0" and document.status == "complete"
    mode = document.modes[0]
    assert mode.stock_step_time_s > 0 and 3 <= mode.trained_steps <= 10
    found = {candidate.name: candidate for candidate in mode.candidates}
    blas, fuse = found["OPENBLAS_CORETYPE=Nehalem"], found["allow_fuse_cast_scale=true"]
    # the judge is asked only about a setting that may be faster, which a busy machine may hide
    unasked = ("not judged",) if blas.verdict in ("inconclusive", "equivalent", "slower") else ()
    assert blas.fidelity.verdict in ("identical", "equal within rounding", *unasked)
    assert fuse.verdict in ("no effect", "not tried")  # not tried on a very busy machine
    profile = load_runtime_profile(tmp_path / "run" / "runtime.json")
    assert profile.variables.graph == {k: v for s in mode.settings for k, v in s.variables.items()}
    records = list((tmp_path / "run").glob("graph-*/record.json"))
    assert len(records) == mode.phases and (mode.phases >= 1 or unasked)  # a check may end it
    assert (tmp_path / "run" / "gain.png").exists()
    again = run_command("tune", "--from", tmp_path / "run")
    assert again.returncode == 0 and "graph, alone: against stock" in again.stdout


@pytest.mark.oneflow
def test_ctrl_c_leaves_no_process_and_no_profile(tmp_path):
    search = subprocess.Popen(
        [sys.executable, "-m", "oneflow_bench", "tune", *LENET, "--budget", "200", "--out", "run"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    logs = tmp_path / "run" / "logs"
    deadline = time.monotonic() + 120
    while not list(logs.glob("*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(1.0)
    search.send_signal(signal.SIGINT)
    _, said = search.communicate(timeout=60)
    assert search.returncode == 130 and "no profile was written" in said
    assert not list_workers(tmp_path)
    assert load_tuning(tmp_path / "run").status == "interrupted"
    assert not (tmp_path / "run" / "runtime.json").exists()


def list_workers(folder):
    """Processes that still run in `folder`."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/cwd") == str(folder):
                found.append((pid, Path(f"/proc/{pid}/cmdline").read_bytes()))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--try", "OMP_NUM_THREAD=1"], ["OMP_NUM_THREAD", "did you mean OMP_NUM_THREADS"]),
        (["--try", "nonsense"], ["nonsense is not NAME=VALUE"]),
        (["--only", "NOTHING*"], ["NOTHING* fits no setting", "--list"]),
        (["--mode", "eager", "--try", "enable_amp=true"], ["enable_amp=true", "has no graph"]),
        (["--profile", "missing/x.json"], ["missing/x.json cannot be written"]),
        (["--python", "missing/python"], ["is not there"]),
        (["--budget", "0"], ["--budget"]),
        (["--model", "nomodel"], ["unknown model 'nomodel'"]),
        (["--from", "missing"], ["no search at missing", "bench tune"]),
        (["--from", "missing", "--budget", "3"], ["--budget steers a new search"]),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, arguments, words):
    refused(run_command("tune", *arguments, cwd=tmp_path), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.oneflow
@pytest.mark.parametrize(
    "option, words",
    [
        ("allow_fuse_ad=true", ["unknown graph option 'allow_fuse_ad'", "did you mean"]),
        ("enable_amp=3", ["enable_amp=3 cannot be used", "true or false"]),
    ],
)
def test_an_option_that_oneflow_does_not_know_is_refused_before_anything_runs(
    tmp_path, option, words
):
    refused(run_command("tune", *LENET, "--try", option, "--out", "run", cwd=tmp_path), *words)
    assert list(tmp_path.iterdir()) == []


def test_an_interpreter_without_oneflow_is_one_sentence(tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    done = run_command("tune", *LENET, "--python", python, "--out", tmp_path / "run")
    refused(done, "has no OneFlow", "pip install")
    assert not (tmp_path / "run").exists()


def test_the_settings_of_this_machine_are_listed_without_running_anything(tmp_path):
    done = run_command("tune", "--list", *LENET, "--mode", "graph", cwd=tmp_path)
    assert done.returncode == 0 and "allow_fuse_add_to_output=true" in done.stdout
    assert "eager" not in done.stdout and list(tmp_path.iterdir()) == []


def test_the_settings_are_listed_as_json_too():
    listed = json.loads(run_command("tune", *LENET, "--list", "--mode", "graph", "--json").stdout)
    assert list(listed) == ["graph"] and {"name", "why"} == set(listed["graph"][0])
    refused(
        run_command("tune", *LENET, "--list", "--budget", "9"),
        "--budget steers a search and --list runs none",
    )


def test_no_loader_is_put_into_the_graph_of_a_step(tmp_path):
    done = run_command("tune", "my_file:gpt", "--list", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "OMP_NUM_THREADS" in done.stdout and "--feed graph" not in done.stdout


def test_a_stored_search_is_reported_again_elsewhere_and_as_json(tmp_path):
    stored = tmp_path / "stored"
    stored.mkdir()
    machine = Machine({"A=1": 1.5})
    request = create_request({"eager": [variable("A=1")]})
    run_search(
        request,
        stored,
        stored / "p.json",
        machine.launch,
        clock=machine.clock,
        judge=machine.judge,
    )
    done = run_command("tune", "--from", stored, "--out", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["gain.png", "gain.svg", "report.md"]
    printed = json.loads(run_command("tune", "--from", stored, "--json").stdout)
    assert printed["modes"][0]["chosen"] == "A=1"
