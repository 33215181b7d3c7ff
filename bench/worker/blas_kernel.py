"""Which kernel family OneFlow's OpenBLAS chooses: asked in a throw-away process, then remembered.

Asking imports OneFlow, about a second; an answer is kept in the user's cache folder (`cache.py`), a
file for each set of what the answer depends on: the processor, the interpreter with the NumPy and
the OneFlow it would import, and the variables that steer the linker and the BLAS. An answer holds
as long as no library that was loaded for it has changed. Where any of this differs or cannot be
told, the BLAS is asked again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional

from ..record.machine import read_cpuinfo
from ..record.run import find_cache_folder, write_atomically
from .foreign_python import ask_python, keep_logs_away

# the BLAS reads the processor's identity; a hypervisor may show one name for several kinds
CPU_FIELDS = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
STEERING_VARIABLES = ("OPENBLAS_", "GOTO", "OMP_", "ONEFLOW_", "LD_", "GLIBC_", "PYTHON")
_NUMPY_IS_LOADED = "oneflow-bench: numpy is loaded"
_LIBRARIES = "oneflow-bench: libraries: "
_PROBE = f"""
import json, sys, numpy
print({_NUMPY_IS_LOADED!r}, file=sys.stderr, flush=True)
import oneflow
with open("/proc/self/maps") as maps:
    files = {{line.split(None, 5)[5].rstrip() for line in maps if "/" in line}}
print({_LIBRARIES!r} + json.dumps(sorted(f for f in files if ".so" in f)), file=sys.stderr)
"""
# finds the packages as an import would, and imports neither
_IDENTIFY = """
import importlib.util, json, os, sys
origins = [importlib.util.find_spec(name).origin for name in ("numpy", "oneflow")]
files = {path: [os.stat(path).st_size, os.stat(path).st_mtime_ns] for path in origins}
print(json.dumps({"executable": sys.executable, "version": sys.version, "files": files}))
"""


class Answer(NamedTuple):
    """What the BLAS said, and the shared libraries it was said with."""

    kernel: str
    libraries: List[str]


def find_blas_kernel(python: str, environment: Dict[str, str]) -> Optional[str]:
    """Name of the kernel family in `environment`, remembered or asked; None without an answer."""
    question = describe_question(python, environment)
    memory = locate_memory(question) if question else None
    kernel = recall_kernel(memory, question) if memory and question else None
    if kernel is not None:
        return kernel
    answer = probe_blas(python, environment)
    if answer and memory and question:
        remember_answer(memory, question, answer)
    return answer.kernel if answer else None


def probe_blas(python: str, environment: Dict[str, str]) -> Optional[Answer]:
    """Ask in a throw-away process. None for no OneFlow, another BLAS or no answer in time."""
    verbose = {**keep_logs_away(), **environment, "OPENBLAS_VERBOSE": "2"}
    output = ask_python(python, _PROBE, verbose, stderr=subprocess.STDOUT)
    kernel = parse_blas_kernel(output)
    return Answer(kernel, parse_libraries(output)) if kernel else None


def parse_blas_kernel(verbose_output: str) -> Optional[str]:
    """The kernel named after NumPy's own OpenBLAS has had its say, or None."""
    _, found, after_numpy = verbose_output.partition(_NUMPY_IS_LOADED)
    names = re.findall(r"^Core: *(\S+)", after_numpy, flags=re.MULTILINE)
    return names[-1] if found and names else None


def parse_libraries(verbose_output: str) -> List[str]:
    """Paths of the libraries that the probe had mapped; empty where it did not come that far."""
    found = re.search(f"^{_LIBRARIES}(.*)$", verbose_output, flags=re.MULTILINE)
    return [str(path) for path in json.loads(found.group(1))] if found else []


def describe_question(python: str, environment: Dict[str, str]) -> Optional[Dict[str, Any]]:
    """What the answer depends on; None where a part of it cannot be told."""
    cpu = {name: value for name, value in read_cpuinfo().items() if name in CPU_FIELDS}
    try:
        interpreter = json.loads(ask_python(python, _IDENTIFY, environment).splitlines()[-1])
    except (IndexError, ValueError):
        return None
    if not cpu.get("flags") or not isinstance(interpreter, dict):
        return None
    return {
        "probe": _PROBE,
        "cpu": cpu,
        "interpreter": interpreter,
        "linker": _stat_files(["/etc/ld.so.cache"]),
        "variables": {
            name: value
            for name, value in sorted(environment.items())
            if name.startswith(STEERING_VARIABLES)
        },
    }


def locate_memory(question: Dict[str, Any]) -> Optional[Path]:
    """The file that holds the answer, if this was asked before; None where there is no folder."""
    folder = find_cache_folder()
    if folder is None:
        return None
    digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
    return folder / f"blas-kernel-{digest[:24]}.json"


def recall_kernel(memory: Path, question: Dict[str, Any]) -> Optional[str]:
    """The remembered kernel; None without one, or when a library that spoke then has changed."""
    try:
        stored = json.loads(memory.read_text(encoding="utf-8"))
        kernel, libraries = stored["kernel"], stored["libraries"]
        if stored["question"] != question or _stat_files(libraries) != libraries:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kernel if isinstance(kernel, str) and kernel else None


def remember_answer(memory: Path, question: Dict[str, Any], answer: Answer) -> None:
    """Keep the answer. Where that fails the next command asks again, which takes a second."""
    libraries = _stat_files(answer.libraries)
    if not libraries or None in libraries.values():  # replaced while it was asked
        return
    stored = {"question": question, "kernel": answer.kernel, "libraries": libraries}
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(memory, json.dumps(stored, indent=1) + "\n")
    except OSError:
        pass


def _stat_files(paths: Iterable[str]) -> Dict[str, Optional[List[int]]]:
    """Size and time of the last change, in bytes and nanoseconds; None for a file that is not."""
    found: Dict[str, Optional[List[int]]] = {}
    for path in paths:
        try:
            status = os.stat(path)
            found[path] = [status.st_size, status.st_mtime_ns]
        except OSError:
            found[path] = None
    return found
