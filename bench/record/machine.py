"""The environment of a run, read from /proc; every field is None where it cannot be read."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from pydantic import AfterValidator, TypeAdapter, ValidationError
from typing_extensions import Annotated, TypedDict

from ..config import CODE_FIELDS, Workload

RECORDED_VARIABLES = ("OMP_", "OPENBLAS_", "ONEFLOW_", "GLOG_", "MKL_", "CUDA_", "MALLOC_")


class _Cpu(TypedDict, total=False):
    model: Optional[str]
    flags: List[str]
    cores: Optional[int]


class _Project(TypedDict, total=False):
    branch: Optional[str]
    commit: Optional[str]


class _Blas(TypedDict, total=False):  # in place of OneFlow's own
    path: str
    version: Optional[str]
    threads: Optional[int]


class _Facts(TypedDict, total=False):
    """The keys of an environment that are read. Each may be missing."""

    cpu: _Cpu
    project: _Project
    blas_kernel: Dict[str, Optional[str]]
    variables: Dict[str, str]
    platform: Optional[str]
    blas: Optional[_Blas]
    python: Optional[str]
    oneflow: Optional[str]
    git_commit: Optional[str]
    data_checksum: Optional[str]
    continues: Optional[str]
    code: Dict[str, str]
    load: Optional[List[float]]
    memory_bytes: Optional[int]


_FACTS: TypeAdapter[Any] = TypeAdapter(_Facts)


def _check_environment(environment: Dict[str, Any]) -> Dict[str, Any]:
    try:
        _FACTS.validate_python(environment, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ValueError(f"{key} is {first['input']!r}: {first['msg']}") from None
    return environment


Environment = Annotated[Dict[str, Any], AfterValidator(_check_environment)]


def read_cpuinfo(cpuinfo: Path = Path("/proc/cpuinfo")) -> Dict[str, str]:
    """What the kernel says of the first processor, field by field; empty where not readable."""
    fields: Dict[str, str] = {}
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, separator, value = line.partition(":")
            if separator:
                fields.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    return fields


def read_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> Dict[str, Any]:
    """Model name, feature flags and usable cores of the processor."""
    fields = read_cpuinfo(cpuinfo)
    return {
        "model": fields.get("model name", platform.processor() or None),
        "flags": fields.get("flags", "").split(),
        "cores": len(os.sched_getaffinity(0)),
    }


def read_steal_seconds(stat: Path = Path("/proc/stat")) -> Optional[float]:
    """Seconds that the hypervisor took from all cores since boot; None where not readable."""
    try:
        fields = stat.read_text(encoding="ascii").splitlines()[0].split()
        return int(fields[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None


def read_memory_bytes(meminfo: Path = Path("/proc/meminfo")) -> Optional[int]:
    """Physical memory of the machine in bytes; None where not readable."""
    return read_kib_bytes(meminfo, "MemTotal:")


def read_available_bytes(meminfo: Path = Path("/proc/meminfo")) -> Optional[int]:
    """Memory that new processes may have without swapping, in bytes; None where not readable."""
    return read_kib_bytes(meminfo, "MemAvailable:")


def read_oom_kills(vmstat: Path = Path("/proc/vmstat")) -> Optional[int]:
    """Processes that the kernel ended for want of memory since boot; None where not readable."""
    return read_count(vmstat, "oom_kill")


def read_kib_bytes(path: Path, name: str) -> Optional[int]:
    """As `read_count`, of a number in KiB; in bytes."""
    count = read_count(path, name)
    return None if count is None else count * 1024


def read_count(path: Path, name: str) -> Optional[int]:
    """The number behind `name` on its line; None where there is no such line or number."""
    try:
        for line in path.read_text(encoding="ascii", errors="replace").splitlines():
            words = line.split()
            if words[:1] == [name]:
                return int(words[1])
    except (OSError, IndexError, ValueError):
        pass
    return None


def read_peak_rss_bytes(status: Path = Path("/proc/self/status")) -> int:
    """Peak resident memory of this process (VmHWM), in bytes.

    VmHWM belongs to the program running now; `getrusage` also counts what the parent used before
    it started this program.
    """
    peak = read_kib_bytes(status, "VmHWM:")
    if peak is None:
        raise OSError(f"{status} has no VmHWM line")
    return peak


def read_git_commit(folder: Path) -> Optional[str]:
    """Commit of the checkout that holds `folder`, with "+" when it has changes; None outside."""
    commit = _ask_git(folder, "rev-parse", "HEAD")
    changed = _ask_git(folder, "status", "--porcelain", "--untracked-files=no")
    return None if commit is None or changed is None else commit + "+" * bool(changed)


def read_git_branch(folder: Path) -> Optional[str]:
    """The branch that is checked out in `folder`; None outside, without git, and for no branch."""
    return _ask_git(folder, "symbolic-ref", "--short", "HEAD") or None


def _ask_git(folder: Path, *words: str) -> Optional[str]:
    """What git prints; None where it fails or is not there."""
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.decode(errors="replace").strip()


def list_own_code(workload: Workload) -> Dict[str, str]:
    """Its fields that name code of the user's own, with what they name: package.module:name."""
    values = {name: str(getattr(workload, name)) for name in CODE_FIELDS}
    return {name: value for name, value in values.items() if ":" in value}


def digest_code(workload: Workload) -> Dict[str, str]:
    """File -> SHA-256 of its bytes, of the user's code that a workload names.

    It is its module, and the imported ones in the same folder tree. The suite and installed
    packages are no code of the user.
    """
    digests: Dict[str, str] = {}
    named = {name.partition(":")[0] for name in list_own_code(workload).values()}
    if not named:
        return digests
    suite = __name__.partition(".")[0]
    loaded = {
        name: Path(file).resolve()
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None)) and "site-packages" not in file
        if name.partition(".")[0] != suite
    }
    for name in named & set(loaded):
        root = loaded[name].parents[name.count(".") + (loaded[name].stem == "__init__")]
        for path in loaded.values():
            if root in path.parents and path.is_file():
                digests[str(path.relative_to(root))] = _digest_source(path)
    return digests


def find_changed_code(digests: Mapping[str, str]) -> List[str]:
    """The files of a `digest_code` whose bytes are others now, or that are gone.

    They are found as a worker finds them: on the path, then in the working folder. No code runs.
    """
    places = [Path(entry) for entry in (*sys.path, os.getcwd())]

    def digest(file: str) -> Optional[str]:
        found = next((place / file for place in places if (place / file).is_file()), None)
        return None if found is None else _digest_source(found)

    return [file for file, before in digests.items() if digest(file) != before]


def _digest_source(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def describe_load() -> Dict[str, Any]:
    """What changes while a run goes on: load averages and steal time so far."""
    return {"load": list(os.getloadavg()), "steal_s": read_steal_seconds()}


def describe_machine() -> Dict[str, Any]:
    """The whole description that a record starts with."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu": read_cpu(),
        "memory_bytes": read_memory_bytes(),
        "git_commit": read_git_commit(Path(__file__).resolve().parent),
        "project": {"branch": read_git_branch(Path()), "commit": read_git_commit(Path())},
        **describe_load(),
    }
