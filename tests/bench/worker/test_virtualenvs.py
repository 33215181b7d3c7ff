from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.worker import virtualenvs as environments
from oneflow_bench.bench.worker.virtualenvs import (
    check_version,
    ensure_environment,
    explain_failure,
    list_requirements,
    locate_environment,
    run_command,
)


class FakePip:
    """Makes the folder that venv would make; pip succeeds, or fails with what it prints."""

    def __init__(self, fails_with=None):
        self.commands, self.fails_with = [], fails_with

    def __call__(self, command, on_line):
        self.commands.append(command)
        on_line("Collecting oneflow")
        if command[1:4] == ["-I", "-m", "venv"]:
            (Path(command[4]) / "bin").mkdir(parents=True)
            (Path(command[4]) / "bin" / "python").write_text("")
            return 0, []
        if self.fails_with is not None:
            return 1, self.fails_with
        return 0, ["Successfully installed oneflow"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(environments, "check_interpreter", lambda python, environment: None)
    return tmp_path / "cache"


def test_an_environment_is_made_once_and_moved_to_its_place(cache):
    said, pip = [], FakePip()
    python = ensure_environment("0.9.0", said.append, pip)
    assert Path(python).exists() and Path(python).parent.parent == locate_environment("0.9.0")
    venv, install = pip.commands
    assert venv[:4] == [sys.executable, "-I", "-m", "venv"]
    assert ".building-" in venv[4] and not Path(venv[4]).exists()
    assert install[1:5] == ["-I", "-m", "pip", "install"] and "oneflow==0.9.0" in install
    assert "OneFlow 0.9.0: Collecting oneflow" in said
    assert ensure_environment("0.9.0", said.append, pip) == python and len(pip.commands) == 2
    assert ensure_environment("0.8.0", said.append, pip) != python
    assert len(list((cache / "environments").iterdir())) == 2


def test_what_pip_cannot_install_is_one_sentence_and_leaves_nothing(cache):
    pip = FakePip(
        [
            "Collecting oneflow",
            "ERROR: Could not find a version that satisfies oneflow==7.7.7 (from versions: 0.9.0)",
            "ERROR: No matching distribution found for oneflow==7.7.7",
        ]
    )
    with pytest.raises(InputError, match="OneFlow 7.7.7 cannot be installed .*0.9.0.*No matching"):
        ensure_environment("7.7.7", lambda line: None, pip)
    assert list((cache / "environments").iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("it cannot import oneflow")])
def test_an_environment_that_was_not_finished_does_not_stay(cache, monkeypatch, error):
    def fail(python, environment):
        raise error

    monkeypatch.setattr(environments, "check_interpreter", fail)
    with pytest.raises(type(error)):
        ensure_environment("0.9.0", lambda line: None, FakePip())
    assert list((cache / "environments").iterdir()) == []
    monkeypatch.setattr(environments, "check_interpreter", lambda python, environment: None)
    assert Path(ensure_environment("0.9.0", lambda line: None, FakePip())).exists()


def test_what_a_killed_process_was_building_is_removed_and_a_living_ones_is_not(cache):
    folder = cache / "environments"
    (folder / ".building-999999999-oneflow-0.9.0").mkdir(parents=True)
    (folder / f".building-{os.getppid()}-oneflow-0.9.0").mkdir()
    ensure_environment("0.9.0", lambda line: None, FakePip())
    names = {path.name for path in folder.iterdir()}
    assert f".building-{os.getppid()}-oneflow-0.9.0" in names and len(names) == 2


def test_without_a_cache_folder_there_are_no_environments(monkeypatch):
    monkeypatch.setenv("BENCH_CACHE_DIR", "")
    with pytest.raises(InputError, match="set BENCH_CACHE_DIR to an absolute path"):
        ensure_environment("0.9.0", lambda line: None, FakePip())


def test_a_cache_folder_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BENCH_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(InputError, match="cannot be made .*; set BENCH_CACHE_DIR"):
        ensure_environment("0.9.0", lambda line: None, FakePip())


def test_each_version_has_the_packages_that_it_needs(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    new, old = list_requirements("0.9.0"), list_requirements("0.8.0")
    assert {"oneflow==0.9.0", "numpy<2", "nvidia-cudnn-cu11==8.6.0.163"} <= set(new)
    assert {"oneflow==0.8.0", "numpy<1.24"} <= set(old)
    assert not any(name.startswith("nvidia") for name in old)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not any(name.startswith("nvidia") for name in list_requirements("0.9.0"))


def test_the_nvidia_packages_are_those_of_the_requirements():
    wanted = (Path(__file__).resolve().parents[3] / "requirements.in").read_text().splitlines()
    assert set(environments.NVIDIA_PACKAGES) <= set(wanted)


@pytest.mark.parametrize("version", ["", "latest", "0", "0.9.0;rm", "--upgrade", "0.9.0 x"])
def test_what_is_no_version_is_refused(version):
    with pytest.raises(InputError, match="is no version of OneFlow; give one such as 0.9.0"):
        check_version(version)


@pytest.mark.parametrize("version", ["0.9.0", "0.8", "0.9.1.dev20230101+cu117", "1.0.0rc1"])
def test_versions_are_taken_as_pip_writes_them(version):
    check_version(version)


@pytest.mark.parametrize(
    "lines, reason",
    [
        (["x", "ERROR: a.", "ERROR: b", "ERROR: a."], "a; b"),
        (["Traceback", "OSError: full", ""], "OSError: full"),
        ([], "no reason was given"),
    ],
)
def test_the_reason_is_what_pip_calls_an_error(lines, reason):
    assert explain_failure(lines) == reason


def test_a_command_is_followed_line_by_line_to_its_status():
    said = []
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    status, lines = run_command([sys.executable, "-c", code], said.append)
    assert status == 3 and sorted(lines) == sorted(said) == ["err", "out"]
