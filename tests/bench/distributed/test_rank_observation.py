"""Looking at a process from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from oneflow_bench.bench.distributed.observation import REST_CPU_S, Observation, observe
from oneflow_bench.bench.distributed.progress import Progress, create_progress_file

LOOP = "import time; end = time.monotonic() + 600\nwhile time.monotonic() < end: pass"


@pytest.fixture
def progress(tmp_path):
    create_progress_file(tmp_path / "progress")
    return tmp_path / "progress"


def start(code):
    return subprocess.Popen([sys.executable, "-c", code])


def look_until(process, progress, wanted, limit_s=10.0):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        seen = observe(process.pid, progress, False)
        if seen is not None and wanted(seen):
            return seen
        time.sleep(0.02)
    raise AssertionError(f"never seen; last: {seen}")


def test_a_busy_process_works_with_its_main_thread(progress):
    process = start(LOOP)
    try:
        first = look_until(process, progress, lambda seen: seen.main_cpu_s > 0.05)
        later = look_until(process, progress, lambda seen: seen.cpu_s > first.cpu_s + 0.05)
        assert later.main_cpu_s > first.main_cpu_s
        assert later.wanting
    finally:
        process.kill()
        process.wait()


def test_a_stopped_process_is_seen_as_stopped(progress):
    process = start("import time; time.sleep(600)")
    try:
        os.kill(process.pid, signal.SIGSTOP)
        seen = look_until(process, progress, lambda seen: seen.state == "T")
        assert not seen.wanting
    finally:
        process.kill()
        process.wait()


def test_a_process_that_is_gone_is_not_seen(progress):
    process = start("pass")
    process.wait()
    assert observe(process.pid, progress, False) is None


def fake_process(proc, main, other, ticks=100):
    """/proc of process 7 with two threads in these states; a name that holds a parenthesis."""
    row = f"7 (a) b) {{}} {' '.join(['0'] * 10)} {ticks} 0 0"
    for path, state in (("7/stat", main), ("7/task/7/stat", main), ("7/task/8/stat", other)):
        (proc / path).parent.mkdir(parents=True, exist_ok=True)
        (proc / path).write_text(row.format(state))


@pytest.mark.parametrize(
    ("main", "other", "wanting"), [("S", "S", False), ("S", "R", True), ("D", "S", True)]
)
def test_one_thread_that_wants_a_core_or_a_disk_is_enough(tmp_path, progress, main, other, wanting):
    fake_process(tmp_path, main, other)
    seen = observe(7, progress, True, proc=tmp_path)
    assert (seen.state, seen.wanting, seen.answered) == (main, wanting, True)
    assert seen.cpu_s == 100 / os.sysconf("SC_CLK_TCK")


def test_a_process_that_has_worked_since_the_last_look_wants_to(tmp_path, progress):
    fake_process(tmp_path, "S", "S")
    before = 100 / os.sysconf("SC_CLK_TCK") - 2 * REST_CPU_S
    last = Observation(Progress(0, 0), before, before, "S", False, False)
    assert observe(7, progress, False, last, proc=tmp_path).wanting
