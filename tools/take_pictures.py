"""Takes the pictures of the docs: of a report, a dashboard, the site and the terminal.

    make docs && .venv/bin/python tools/take_pictures.py

They show results/example and other stored results. Chromium draws them. docs/pictures is written.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import List

from PIL import Image
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURES, SITE = ROOT / "docs" / "pictures", ROOT / "build" / "site"
REPORT = ROOT / "results" / "example" / "report.html"
COLUMNS, LINES = 80, 40
LIGHT, DARK = 1, 0
MOST_BYTES = 300_000
COLOURS = 128  # of a picture; a page has few
FRAME = """<!doctype html><meta name="color-scheme" content="light dark">
<body style="margin: 0"><iframe src="{}" style="border: 0; width: {}px; height: {}px">"""
TERMINAL = """<!doctype html><meta charset="utf-8">
<body style="margin: 0; background: {background}">
<pre style="margin: 8px; font: 14px/18px 'DejaVu Sans Mono', monospace; color: {foreground}">
<style>{stylesheet}</style>{code}</pre>"""


def take(page: Path, picture: Path, width: int, height: int, scheme: int = LIGHT) -> None:
    """A picture of the top of a page, drawn in a frame: a window cannot be as narrow as a phone."""
    with TemporaryDirectory() as folder:
        frame, shot = Path(folder) / "frame.html", Path(folder) / "shot.png"
        frame.write_text(FRAME.format(page.as_uri(), width, height))
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        flags += [f"--blink-settings=preferredColorScheme={scheme}"]
        flags += ["--allow-file-access-from-files", "--virtual-time-budget=10000"]
        flags += [f"--user-data-dir={folder}/profile", f"--window-size={max(width, 600)},{height}"]
        subprocess.run(
            [find_chromium(), *flags, f"--screenshot={shot}", frame.as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        whole = Image.open(shot).convert("RGB").crop((0, 0, width, height))
        whole.quantize(COLOURS).save(picture, optimize=True)
    size = picture.stat().st_size
    print(f"{picture.relative_to(ROOT) if picture.is_relative_to(ROOT) else picture}: {size} bytes")
    if size > MOST_BYTES:
        raise SystemExit(f"error: {picture} has {size} bytes, more than {MOST_BYTES}")


def find_chromium() -> str:
    """The program. Raises SystemExit where there is none."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        raise SystemExit("error: no chromium is on the PATH, and it draws the pictures; install it")
    return found


def run_in_terminal(words: List[str]) -> str:
    """What a command prints to a terminal of COLUMNS x LINES, with its colours."""
    child, terminal = pty.fork()
    if child == 0:
        size = struct.pack("HHHH", LINES, COLUMNS, 0, 0)
        fcntl.ioctl(sys.stdout.fileno(), termios.TIOCSWINSZ, size)
        os.chdir(ROOT)
        os.execvpe(words[0], words, {**os.environ, "TERM": "xterm-256color"})
    printed = io.BytesIO()
    try:
        while part := os.read(terminal, 65536):
            printed.write(part)
    except OSError:  # the command has ended
        pass
    os.waitpid(child, 0)
    os.close(terminal)
    return printed.getvalue().decode().replace("\r\n", "\n")


def draw_terminal(words: List[str], page: Path) -> None:
    """The page of a terminal after a command. Raises SystemExit where its lines do not fit."""
    printed = f"$ {' '.join(words)}\n{run_in_terminal(words)}$ "
    if printed.count("\n") >= LINES:
        raise SystemExit(f"error: {' '.join(words)} prints more than {LINES} lines")
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(printed))
    page.write_text(console.export_html(theme=DIMMED_MONOKAI, code_format=TERMINAL))


def main() -> None:
    if not SITE.exists():
        raise SystemExit(f"error: {SITE} is missing; run `make docs` first")
    PICTURES.mkdir(exist_ok=True)
    bench = str(Path(sys.executable).parent / "bench")
    os.environ["PATH"] = os.pathsep.join([str(Path(bench).parent), os.environ["PATH"]])
    with TemporaryDirectory() as name:
        terminal, dashboard = Path(name) / "terminal.html", Path(name) / "dashboard.html"
        places = ("results/*/record.json", "results/distillation/*/record.json")
        runs = [path.parent.relative_to(ROOT) for place in places for path in ROOT.glob(place)]
        subprocess.run([bench, "report", *sorted(runs), "--out", dashboard], check=True, cwd=ROOT)
        draw_terminal(["bench", "compare", "results/example", "results/example"], terminal)
        take(REPORT, PICTURES / "report.png", 1000, 715)
        take(REPORT, PICTURES / "report-dark.png", 1280, 2200, DARK)
        take(REPORT, PICTURES / "report-phone.png", 360, 1100)
        take(dashboard, PICTURES / "dashboard.png", 1280, 500)
        take(SITE / "docs" / "quickstart.html", PICTURES / "site.png", 1280, 800)
        take(terminal, PICTURES / "terminal.png", 16 + 675, 16 + 18 * LINES)


if __name__ == "__main__":
    main()
