"""Builds the package into dist, checks it, and runs its wheel in an empty environment.

    pip install build twine && python tools/try_wheel.py

It takes some minutes and 5 GB, because the wheel brings OneFlow. The first command that fails ends
it with the exit status of that command.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
COMMANDS = (
    ["--version"],
    ["--help"],
    ["models"],
    ["compare", "--model", "lenet", "--epochs", "1", "--steps-per-epoch", "6", "--no-speed"],
    ["report", "latest"],
)


def run(*words: Any, cwd: Path = ROOT) -> None:
    print("+", *words, flush=True)
    subprocess.run([str(word) for word in words], check=True, cwd=cwd)


def main() -> int:
    shutil.rmtree(DIST, ignore_errors=True)
    try:
        run(sys.executable, "-m", "build", "--outdir", DIST)
        made = sorted(DIST.iterdir())
        run(sys.executable, "-m", "twine", "check", "--strict", *made)
        (wheel,) = (path for path in made if path.suffix == ".whl")
        with TemporaryDirectory() as folder:
            place = Path(folder)
            run(sys.executable, "-m", "venv", place / "empty")
            run(place / "empty" / "bin" / "pip", "install", "-q", wheel)
            for command in COMMANDS:
                run(place / "empty" / "bin" / "bench", *command, cwd=place)
    except subprocess.CalledProcessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.returncode
    print("the wheel works")
    return 0


if __name__ == "__main__":
    sys.exit(main())
