"""Virtual environments with a OneFlow of a given version, made once and kept in the cache folder.

An environment is made in a folder of its own and moved to its place when a worker can run in it, so
what stands there is whole. Scripts in it keep the first folder's name and are not used; its
interpreter is.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Callable, Deque, List, Optional, Tuple

from ..errors import InputError
from ..record.run import find_cache_folder
from .foreign_python import check_interpreter

FOLDER = "environments"
_VERSION = re.compile(r"\d+\.\d+(\.\d+)?([.+\w]*)")
_BUILDING = ".building-"
_TAIL_LINES = 40
WORKER_PACKAGES = ["protobuf>=3.9.2,<4", "pydantic>=2.5,<3", "safetensors>=0.4", "pillow>=9"]
# from 0.9.0 on the x86 wheel finds these beside it; 0.8.0 has them inside
NVIDIA_PACKAGES = ["nvidia-cudnn-cu11==8.6.0.163", "nvidia-cublas-cu11==11.10.3.66"]

Say = Callable[[str], None]
# (command, what to do with a line of its output) -> (exit status, its last lines)
Run = Callable[[List[str], Say], Tuple[int, List[str]]]


def list_requirements(version: str) -> List[str]:
    """What pip installs for a worker on this version of OneFlow."""
    new = _read_version(version) >= (0, 9)
    numpy = "numpy<2" if new else "numpy<1.24"  # 0.8.0 uses names that NumPy took away
    nvidia = NVIDIA_PACKAGES if new and platform.machine() == "x86_64" else []
    return [f"oneflow=={version}", numpy, *WORKER_PACKAGES, *nvidia]


def check_version(version: str) -> None:
    """Raise InputError for what is no version."""
    if not _VERSION.fullmatch(version):
        raise InputError(f"'{version}' is no version of OneFlow; give one such as 0.9.0")


def _read_version(version: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def locate_environment(version: str) -> Path:
    """Where the environment is or will be. Raises InputError where there is no cache folder."""
    cache = find_cache_folder()
    if cache is None:
        raise InputError(
            "there is no cache folder to make environments in; set BENCH_CACHE_DIR to an absolute "
            "path with about 2 GB of space for each version"
        )
    about = [platform.python_version(), platform.machine(), *list_requirements(version)]
    digest = hashlib.sha256("\n".join(about).encode()).hexdigest()
    return cache / FOLDER / f"oneflow-{version}-{digest[:12]}"


def ensure_environment(version: str, say: Say, run: Optional[Run] = None) -> str:
    """The interpreter of an environment with this OneFlow, which is made where it is not there.

    `say` is told what is going on. Raises InputError where it cannot be made, with pip's reason.
    """
    check_version(version)
    place = locate_environment(version)
    python = str(place / "bin" / "python")
    if place.exists():
        return python
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(place.parent)
        _build(version, place, say, run or run_command)
    except OSError as error:
        raise InputError(
            f"the environment {place} cannot be made ({error.strerror or error}); set "
            "BENCH_CACHE_DIR to a folder you may write to"
        ) from None
    return python


def _build(version: str, place: Path, say: Say, run: Run) -> None:
    building = place.parent / f"{_BUILDING}{os.getpid()}-{place.name}"
    python = str(building / "bin" / "python")
    try:
        say(f"OneFlow {version}: making an environment")
        _run_step([sys.executable, "-I", "-m", "venv", str(building)], version, say, run)
        say(f"OneFlow {version}: installing")
        pip = [python, "-I", "-m", "pip", "install", "--disable-pip-version-check"]
        options = ["--progress-bar", "off"]
        _run_step([*pip, *options, *list_requirements(version)], version, say, run)
        say(f"OneFlow {version}: trying it")
        check_interpreter(python, os.environ)
        if not place.exists():  # else another process was quicker
            building.rename(place)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _run_step(command: List[str], version: str, say: Say, run: Run) -> None:
    status, lines = run(command, lambda line: say(f"OneFlow {version}: {line}"))
    if status:
        reason = explain_failure(lines)
        raise InputError(
            f"OneFlow {version} cannot be installed for Python {platform.python_version()} on "
            f"{platform.machine()} ({reason}); give a version that pip finds, or mend what it says"
        )


def explain_failure(lines: List[str]) -> str:
    """The reason in what pip printed: its errors, else its last line."""
    errors = [line[len("ERROR:") :].strip() for line in lines if line.startswith("ERROR:")]
    said = errors or [line for line in lines if line.strip()][-1:] or ["no reason was given"]
    return "; ".join(dict.fromkeys(" ".join(line.split()).rstrip(".") for line in said))


def _remove_abandoned(folder: Path) -> None:
    """Remove what processes that are no more were building."""
    for path in folder.glob(f"{_BUILDING}*"):
        pid = path.name[len(_BUILDING) :].partition("-")[0]
        if not Path("/proc", pid).exists():
            shutil.rmtree(path, ignore_errors=True)


def run_command(command: List[str], on_line: Say) -> Tuple[int, List[str]]:
    """Run to the end, saying each line; it is ended where this is."""
    tail: Deque[str] = deque(maxlen=_TAIL_LINES)
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, stdin=nothing, stdout=pipe, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        try:
            for raw in process.stdout:
                line = raw.decode("utf-8", "replace").rstrip()
                tail.append(line)
                on_line(line)
        except BaseException:
            process.kill()
            raise
    return process.returncode, list(tail)
