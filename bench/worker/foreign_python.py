"""Another interpreter for a contender: the sources a worker runs there, and whether it can.

A worker is this suite's code under another Python, which has its own OneFlow and need not have the
suite installed. So a folder with nothing but links to the sources is put on its path; what else a
worker imports has to be installed there, and is asked for before anything is run.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from pydantic import BaseModel

from ..errors import InputError
from ..plan.graph_options import check_graph_options

PACKAGE = "oneflow_bench"
PACKAGE_PARTS = ("__init__.py", "bench", "models", "data")
PACKAGE_DEPTH = 2  # folders from this file up to the package
OLDEST_PYTHON, NEWEST_PYTHON = (3, 8), (3, 10)
ASK_TIMEOUT_S = 120.0
SOURCES = "sources"
# what a worker imports, as it is installed; OneFlow brings protobuf and rich
WORKER_REQUIREMENTS = {
    "oneflow": "oneflow",
    "numpy": "'numpy<2'",
    "pydantic": "'pydantic>=2.5,<3'",
    "safetensors": "safetensors",
    "PIL": "pillow",
}
MAJOR_VERSIONS = {"numpy": 1, "pydantic": 2}
_MARK = "oneflow-bench: interpreter: "
_QUESTION = f"""
import importlib, json, sys
names = {list(WORKER_REQUIREMENTS)!r}
answer = {{"python": sys.version.split()[0], "versions": {{}}, "missing": [], "broken": {{}}}}
for name in names:
    try:
        module = importlib.import_module(name)
        answer["versions"][name] = str(getattr(module, "__version__", "unknown"))
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            answer["missing"].append(name)
        else:
            answer["broken"][name] = " ".join(str(error).split())
if "oneflow" in answer["versions"]:
    from oneflow.nn.graph.graph_config import GraphConfig
    from oneflow_bench.bench.plan.graph_options import list_graph_options
    options = list_graph_options(GraphConfig)
    answer["graph_options"] = {{k: v and v.__name__ for k, v in options.items()}}
print({_MARK!r} + json.dumps(answer))
"""
_TYPES = {"bool": bool, "int": int, "str": str}


class Interpreter(BaseModel):
    """What an interpreter says of itself."""

    python: str  # its version
    versions: Dict[str, str]  # of what a worker imports, by the name it is imported under
    missing: List[str]
    broken: Dict[str, str]  # installed and not importable, with the reason
    graph_options: Dict[str, Optional[str]] = {}  # switch -> type it takes


@functools.lru_cache(maxsize=None)
def _create_folder(root: str) -> tempfile.TemporaryDirectory:
    folder = tempfile.TemporaryDirectory(prefix="oneflow-bench-sources-")
    target = Path(folder.name) / SOURCES / PACKAGE
    target.mkdir(parents=True)
    for name in PACKAGE_PARTS:
        (target / name).symlink_to(Path(root) / name)
    return folder


def _find_folder() -> str:
    return str(_create_folder(str(Path(__file__).resolve().parents[PACKAGE_DEPTH])).name)


def share_sources() -> str:
    """A folder that holds the suite's package and nothing else, until this process ends."""
    return os.path.join(_find_folder(), SOURCES)


def keep_logs_away() -> Dict[str, str]:
    """Variables that keep OneFlow 0.8.0 from making a folder `log` in the working folder."""
    return {"GLOG_logtostderr": "1", "GLOG_log_dir": os.path.join(_find_folder(), "log")}


def add_sources(environment: Mapping[str, str]) -> Dict[str, str]:
    """The environment of another interpreter's process, which finds the suite's sources in it."""
    paths = [share_sources(), environment.get("PYTHONPATH", "")]
    added = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return {**keep_logs_away(), **environment, **added}


def create_python_command(python: str, code: str) -> List[str]:
    """Command line that runs `code` with no user's file before a library.

    `python -c` and `python -m` put the current folder first on the path.
    """
    return [python or sys.executable, "-c", f"import sys; del sys.path[0]\n{code}"]


def ask_python(
    python: str,
    code: str,
    environment: Optional[Mapping[str, str]] = None,
    stderr: int = subprocess.DEVNULL,
) -> str:
    """The output of `code` in a throw-away process; empty where it does not run or hangs."""
    try:
        done = subprocess.run(
            create_python_command(python, code),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            timeout=ASK_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


def check_interpreter(python: str, environment: Mapping[str, str]) -> Interpreter:
    """What the interpreter is. Raises InputError where a worker cannot run on it.

    That is where it is not there, not executable, no Python of a version that serves, or lacks
    something that a worker imports.
    """
    given = f"python={python}"
    if not (os.path.isfile(python) and os.access(python, os.X_OK)):
        fault = "executable" if os.path.isfile(python) else "there"
        raise InputError(f"{given} is not {fault}; give the path of a Python interpreter")
    found = ask_interpreter(python, environment)
    if found is None:
        raise InputError(
            f"{given} did not answer as a Python interpreter does; try it with "
            f"{python} -c 'print(1)'"
        )
    version = tuple(int(part) for part in found.python.split(".")[:2])
    if not OLDEST_PYTHON <= version <= NEWEST_PYTHON:
        raise InputError(
            f"{given} is Python {found.python} and a worker needs 3.8 to 3.10; give another"
        )
    if found.missing:
        names = [WORKER_REQUIREMENTS[name] for name in found.missing]
        what = ", ".join("OneFlow" if n == "oneflow" else n for n in found.missing)
        raise InputError(
            f"{given} has no {what}, which a worker needs; run "
            f"{python} -m pip install {' '.join(names)}"
        )
    for name, reason in found.broken.items():
        raise InputError(
            f"{given} cannot import {name} ({reason}); try it with {python} -c 'import {name}'"
        )
    for name, major in MAJOR_VERSIONS.items():
        if not found.versions[name].startswith(f"{major}."):
            wanted = WORKER_REQUIREMENTS[name]
            raise InputError(
                f"{given} has {name} {found.versions[name]} and a worker needs {wanted}; run "
                f"{python} -m pip install {wanted}"
            )
    return found


def check_options(found: Interpreter, options: Mapping[str, Any]) -> None:
    """Raise InputError for a graph option that the OneFlow of an interpreter does not have."""
    known = {name: _TYPES.get(kind or "") for name, kind in found.graph_options.items()}
    check_graph_options(options, known)


def ask_interpreter(python: str, environment: Mapping[str, str]) -> Optional[Interpreter]:
    """Import what a worker imports, in a throw-away process; None without an answer."""
    output = ask_python(python, _QUESTION, add_sources(environment))
    said = [line[len(_MARK) :] for line in output.splitlines() if line.startswith(_MARK)]
    return Interpreter.model_validate_json(said[0]) if said else None
