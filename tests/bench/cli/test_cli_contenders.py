"""Contenders on the command line, as a user types them."""

from __future__ import annotations

import json
import sys

import pytest
from command import refused, run_command

from oneflow_bench.bench.record.events import ParametersEvent, SetupEvent
from oneflow_bench.bench.record.run import load_record
from oneflow_bench.bench.worker.runtime_profile import (
    ProfileVariables,
    RuntimeProfile,
    describe_profile_machine,
    save_runtime_profile,
)

QUICK = ["--model", "lenet", "--epochs", "1", "--steps-per-epoch", "6", "--no-speed"]


@pytest.mark.slow
@pytest.mark.oneflow
def test_every_contender_runs_as_it_was_typed(tmp_path):
    specs = ["graph,env.OMP_NUM_THREADS=1", "graph,name=fused,allow_fuse_add_to_output=true"]
    given = [part for spec in specs for part in ("--contender", spec)]
    out = tmp_path / "run"
    stock = ["--baseline", "eager,runtime=stock"]
    done = run_command("compare", *QUICK, *stock, *given, "-v", "--out", out)
    assert done.returncode == 0, done.stderr
    for name in ("graph-OMP_NUM_THREADS=1", "fused"):
        assert f"Parity of {name}: " in done.stdout
    record = load_record(out)
    assert record.contender_names() == ["eager-stock", "graph-OMP_NUM_THREADS=1", "fused"]
    variables = {s.contender: s.environment["variables"] for s in record.of_kind(SetupEvent)}
    assert "ONEFLOW_ENABLE_ONEDNN_OPTS" not in variables["eager-stock"]
    assert variables["graph-OMP_NUM_THREADS=1"]["OMP_NUM_THREADS"] == "1"
    assert variables["fused"]["ONEFLOW_ENABLE_ONEDNN_OPTS"] == "0"
    assert record.document.contenders[2].graph_options == {"allow_fuse_add_to_output": True}
    assert {e.contender for e in record.of_kind(ParametersEvent)} == set(
        record.contender_names()[1:]
    )
    stored = json.loads((out / "comparison.json").read_text())
    assert [one["contender"]["name"] for one in stored] == record.contender_names()[1:]
    again = run_command("compare", out, out, "--json")
    assert json.loads(again.stdout)[1]["baseline"]["name"] == "eager-stock"


@pytest.mark.slow
@pytest.mark.oneflow
def test_another_interpreter_runs_the_sources_from_the_same_weights(tmp_path):
    contender = f"graph,name=other,python={sys.executable}"
    out = tmp_path / "run"
    done = run_command("compare", *QUICK, "--contender", contender, "--out", out)
    assert done.returncode == 0, done.stderr
    eager, other = sorted(load_record(out).of_kind(SetupEvent), key=lambda s: s.contender)
    assert (eager.initial_weights, other.initial_weights) == (None, "eager")
    assert eager.initial_digest == other.initial_digest
    assert other.environment["python"] and other.environment["oneflow"]
    assert "initial.safetensors" not in {path.name for path in out.iterdir()}


@pytest.mark.parametrize(
    "content, mode, words",
    [
        (None, 0, "is not there"),
        ("#!/bin/sh\n", 0o644, "is not executable"),
        ("#!/bin/sh\necho hello\n", 0o755, "did not answer as a Python interpreter does"),
    ],
)
def test_an_interpreter_that_cannot_serve_is_refused(content, mode, words, tmp_path):
    python = tmp_path / "python"
    if content is not None:
        python.write_text(content)
        python.chmod(mode)
    spec = f"eager,python={python}"
    refused(run_command("compare", *QUICK, "--contender", spec, "--out", tmp_path / "run"), words)
    assert not (tmp_path / "run").exists()


@pytest.mark.oneflow
def test_an_unknown_graph_option_is_refused_and_leaves_no_folder(tmp_path):
    out = tmp_path / "run"
    done = run_command("compare", *QUICK, "--contender", "graph,allow_fuse_ad=true", "--out", out)
    refused(done, "unknown graph option 'allow_fuse_ad'; did you mean allow_fuse")
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--contender", "grpah"], "did you mean graph"),
        (["--baseline", "eager,runtme=stock"], "unknown key 'runtme'; did you mean runtime"),
        (["--runtime", "tunde"], "--runtime tunde is neither tuned nor stock nor a file"),
        (["--contender", "graph,name=x", "--baseline", "eager,name=x"], "are called x"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(arguments, words, tmp_path):
    refused(run_command("compare", *QUICK, *arguments, "--out", tmp_path / "run"), words)
    assert not (tmp_path / "run").exists()


def test_a_runtime_profile_of_another_machine_is_refused(tmp_path):
    path = tmp_path / "runtime.json"
    machine = {"processor": "Zen 9", "cores": 999, "oneflow": "0.9.0"}
    content = {
        "schema": 1,
        "kind": "runtime-profile",
        "machine": machine,
        "variables": {"eager": {}, "graph": {}},
        "graph_options": {},
    }
    path.write_text(json.dumps(content))
    done = run_command("eager", *QUICK[:-1], "--runtime", path, "--out", tmp_path / "run")
    refused(done, "was made for the processor Zen 9 and not", "999 usable cores")
    path.write_text(json.dumps({**content, "colour": "red"}))
    spec = f"graph,runtime={path}"
    done = run_command("compare", *QUICK, "--contender", spec, "--out", tmp_path / "run")
    refused(done, "not a valid runtime profile: colour: Extra inputs are not permitted")
    assert not (tmp_path / "run").exists()


def test_a_profile_of_layers_takes_a_runtime_profile_too(tmp_path):
    done = run_command("profile", "--model", "lenet", "--runtime", "tunde", cwd=tmp_path)
    refused(done, "--runtime tunde is neither tuned nor stock nor a file", "did you mean tuned")
    assert not list(tmp_path.glob("results/*"))


@pytest.mark.slow
@pytest.mark.oneflow
def test_a_runtime_profile_of_this_machine_is_applied_to_each_mode(tmp_path):
    path = tmp_path / "runtime.json"
    save_runtime_profile(
        path,
        RuntimeProfile(
            machine=describe_profile_machine(sys.executable),
            variables=ProfileVariables(
                eager={"ONEFLOW_DISABLE_VIEW": "1"}, graph={"ONEFLOW_MLIR_CSE": "1"}
            ),
            graph_options={"allow_fuse_add_to_output": True},
        ),
    )
    out = tmp_path / "run"
    done = run_command("compare", *QUICK, "--runtime", path, "--out", out)
    assert done.returncode == 0, done.stderr
    record = load_record(out)
    variables = {s.contender: s.environment["variables"] for s in record.of_kind(SetupEvent)}
    assert variables["eager"]["ONEFLOW_DISABLE_VIEW"] == "1"
    assert "ONEFLOW_MLIR_CSE" not in variables["eager"]
    assert variables["graph"]["ONEFLOW_MLIR_CSE"] == "1"
    eager, graph = record.document.contenders
    assert eager.graph_options == {}
    assert graph.graph_options == {"allow_fuse_add_to_output": True}


def test_stored_runs_bring_their_own_contenders(tmp_path):
    done = run_command("compare", tmp_path, tmp_path, "--contender", "graph")
    refused(done, "--contender is for a new run, and two stored runs were given")
