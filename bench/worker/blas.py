"""A BLAS in place of OneFlow's own: found on this machine, preloaded, and looked for in the worker.

OneFlow 0.9.0 calls `cblas_sgemm` through the procedure linkage table. So a library that the linker
loads first answers that call. A BLAS is found in the folders of the interpreter, of conda and of
the system. Nothing is downloaded. Only a flag or a contender that the user types gives a BLAS.
"""

from __future__ import annotations

import ctypes
import os
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from ..errors import InputError

PRELOAD = "LD_PRELOAD"
EXPECTED = "BENCH_BLAS"  # the library that a worker must have loaded
FUNCTION = "cblas_sgemm"
_SEPARATORS = " :"  # of LD_PRELOAD, so no part of a path in it


class _Package(NamedTuple):
    """How a BLAS is found by its name."""

    patterns: List[str]  # of its file, the best first
    remedy: str


PACKAGES: Dict[str, _Package] = {
    "mkl": _Package(["libmkl_rt.so*"], "{python} -m pip install mkl"),
    "openblas": _Package(
        ["openblas-pthread/libopenblas.so*", "libopenblas.so*", "libopenblasp.so*"],
        "apt install libopenblas0-pthread, or conda install libopenblas",
    ),
}


def find_blas(name: str, python: str, environment: Mapping[str, str]) -> Path:
    """The library that `name` stands for: a key of PACKAGES, or its path.

    Raises InputError, with the folders that were looked in, if there is none.
    """
    if name not in PACKAGES:
        path = Path(name)
        if not path.is_file():
            raise InputError(f"blas={name} is not there; {_list_names()}")
    else:
        package, folders = PACKAGES[name], list_folders(python, environment)
        found = [
            path for pattern in package.patterns for one in folders for path in one.glob(pattern)
        ]
        if not found:
            remedy = package.remedy.format(python=python)
            raise InputError(
                f"blas={name} was given and no {' or '.join(package.patterns)} is in "
                f"{', '.join(map(str, folders))}; install it ({remedy}), or give its path"
            )
        path = found[0]
    if set(str(path)) & set(_SEPARATORS):
        raise InputError(
            f"blas={path} cannot be preloaded, because the linker splits {PRELOAD} at spaces and "
            "colons; give a path without them, such as a link"
        )
    return path


def list_found(python: str, environment: Mapping[str, str]) -> List[str]:
    """The names whose library is found."""
    found = []
    for name in PACKAGES:
        with suppress(InputError):
            find_blas(name, python, environment)
            found.append(name)
    return found


def list_folders(python: str, environment: Mapping[str, str]) -> List[Path]:
    """The folders of libraries that exist: the interpreter's, conda's and the system's."""
    prefixes = [Path(python).parent.parent, Path(python).resolve().parent.parent]
    prefixes += [Path(environment["CONDA_PREFIX"])] if environment.get("CONDA_PREFIX") else []
    system = [f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}", "/usr/lib64", "/usr/local/lib"]
    folders = [*(prefix / "lib" for prefix in prefixes), *map(Path, system)]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def _list_names() -> str:
    return f"give {', '.join(PACKAGES)} or the path of a library"


def create_preload(library: Path, environment: Mapping[str, str]) -> Dict[str, str]:
    """`environment` with the library before all others that it preloads."""
    preloaded = ":".join(filter(None, [str(library), environment.get(PRELOAD)]))
    return {**environment, PRELOAD: preloaded, EXPECTED: str(library)}


def check_preload(environment: Mapping[str, str]) -> None:
    """Raise InputError in a process whose linker did not load the expected BLAS.

    The linker itself only warns, on standard error.
    """
    expected = environment.get(EXPECTED)
    if expected is None:
        return
    loaded = read_loaded_blas()
    if loaded is not None and os.path.samefile(loaded["path"], expected):
        return
    with open("/proc/self/maps", encoding="utf-8") as maps:
        is_mapped = os.path.realpath(expected) in maps.read()
    reason = f"it has no {FUNCTION}" if is_mapped else "the linker did not load it"
    if loaded is not None:
        reason = f"{loaded['path']} is before it"
    raise InputError(
        f"blas={expected} would have no effect: {reason}; give a library of this processor that "
        f"exports {FUNCTION}, as nm -D shows"
    )


class _Place(ctypes.Structure):  # Dl_info of dladdr(3)
    _fields_ = [
        ("path", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    ]


def read_loaded_blas() -> Optional[Dict[str, Any]]:
    """Path, version and threads of the preloaded BLAS of this process; None without one.

    Version and threads are None for a library that is neither OpenBLAS nor MKL.
    """
    process = ctypes.CDLL(None)  # the program and what was loaded with it, not OneFlow
    if not hasattr(process, FUNCTION):
        return None
    place = _Place()
    function = ctypes.cast(getattr(process, FUNCTION), ctypes.c_void_p)
    if not process.dladdr(function, ctypes.byref(place)):
        return None
    version, threads = None, None
    if hasattr(process, "openblas_get_config"):
        process.openblas_get_config.restype = ctypes.c_char_p
        version = process.openblas_get_config().decode()
        threads = process.openblas_get_num_threads()
    elif hasattr(process, "MKL_Get_Version_String"):
        text = ctypes.create_string_buffer(200)
        process.MKL_Get_Version_String(text, len(text))
        version, threads = text.value.decode().strip(), process.MKL_Get_Max_Threads()
    return {"path": os.fsdecode(place.path or b""), "version": version, "threads": threads}
