"""Completion in real shells, set up by the lines of docs/install.md. The Tab key asks for it."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

INSTALL = Path(__file__).resolve().parents[3] / "docs" / "install.md"
STARTS = {"bash": ["-i"], "zsh": ["-i"], "fish": ["-i", "--private"]}
LONGEST_S = 60.0

pytestmark = pytest.mark.slow


def set_up(home):
    """The files of a home with the lines that the page shows, each in the file that it names."""
    lines = re.findall(r"^    (.*_BENCH_COMPLETE.*?) +# in ~/(\S+)$", INSTALL.read_text(), re.M)
    for line, name in lines:
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{line}\n")
    return {name for _, name in lines}


def press_tab(shell, line, wanted, home):
    """What the terminal shows after the line and a Tab; it ends early once `wanted` is there."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = {"HOME": str(home), "PATH": path, "TERM": "xterm", "PS1": "ready> "}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(home)
        os.execve(shutil.which(shell), [shell, *STARTS[shell]], variables)
    shown, typed, end = "", False, time.monotonic() + LONGEST_S
    try:
        while wanted not in shown and time.monotonic() < end:
            if select.select([terminal], [], [], 1.0)[0]:
                shown += os.read(terminal, 65536).decode(errors="replace")
            elif not typed:  # the shell is silent: it waits for a line
                os.write(terminal, f"{line}\t".encode())
                typed = True
    except OSError:  # the shell has ended
        pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)
    return shown


@pytest.mark.parametrize("shell", STARTS)
@pytest.mark.parametrize(
    "line, wanted",
    [
        ("bench compare --model alexnet_c", "alexnet_cifar"),
        ("bench report my-fi", "my-first-run"),
        ("bench eager --resume my-fi", "my-first-run"),
    ],
)
def test_tab_completes_models_and_runs(tmp_path, shell, line, wanted):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    assert set_up(tmp_path) == {".bashrc", ".zshrc", ".config/fish/completions/bench.fish"}
    run = tmp_path / "results" / "my-first-run"
    run.mkdir(parents=True)
    (run / "record.json").write_text("{}")
    shown = press_tab(shell, line, wanted, tmp_path)
    assert wanted in shown, shown[-2000:]
