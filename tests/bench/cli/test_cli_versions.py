"""`bench versions` as a user types it; the environments are this one, and pip is not run."""

from __future__ import annotations

import json
import sys

import pytest
from command import refused, run_command

from oneflow_bench.bench.cli import main
from oneflow_bench.bench.record.run import load_record
from oneflow_bench.bench.worker import virtualenvs as environments

QUICK = ["--model", "lenet", "--epochs", "1", "--steps-per-epoch", "6", "--no-speed"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "takes two or more versions of OneFlow, each once"),
        (["0.9.0"], "and was given 0.9.0"),
        (["0.9.0", "0.9.0"], "each once"),
        (["0.9.0", "newest"], "'newest' is no version of OneFlow"),
        (["0.8.0", "0.9.0", "--model", "lenett"], "lenet"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_pip_runs(arguments, words):
    refused(run_command("versions", *arguments), words)


def test_a_folder_that_is_there_is_refused(tmp_path):
    refused(run_command("versions", "0.8.0", "0.9.0", "--out", tmp_path), "exists already")


@pytest.mark.slow
@pytest.mark.oneflow
def test_each_mode_is_compared_between_the_versions(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        environments, "ensure_environment", lambda version, say: say("made") or sys.executable
    )
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as info:
        main(["versions", "0.8.0", "0.9.0", *QUICK, "--out", str(out), "--json"])
    assert info.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    for mode in ("eager", "graph"):
        (comparison,) = printed[mode]
        assert comparison["baseline"]["name"] == f"{mode}-0.8.0"
        assert comparison["contender"]["name"] == f"{mode}-0.9.0"
        assert comparison["parity"] == "identical"
        record = load_record(out / mode)
        assert {contender.mode for contender in record.document.contenders} == {mode}
        assert record.document.workload.feed == "memory"
        assert (out / mode / "report.md").exists()
