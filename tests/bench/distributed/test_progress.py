"""A rank's progress, as its controller reads it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from oneflow_bench.bench.distributed import progress

# a process that marks what it begins, and says when it has
CODE = """
import os, sys
from oneflow_bench.bench.distributed import progress
progress.open_progress(os.environ)
for line in sys.stdin:
    progress.mark_idle() if line.strip() == "idle" else progress.mark(int(line))
    print("done", flush=True)
"""


def test_the_controller_reads_what_a_rank_marks(tmp_path):
    path = tmp_path / "rank.progress"
    progress.create_progress_file(path)
    assert progress.read_progress(path) == (progress.IDLE, 0)
    process = subprocess.Popen(
        [sys.executable, "-c", CODE],
        env={**os.environ, progress.VARIABLE: str(path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    seen = []
    for line in (progress.WORKING, progress.STEPPING, progress.STEPPING, "idle"):
        process.stdin.write(f"{line}\n")
        assert process.stdout.readline() == "done\n"
        seen.append(progress.read_progress(path))
    process.communicate()
    assert seen == [
        (progress.WORKING, 1),
        (progress.STEPPING, 2),
        (progress.STEPPING, 3),
        (progress.IDLE, 3),
    ]


def test_a_process_that_nobody_watches_marks_nothing():
    progress.open_progress({})
    progress.mark(progress.STEPPING)
    progress.mark_idle()
    assert progress._here == (progress.IDLE, 0)


def test_a_file_that_is_gone_is_an_os_error(tmp_path):
    with pytest.raises(OSError):
        progress.read_progress(tmp_path / "none")
