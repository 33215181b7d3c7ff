from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import runtime_study
import torch_beside
from limits_records import create_limits, create_profile
from runtime_study import parse_options
from study import load_rows
from tuning_machine import Machine, variable

from oneflow_bench.bench.tools.profile.document import PROFILE_NAME


@pytest.fixture
def searched(tmp_path, monkeypatch):
    """A folder with a stored search of lenet on a made-up machine."""
    machine = Machine({"OMP_NUM_THREADS=1": 1.5}, errors={})
    settings = [variable("OMP_NUM_THREADS=1")]
    judged = partial(runtime_study.run_search, judge=machine.judge)
    monkeypatch.setattr(runtime_study, "run_search", judged)
    monkeypatch.setattr(runtime_study, "list_settings", lambda mode, feed, facts: settings)
    arguments = ["--out", str(tmp_path), "--model", "lenet", "--budget", "200", "--steps", "12"]
    runtime_study.run_study(parse_options(arguments), lambda folder: machine.launch)
    return tmp_path


class Limits:
    """In place of `bench profile --limits`: keeps its arguments and writes a made-up document."""

    def __init__(self, document=None, status=0):
        self.document, self.status, self.calls = document, status, []

    def __call__(self, arguments):
        flags = dict(zip(arguments[::2], arguments[1::2]))
        self.calls.append({**flags, "profile": Path(flags["--runtime"]).read_text()})
        if self.document is not None:
            folder = Path(flags["--out"])
            folder.mkdir()
            profile = create_profile([], limits=self.document)
            (folder / PROFILE_NAME).write_text(profile.model_dump_json())
        return self.status


def run(folder, limits, *arguments):
    given = arguments or ("--torch-python", "python-with-torch")
    return torch_beside.main(["--out", str(folder), *given], limits)


def test_a_searched_model_runs_with_its_profile_beside_pytorch(searched, capsys):
    limits = Limits(create_limits(torch=True))
    assert run(searched, limits) == 0
    (call,) = limits.calls
    assert call["--model"] == "lenet" and call["--torch-python"] == "python-with-torch"
    assert '"OMP_NUM_THREADS": "1"' in call["profile"]
    table = capsys.readouterr().out
    assert (searched / "torch.md").read_text() == table
    assert "| eager | 300 |" in table and "OMP_NUM_THREADS=1" in table
    (row,) = load_rows(searched / "torch.jsonl")
    ratio = next(r for r in row["ratios"] if r["contender"] == "torch eager")["ratio"]
    assert f"{ratio['ratio']:.2f} (" in table


def test_what_is_stored_is_not_measured_again(searched, capsys):
    run(searched, Limits(create_limits(torch=True)))
    again = Limits()
    assert run(searched, again) == 0 and again.calls == []
    first = capsys.readouterr().out
    assert run(searched, again, "report") == 0
    assert capsys.readouterr().out in first


def test_limits_that_fail_are_an_error_and_store_nothing(searched, capsys):
    assert run(searched, Limits(status=4)) == 4
    assert "lenet ended with status 4" in capsys.readouterr().err
    assert not (searched / "torch.jsonl").exists()


def test_an_interpreter_has_to_be_given(searched, capsys):
    with pytest.raises(SystemExit) as ended:
        torch_beside.main(["--out", str(searched)])
    assert ended.value.code == 2
    assert "--torch-python" in capsys.readouterr().err
