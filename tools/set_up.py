"""Makes the environment of a clone: what requirements.lock pins, by hash, and the suite itself.

    python3.10 tools/set_up.py .venv

Installs by uv where it is on the PATH, else by pip. Shows what is installed, its size and the time.
It runs before anything is installed, so it needs the standard library alone.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import List, Optional

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
NEEDED = 8e9  # bytes: the environment, and the wheels while they are unpacked
NAMED = re.compile(r"^\s*(?:Collecting|Downloading|Using cached) ([\w.-]+?)(?:==|-)(\d[\w.+]*)")
SIZE = re.compile(r"\((\d[\d.]*) ([kMG]B)\)")
QUIET_S = 30.0  # between two lines without a terminal
BROKEN = 2


class Progress:
    """One line on a terminal, rewritten each second; else a line now and then."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._begun_s = self._told_s = time.monotonic()
        self._used = shutil.disk_usage(place).used
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._is_terminal = sys.stderr.isatty()
        self.current = ""
        self._thread = threading.Thread(target=self._repeat, daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun_s

    def show(self, current: str, always: bool = False) -> None:
        """Tell what is done now; `always` is for a line that stays without a terminal too."""
        with self._lock:
            self.current = current
            written = max(0, shutil.disk_usage(self._place).used - self._used)
            line = f"{current}  ({written / 1e9:.1f} GB written, {self.seconds:.0f} s)"
            if self._is_terminal:
                print(f"\r\x1b[K{line[:79]}", end="", file=sys.stderr, flush=True)
            elif always or time.monotonic() - self._told_s >= QUIET_S:
                self._told_s = time.monotonic()
                print(line, file=sys.stderr, flush=True)

    def _repeat(self) -> None:
        while not self._ended.wait(1.0):
            self.show(self.current)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        if self._is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def install(command: List[str], progress: Progress, log: List[str]) -> bool:
    """Run pip, and show its packages; all that it says goes to `log`. Whether it succeeded."""
    known = {name.lower() for name in re.findall(r"^([\w.-]+)==", LOCK.read_text(), re.M)}
    seen: List[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            log.append(line.rstrip())
            found, size = NAMED.match(line), SIZE.search(line)
            if found:
                name = found[1].replace("_", "-").lower()
                seen += [name] if name in known and name not in seen else []
                told = f" {size[1]} {size[2]}" if size else ""
                large = size is not None and (size[2] == "GB" or float(size[1]) > 100)
                count = f"[{len(seen)} of at most {len(known)}]"
                progress.show(f"{count} {found[1]} {found[2]}{told}", large and size[2] != "kB")
            elif seen and line.startswith("Installing collected packages"):
                progress.show(f"unpacking {len(seen)} packages; OneFlow alone takes a minute", True)
    return process.returncode == 0


def find_culprit(log: List[str]) -> str:
    """The package that the installer was at when it failed: the one it named last."""
    for line in reversed(log):
        found = NAMED.match(line) or re.search(r"([\w.-]+)==(\d[\w.+]*)", line)
        if found:
            return f"{found[1]} {found[2]}"
    return "the first package"


def explain(log: List[str], place: Path) -> str:
    """One sentence: which package, why, and what to do."""
    errors = [line for line in log if re.match(r"\s*(ERROR|error|×)", line)]
    reason = re.sub(r"^\s*(ERROR|error|×):?\s*", "", (errors or log or ["no output"])[0])[:300]
    free = shutil.disk_usage(place).free
    remedy = "check the network and the index (pip config list), and run make again"
    text = " ".join(log)
    if "No space left" in text or free < NEEDED / 10:
        remedy = f"{free / 1e9:.1f} GB are free and {NEEDED / 1e9:.0f} GB are needed; free some"
    elif "do not match the hashes" in text or "HASHES" in text:
        remedy = "the index serves another file than the lock file has; use another index"
    return f"error: {find_culprit(log)} could not be installed ({reason}); {remedy}"


def set_up(place: Path, uv: Optional[str]) -> int:
    """Make the environment; the exit status."""
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    python = str(place / "bin" / "python")
    log: List[str] = []
    pinned = ["--require-hashes", "-r", str(LOCK)]
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    done, begun_s = False, time.monotonic()
    if uv is not None:  # it shows its own progress
        line = [uv, "pip", "install", "--python", python, *pinned]
        done = subprocess.run(line, cwd=ROOT, check=False).returncode == 0
        if not done:
            print("uv could not install; pip is tried now", file=sys.stderr)
    progress = Progress(place)
    try:
        done = done or install([*pip, "--progress-bar", "off", *pinned], progress, log)
        if done:
            progress.show("the suite itself")
            done = install([*pip, "--no-deps", "--no-build-isolation", "-e", "."], progress, log)
    finally:
        progress.end()
    if not done:
        (place / "set-up.log").write_text("\n".join(log) + "\n", encoding="utf-8")
        print(f"{explain(log, place)}; {place / 'set-up.log'} has all", file=sys.stderr)
        return BROKEN
    print(f"{place} is set up, after {time.monotonic() - begun_s:.0f} s", file=sys.stderr)
    return 0


def main() -> int:
    place, uv = Path(*sys.argv[1:2] or [".venv"]), shutil.which("uv")
    free = shutil.disk_usage(place.resolve().parent).free
    print(
        f"setting up {place} with {sys.executable} and {'uv' if uv else 'pip'}: 5 GB on disk, once",
        file=sys.stderr,
    )
    if free < NEEDED:
        print(
            f"note: {free / 1e9:.1f} GB are free; {NEEDED / 1e9:.0f} GB may be needed",
            file=sys.stderr,
        )
    return set_up(place, uv)


if __name__ == "__main__":
    sys.exit(main())
