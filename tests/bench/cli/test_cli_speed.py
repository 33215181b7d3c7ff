"""The speed phase of `bench compare` as a user runs it."""

from __future__ import annotations

import json
from importlib import import_module

import pytest
from click.testing import CliRunner
from command import refused, run_command

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.record.events import SpeedBlockEvent, SpeedEndEvent, SpeedSetupEvent
from oneflow_bench.bench.record.run import load_record

QUICK = ["--model", "lenet", "--epochs", "1", "--steps-per-epoch", "6"]


@pytest.mark.slow
@pytest.mark.oneflow
def test_the_speed_phase_measures_fresh_processes_of_three_roles(tmp_path):
    brief = ["--budget", "5", "--replicates", "1", "--block-steps", "3", "--json"]
    done = run_command("compare", *QUICK, *brief, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    record = load_record(tmp_path / "run")
    scored = [b for b in record.of_kind(SpeedBlockEvent) if b.kind == "scored"]
    assert {b.role for b in scored} == {"baseline", "contender", "control"}
    assert all(b.steps == 3 and b.duration_s > 0 and b.cpu_s > 0 for b in scored)
    assert all(b.minor_faults is not None for b in scored)
    setups = {s.role: s for s in record.of_kind(SpeedSetupEvent)}
    assert setups["contender"].compile_train_s > 0 == setups["baseline"].compile_train_s
    assert all(s.sync_s > 0 and s.loader_step_time_s > 0 for s in setups.values())
    assert len(record.of_kind(SpeedEndEvent)) == 3
    printed = json.loads(done.stdout)
    assert printed["speed_verdict"] == "inconclusive"  # of one replicate nothing is known
    assert "too few processes" in printed["speed_reason"]
    assert printed["speed"]["roles"]["contender"]["contender"] == "graph"


def test_quick_sets_the_flags_that_are_not_given(monkeypatch):
    module = import_module("oneflow_bench.bench.cli.compare")
    seen = {}

    def stop(command, specs, flags):
        seen.update(flags)
        raise InputError("enough")

    monkeypatch.setattr(module, "execute_specs", stop)
    CliRunner().invoke(module.compare, ["--quick", "--budget", "5"])
    assert (seen["epochs"], seen["steps_per_epoch"], seen["budget_s"]) == (1, 12, 5.0)
    CliRunner().invoke(module.compare, [])
    assert seen["epochs"] is None and "quick" not in seen
    done = CliRunner().invoke(module.compare, ["one", "two", "--quick"])
    assert "--quick is for a new run" in str(done.exception)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--budget", "0"], ["--budget"]),
        (["--until", "3 percent"], ["3 percent is no share", "3% or 0.03"]),
        (["--margin", "150%"], ["150% is no share"]),
        (["--replicates", "0"], ["--replicates"]),
    ],
)
def test_bad_flags_of_the_speed_phase_are_one_sentence(tmp_path, arguments, words):
    refused(run_command("compare", *arguments, "--out", "run", cwd=tmp_path), *words)
    assert list(tmp_path.iterdir()) == []
