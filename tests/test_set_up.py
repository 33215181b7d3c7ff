"""tools/set_up.py with programs that pretend to be pip and uv."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "tools" / "set_up.py"
GOOD = """\
Collecting oneflow==0.9.0
  Downloading oneflow-0.9.0-cp310-cp310-manylinux2014_x86_64.whl (823.4 MB)
Collecting numpy==1.26.4
  Using cached numpy-1.26.4-cp310-cp310-manylinux_2_17_x86_64.whl (18.2 MB)
Installing collected packages: numpy, oneflow
"""
HASHES = """\
Collecting click==8.1.8
ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.
    numpy==1.26.4 from somewhere:
        Expected sha256 1
"""
MISSING = """\
Collecting click==8.1.8
ERROR: Could not find a version that satisfies the requirement oneflow==0.9.0
ERROR: No matching distribution found for oneflow==0.9.0
"""
FULL = """\
Collecting oneflow==0.9.0
ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device
"""


def load_script():
    spec = util.spec_from_file_location("set_up", SCRIPT)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A set-up in an empty folder, whose interpreter answers each call with a text and a status."""
    script = load_script()
    calls = tmp_path / "calls"

    def create(said, status=0):
        def make_environment(command, check):
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            (tmp_path / "said").write_text(said)
            python.write_text(
                f'#!/bin/sh\necho "$@" >> {calls}\n'
                f'case "$*" in *--require-hashes*) cat {tmp_path / "said"}; exit {status};; esac\n'
            )
            python.chmod(0o755)

        run = subprocess.run
        monkeypatch.setattr(
            script.subprocess,
            "run",
            lambda command, **rest: (
                make_environment(command, **rest)
                if command[1:3] == ["-m", "venv"]
                else run(command, **rest)
            ),
        )
        return script, calls

    return create


def test_pip_installs_by_hash_and_its_large_packages_are_told(machine, tmp_path, capsys):
    script, calls = machine(GOOD)
    assert script.set_up(tmp_path / "venv", None) == 0
    pinned, own = calls.read_text().splitlines()
    assert "--require-hashes" in pinned and pinned.endswith("requirements.lock")
    assert own.endswith("--no-deps --no-build-isolation -e .")
    said = capsys.readouterr().err
    assert "oneflow 0.9.0 823.4 MB  (" in said and "GB written" in said
    assert "numpy" not in said  # small, and there is no terminal
    assert "is set up, after " in said


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (MISSING, ["oneflow 0.9.0 could not be installed", "check the network and the index"]),
        (HASHES, ["numpy 1.26.4 could not be installed", "another file than the lock file"]),
        (FULL, ["oneflow 0.9.0 could not be installed", "GB are needed; free some"]),
        ("", ["the first package could not be installed", "no output"]),
    ],
)
def test_a_failure_names_the_package_and_what_to_do(machine, tmp_path, capsys, said, words):
    script, calls = machine(said, status=1)
    assert script.set_up(tmp_path / "venv", None) == script.BROKEN
    assert len(calls.read_text().splitlines()) == 1  # the suite is not installed without them
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("error")]
    assert all(word in line for word in words)
    assert (tmp_path / "venv" / "set-up.log").read_text().strip() == said.strip()


@pytest.mark.parametrize("status", [0, 1])
def test_uv_is_used_where_it_is_and_pip_where_it_fails(machine, tmp_path, capsys, status):
    script, calls = machine(GOOD)
    uv = tmp_path / "uv"
    uv.write_text(f'#!/bin/sh\necho "uv $@" >> {calls}\nexit {status}\n')
    uv.chmod(0o755)
    assert script.set_up(tmp_path / "venv", str(uv)) == 0
    first, *others = calls.read_text().splitlines()
    assert first.startswith("uv pip install --python ") and "--require-hashes" in first
    assert len(others) == 1 + status
    assert ("pip is tried now" in capsys.readouterr().err) == bool(status)


def test_a_terminal_has_one_line_that_is_rewritten(monkeypatch, tmp_path, capsys):
    script = load_script()
    monkeypatch.setattr(script.sys.stderr, "isatty", lambda: True)
    progress = script.Progress(tmp_path)
    progress.show("[1 of 2] " + "x" * 100)
    progress.end()
    first, *rest = capsys.readouterr().err.split("\r\x1b[K")[1:]
    assert len(first) == 79 and "\n" not in first and rest[-1] == ""


def test_the_program_needs_nothing_but_the_standard_library():
    code = f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import set_up"
    subprocess.run([sys.executable, "-S", "-E", "-c", code], check=True, timeout=60)


def test_the_image_is_built_by_the_same_program_from_files_that_it_is_given():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert any("python tools/set_up.py .venv" in line for line in lines)
    assert any(line.startswith("ENV HOME=/tmp ") for line in lines)  # else caches land in /work
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    needed = ("requirements.lock", "setup.py", "README.md", "tools", "bench", "models", "data")
    assert not set(needed) & set(left_out) and all((ROOT / name).exists() for name in needed)
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert container["postCreateCommand"] == "make setup"
    assert container["remoteEnv"]["PATH"].startswith("${containerWorkspaceFolder}/.venv/bin:")
