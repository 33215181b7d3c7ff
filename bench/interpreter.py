"""Another interpreter for a contender: the sources a worker runs there, and whether it can.

A worker is this suite's code under another Python, which has its own OneFlow and need not have the
suite installed. So a folder with nothing but links to the sources is put on its path; what else a
worker imports has to be installed there, and is asked for before anything is run.
"""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from pydantic import BaseModel

import oneflow_bench
from oneflow_bench.errors import InputError
from oneflow_bench.graph_options import check_graph_options

PACKAGE = "oneflow_bench"
OLDEST_PYTHON, NEWEST_PYTHON = (3, 8), (3, 10)
ASK_TIMEOUT_S = 120.0
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
    except ModuleNotFoundError as error:
        if error.name == name:
            answer["missing"].append(name)
        else:
            answer["broken"][name] = str(error)
    except Exception as error:
        answer["broken"][name] = " ".join(str(error).split())
if "oneflow" in answer["versions"]:
    from oneflow.nn.graph.graph_config import GraphConfig
    from oneflow_bench.graph_options import list_graph_options
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
def _share_sources(package: str) -> tempfile.TemporaryDirectory:
    folder = tempfile.TemporaryDirectory(prefix="oneflow-bench-sources-")
    target = Path(folder.name) / PACKAGE
    target.mkdir()
    for source in Path(package).iterdir():
        if source.name != "__pycache__":
            (target / source.name).symlink_to(source)
    for name in ("models", "data"):  # beside the package in a checkout, inside it once installed
        if not (target / name).exists():
            (target / name).symlink_to(_find_subpackage(name))
    return folder


def _find_subpackage(name: str) -> Path:
    import importlib.util

    spec = importlib.util.find_spec(f"{PACKAGE}.{name}")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).resolve().parent


def share_sources() -> str:
    """A folder that holds the suite's package and nothing else, until this process ends."""
    assert oneflow_bench.__file__ is not None
    return str(_share_sources(str(Path(oneflow_bench.__file__).resolve().parent)).name)


def add_sources(environment: Mapping[str, str]) -> Dict[str, str]:
    """The environment of a process that is to find the suite's sources."""
    paths = [share_sources(), environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def check_interpreter(python: str, environment: Mapping[str, str]) -> Interpreter:
    """What the interpreter is. Raises InputError where a worker cannot run on it.

    That is where it is not there, not executable, no Python of a version that serves, or lacks
    something that a worker imports.
    """
    given = f"python={python}"
    if not os.path.isfile(python):
        raise InputError(f"{given} is not there; give the path of a Python interpreter")
    if not os.access(python, os.X_OK):
        raise InputError(f"{given} is not executable; give the path of a Python interpreter")
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
    try:
        done = subprocess.run(
            [python, "-c", _QUESTION],
            env=add_sources(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=ASK_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        if line.startswith(_MARK):
            return Interpreter.model_validate_json(line[len(_MARK) :])
    return None
