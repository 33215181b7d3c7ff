"""Judges the installation: the import of OneFlow, its versions, the GPU, the measurements; pure."""

from __future__ import annotations

import re
from typing import Dict, List, Optional, Tuple

from .diagnosis import (
    NOT_IMPORTED,
    OUT_OF_TIME,
    Answer,
    Identity,
    ImportOutcome,
    Measured,
    search,
    unknown,
)

# the wheels that exist: PyPI, oneflow 0.8.0 and 0.9.0
ONEFLOW_PYTHONS, SHOWN_PYTHONS = ((3, 7), (3, 10)), "3.7 to 3.10"
NUMPY_MAJOR, CUDNN_MAJOR, CUBLAS_MAJOR = 1, 8, 11
INSTALL_ONEFLOW, INSTALL_NUMPY = "pip install oneflow==0.9.0", "pip install 'numpy<2'"

# the package on PyPI that holds a library the OneFlow wheel looks for beside itself
INSTALL_CUDNN = "pip install 'nvidia-cudnn-cu11>=8.6,<9'"
INSTALL_CUBLAS = "pip install 'nvidia-cublas-cu11>=11.10,<12'"
LIBRARIES = {"libcudnn": INSTALL_CUDNN, "libcublas": INSTALL_CUBLAS, "libnvblas": INSTALL_CUBLAS}


def parse_version(text: str) -> Tuple[int, ...]:
    """The leading numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def oneflow_import(m: Measured) -> Answer:
    """Does the interpreter import OneFlow, and if not, why?"""
    imported = m.oneflow.imported
    if imported is None:
        return unknown("time ran out before it ended")
    if imported.error is None:
        evidence = f"OneFlow {imported.oneflow} in {imported.import_s or 0:.1f} s"
        return Answer(evidence, {"oneflow": imported.oneflow, "import_s": imported.import_s})
    cause, remedy = explain_import(m.oneflow.identity, imported)
    return Answer(
        f"import oneflow fails: {cause}",
        {"error": imported.error},
        attention=True,
        consequence="nothing can be run",
        remedy=remedy,
    )


def explain_import(identity: Optional[Identity], imported: ImportOutcome) -> Tuple[str, str]:
    """The cause of a failed import, as part of a sentence, and its remedy."""
    error = imported.error or "it gave no message"
    output = f"{error}\n{imported.log_tail}"
    library = search(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file", output)
    if library:
        remedies = [remedy for name, remedy in LIBRARIES.items() if library.startswith(name)]
        holder = f"install the system package that holds {library}"
        remedies.append(f"{holder}, or put its folder into LD_LIBRARY_PATH")
        return f"the shared library {library} is missing", remedies[0]
    if identity and not has_oneflow(identity):
        if has_supported_python(identity):
            return "OneFlow is not installed there", INSTALL_ONEFLOW
        cause = f"OneFlow is not installed, and has no wheel for Python {identity.python}"
        return cause, f"give --python a Python {SHOWN_PYTHONS}, and {INSTALL_ONEFLOW} there"
    if identity and not has_old_numpy(identity):
        version = identity.installed["numpy"]
        cause = f"NumPy {version} is installed, and OneFlow's wheels fail with a later one than 1"
        return cause, INSTALL_NUMPY
    module = search(r"No module named '([\w.]+)'", error)
    if module:
        cause = f"the module {module} that OneFlow imports is missing"
        return cause, f"pip install {module.split('.')[0]}"
    if "_descriptor" in error or "Descriptors cannot" in error:
        return "its protobuf is too new", "pip install 'protobuf>=3.9.2,<4'"
    return error.splitlines()[0], "pip install --force-reinstall oneflow==0.9.0"


def has_oneflow(identity: Identity) -> bool:
    """Whether a distribution of OneFlow, a nightly one included, is installed."""
    return any(name.startswith("oneflow") for name in identity.installed)


def has_old_numpy(identity: Identity) -> bool:
    """Whether the NumPy installed, if one is, is one that OneFlow is built for."""
    return parse_version(identity.installed.get("numpy", "1"))[0] == NUMPY_MAJOR


def has_supported_python(identity: Identity) -> bool:
    lowest, highest = ONEFLOW_PYTHONS
    return lowest <= parse_version(identity.python)[:2] <= highest


def versions(m: Measured) -> Answer:
    """Do OneFlow, Python, NumPy, cuDNN and cuBLAS fit each other?"""
    identity, imported = m.oneflow.identity, m.oneflow.imported or ImportOutcome()
    if identity is None:
        return unknown("the interpreter did not list its packages")
    misfits = find_misfits(identity, imported)
    packages = {"Python": identity.python, **dict(sorted(identity.installed.items()))}
    evidence = ", ".join(f"{name} {version}" for name, version in packages.items())
    loaded = []
    if imported.cudnn:
        loaded.append(f"cuDNN {imported.cudnn[0]} for CUDA {_format_cuda(imported.cudnn[1])}")
    if imported.cublas:
        loaded.append(f"cuBLAS {'.'.join(map(str, imported.cublas))}")
    if imported.oneflow_cuda and loaded:
        built = _format_cuda(imported.oneflow_cuda)
        evidence += f"; OneFlow is built for CUDA {built}, loaded are {', '.join(loaded)}"
    return Answer(
        evidence,
        {"python": identity.python, **identity.installed},
        attention=bool(misfits),
        consequence="; ".join(misfits),
        remedy="; ".join(misfits.values()),
    )


def find_misfits(identity: Identity, imported: ImportOutcome) -> Dict[str, str]:
    """Remedies by their causes. Loaded libraries must fit the CUDA that OneFlow was built for."""
    misfits: Dict[str, str] = {}
    if has_oneflow(identity):  # else the import reports that
        if not has_supported_python(identity):
            remedy = f"use an interpreter of {SHOWN_PYTHONS}"
            misfits["no wheel of OneFlow is made for this Python"] = remedy
        if not has_old_numpy(identity):
            misfits["OneFlow is built for NumPy 1"] = INSTALL_NUMPY
    if imported.oneflow_cuda:
        cuda = imported.oneflow_cuda // 1000
        cudnn, made_for = imported.cudnn or (CUDNN_MAJOR * 1000, cuda * 1000)
        cublas = imported.cublas[0] if imported.cublas else CUBLAS_MAJOR
        if cudnn // 1000 != CUDNN_MAJOR:
            misfits[f"cuDNN {cudnn} is loaded, OneFlow is built for {CUDNN_MAJOR}"] = INSTALL_CUDNN
        elif made_for // 1000 != cuda:
            cause = f"cuDNN is made for CUDA {made_for // 1000}, OneFlow for {cuda}"
            misfits[cause] = INSTALL_CUDNN
        if cublas != CUBLAS_MAJOR:
            cause = f"cuBLAS {cublas} is loaded, OneFlow is built for {CUBLAS_MAJOR}"
            misfits[cause] = INSTALL_CUBLAS
    return misfits


def _format_cuda(number: int) -> str:
    """CUDA's version from its number: 11070 is 11.7."""
    return f"{number // 1000}.{number % 1000 // 10}"


def gpu(m: Measured) -> Answer:
    """Does OneFlow see the GPUs that the machine has?"""
    driver, imported = m.machine.nvidia_driver, m.oneflow.imported
    if imported is None or imported.error is not None:
        shown = f"NVIDIA driver {driver}" if driver else "no NVIDIA driver"
        return unknown(f"{shown}; {NOT_IMPORTED}")
    built, count = imported.oneflow_cuda, imported.gpus
    evidence = f"OneFlow sees {count}, driver {driver}" if driver else "no NVIDIA GPU"
    remedy = "use a CUDA build of OneFlow (pip install oneflow)"
    if built:
        remedy = "use a driver for that CUDA or later, and do not set CUDA_VISIBLE_DEVICES empty"
    if driver and not count:
        suffix = f"; it is built for CUDA {_format_cuda(built)}" if built else ""
        evidence = f"driver {driver} is loaded, and OneFlow sees no GPU{suffix}"
    return Answer(
        evidence,
        {"gpus": count, "driver": driver, "oneflow_cuda": built},
        attention=driver is not None and not count,
        consequence="everything runs on the processor",
        remedy=remedy,
    )


def measurements(m: Measured) -> Answer:
    """Did every measurement come to its end?"""
    reasons: Dict[str, List[str]] = {}
    crashes = [failure for failure in m.oneflow.failures if failure.crashed]
    for failure in crashes or m.oneflow.failures:
        reasons.setdefault(failure.reason, []).append(failure.measurement)
    shown = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
    if crashes:
        return Answer(
            shown,
            {"crashes": len(crashes)},
            attention=True,
            consequence="a training run may end the same way",
            remedy="unset the ONEFLOW_, OPENBLAS_ and LD_ variables one by one; reinstall OneFlow",
        )
    if reasons:
        return unknown(shown + ("; give a longer --budget" if OUT_OF_TIME in reasons else ""))
    return Answer("all came to their end") if m.oneflow.is_imported else unknown(NOT_IMPORTED)


INSTALLATION_CHECKS = (oneflow_import, versions, gpu, measurements)
