from __future__ import annotations

import subprocess
import sys

import pytest
from command import run_command
from records import create_events, create_record, save_record


@pytest.fixture
def record():
    """Eager at 0.1 s and graph at 0.08 s a step, 2 % noise."""
    record = create_record(
        create_events("eager", noise=0.02),
        create_events("graph", step_time_s=0.08, noise=0.02, compile_s=0.5),
    )
    record.document.environment_start = {
        "cpu": {"model": "Example CPU", "cores": 2},
        "memory_bytes": 8 * 2**30,
        "platform": "Linux-test",
        "load": [0.5, 0.4, 0.3],
        "git_commit": "abc+",
    }
    return record


@pytest.fixture
def run(record, tmp_path):
    return save_record(record, tmp_path / "run")


@pytest.fixture
def bench():
    """The command line."""
    return run_command


@pytest.fixture
def read_with():
    """What a module run as a program prints; it must end in good order and warn of nothing."""

    def call(module, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert "Failed to load" not in done.stdout + done.stderr
        return done.stdout

    return call
