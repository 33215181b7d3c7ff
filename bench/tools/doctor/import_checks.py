"""Judges the installation: the import of OneFlow, its versions, the GPU, the measurements; pure."""

from __future__ import annotations

import re
from typing import Dict, List, NamedTuple, Optional, Tuple

from .diagnosis import (
    NOT_IMPORTED,
    OUT_OF_TIME,
    Check,
    Finding,
    Identity,
    ImportOutcome,
    Machine,
    RuntimeMeasurements,
    create_check,
    create_unknown,
)

# the wheels that exist: PyPI, oneflow 0.8.0 and 0.9.0
ONEFLOW_PYTHONS = ((3, 7), (3, 10))
NUMPY_MAJORS = (1,)
CUDNN_MAJORS = (8,)
CUBLAS_MAJORS = (11,)

# the package on PyPI that holds a library the OneFlow wheel looks for beside itself
_CUDNN, _CUBLAS = "nvidia-cudnn-cu11>=8.6,<9", "nvidia-cublas-cu11>=11.10,<12"
LIBRARY_PACKAGES = {"libcudnn": _CUDNN, "libcublas": _CUBLAS, "libnvblas": _CUBLAS}
_MISSING_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file")


class Explanation(NamedTuple):
    cause: str
    remedy: str


def check_installation(machine: Machine, runtime: RuntimeMeasurements) -> List[Check]:
    """The import, the versions, the GPU, and whether every measurement came to its end."""
    return [
        check_import(runtime),
        check_versions(runtime),
        check_gpu(machine, runtime.imported),
        check_measurements(runtime),
    ]


def check_import(runtime: RuntimeMeasurements) -> Check:
    """Whether the interpreter imports OneFlow, and if not, why."""
    imported = runtime.imported
    if imported is None:
        return create_unknown("oneflow_import", "time ran out before it ended")
    if imported.error is None:
        evidence = f"OneFlow {imported.oneflow} in {imported.import_s or 0:.1f} s"
        measured = {"oneflow": imported.oneflow, "import_s": imported.import_s}
        return create_check("oneflow_import", evidence, measured)
    cause, remedy = explain_import(runtime.identity, imported)
    return create_check(
        "oneflow_import",
        f"import oneflow fails: {cause}",
        {"error": imported.error},
        Finding("nothing can be run", remedy),
    )


def explain_import(identity: Optional[Identity], imported: ImportOutcome) -> Explanation:
    """The cause of a failed import, as part of a sentence, and its remedy."""
    output = f"{imported.error}\n{imported.log_tail}"
    missing = _MISSING_LIBRARY.search(output)
    if missing:
        return _explain_library(missing.group(1))
    if identity is not None and not has_oneflow(identity):
        return _explain_absence(identity)
    if identity is not None and not has_old_numpy(identity):
        return Explanation(
            f"NumPy {identity.installed['numpy']} is installed; OneFlow's wheels are built for "
            "NumPy 1 and fail with a later one",
            "pip install 'numpy<2'",
        )
    module = re.search(r"No module named '([\w.]+)'", output)
    if module:
        return Explanation(
            f"the module {module.group(1)} that OneFlow imports is missing",
            f"pip install {module.group(1).split('.')[0]}",
        )
    if "_descriptor" in output or "Descriptors cannot" in output:
        return Explanation("its protobuf is too new", "pip install 'protobuf>=3.9.2,<4'")
    return Explanation(
        (imported.error or "it gave no message").splitlines()[0],
        "pip install --force-reinstall oneflow==0.9.0",
    )


def _explain_library(library: str) -> Explanation:
    package = next((p for name, p in LIBRARY_PACKAGES.items() if library.startswith(name)), None)
    remedy = (
        f"pip install '{package}'"
        if package
        else f"install the system package that holds {library}, or put its folder into "
        "LD_LIBRARY_PATH"
    )
    return Explanation(f"the shared library {library} is missing", remedy)


def _explain_absence(identity: Identity) -> Explanation:
    if has_supported_python(identity):
        return Explanation("OneFlow is not installed there", "pip install oneflow==0.9.0")
    return Explanation(
        f"OneFlow is not installed, and has no wheel for Python {identity.python}",
        f"give --python a Python {_format_pythons()}, and pip install oneflow==0.9.0 there",
    )


def _format_pythons() -> str:
    return " to ".join(".".join(map(str, version)) for version in ONEFLOW_PYTHONS)


def has_oneflow(identity: Identity) -> bool:
    """Whether a distribution of OneFlow, a nightly one included, is installed."""
    return any(name.startswith("oneflow") for name in identity.installed)


def has_old_numpy(identity: Identity) -> bool:
    """Whether the NumPy installed, if one is, is one that OneFlow is built for."""
    version = identity.installed.get("numpy")
    return version is None or int(version.split(".")[0]) in NUMPY_MAJORS


def has_supported_python(identity: Identity) -> bool:
    """Whether OneFlow has wheels for that Python."""
    lowest, highest = ONEFLOW_PYTHONS
    return lowest <= parse_version(identity.python)[:2] <= highest


def parse_version(text: str) -> Tuple[int, ...]:
    """The leading numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def check_versions(runtime: RuntimeMeasurements) -> Check:
    """OneFlow, Python, NumPy, cuDNN and cuBLAS: whether they fit each other."""
    identity, imported = runtime.identity, runtime.imported
    if identity is None:
        return create_unknown("versions", "the interpreter did not list its packages")
    parts = [f"Python {identity.python}"]
    parts += [f"{name} {version}" for name, version in sorted(identity.installed.items())]
    evidence = ", ".join(parts) + (_describe_cuda(imported) if imported else "")
    misfits = _find_misfits(identity) + (_find_cuda_misfits(imported) if imported else [])
    finding = Finding(
        "; ".join(misfit.cause for misfit in misfits),
        "; ".join(misfit.remedy for misfit in misfits),
    )
    measured = {"python": identity.python, **identity.installed}
    return create_check("versions", evidence, measured, finding if misfits else None)


def _describe_cuda(imported: ImportOutcome) -> str:
    """The CUDA that OneFlow was built for, and the libraries that it has loaded."""
    loaded = []
    if imported.cudnn:
        loaded.append(f"cuDNN {imported.cudnn[0]} for CUDA {_format_cuda(imported.cudnn[1])}")
    if imported.cublas:
        loaded.append(f"cuBLAS {'.'.join(map(str, imported.cublas))}")
    if not imported.oneflow_cuda or not loaded:
        return ""
    built = _format_cuda(imported.oneflow_cuda)
    return f"; OneFlow is built for CUDA {built}, loaded are {', '.join(loaded)}"


def _format_cuda(number: int) -> str:
    """CUDA's version from its number: 11070 is 11.7."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _find_misfits(identity: Identity) -> List[Explanation]:
    problems: List[Explanation] = []
    if not has_oneflow(identity):
        return problems  # the import reports that
    if not has_supported_python(identity):
        problems.append(
            Explanation(
                "no wheel of OneFlow is made for this Python",
                f"use an interpreter of {_format_pythons()}",
            )
        )
    if not has_old_numpy(identity):
        problems.append(Explanation("OneFlow is built for NumPy 1", "pip install 'numpy<2'"))
    return problems


def _find_cuda_misfits(imported: ImportOutcome) -> List[Explanation]:
    """cuDNN and cuBLAS as loaded, against the CUDA that OneFlow was built for."""
    if imported.error is not None or not imported.oneflow_cuda:
        return []
    problems = []
    cuda = imported.oneflow_cuda // 1000
    cudnn, cublas = imported.cudnn, imported.cublas
    install_cudnn = f"pip install '{_CUDNN}'"
    if cudnn and cudnn[0] // 1000 not in CUDNN_MAJORS:
        cause = f"cuDNN {cudnn[0]} is loaded, OneFlow is built for 8"
        problems.append(Explanation(cause, install_cudnn))
    elif cudnn and cudnn[1] // 1000 != cuda:
        cause = f"cuDNN is made for CUDA {cudnn[1] // 1000}, OneFlow for {cuda}"
        problems.append(Explanation(cause, install_cudnn))
    if cublas and cublas[0] not in CUBLAS_MAJORS:
        cause = f"cuBLAS {cublas[0]} is loaded, OneFlow is built for 11"
        problems.append(Explanation(cause, f"pip install '{_CUBLAS}'"))
    return problems


def check_gpu(machine: Machine, imported: Optional[ImportOutcome]) -> Check:
    """Whether OneFlow sees the GPUs that the machine has."""
    driver = machine.nvidia_driver
    if imported is None or imported.error is not None:
        shown = f"NVIDIA driver {driver}" if driver else "no NVIDIA driver"
        return create_unknown("gpu", f"{shown}; {NOT_IMPORTED}")
    built, finding = imported.oneflow_cuda, None
    evidence = f"OneFlow sees {imported.gpus}, driver {driver}" if driver else "no NVIDIA GPU"
    if driver is not None and not imported.gpus:
        evidence = f"driver {driver} is loaded, and OneFlow sees no GPU"
        if built:
            evidence += f"; it is built for CUDA {_format_cuda(built)}"
        finding = Finding(
            "everything runs on the processor",
            "use a driver for that CUDA or later, and do not set CUDA_VISIBLE_DEVICES empty"
            if built
            else "use a CUDA build of OneFlow (pip install oneflow)",
        )
    measured = {"gpus": imported.gpus, "driver": driver, "oneflow_cuda": built}
    return create_check("gpu", evidence, measured, finding)


def check_measurements(runtime: RuntimeMeasurements) -> Check:
    """Whether OneFlow ended a worker, or time ran out."""
    crashes = [failure for failure in runtime.failures if failure.crashed]
    if crashes:
        return create_check(
            "measurements",
            "; ".join(f"{crash.measurement}: {crash.reason}" for crash in crashes),
            {"crashes": len(crashes)},
            Finding(
                "a training run may end the same way",
                "unset the ONEFLOW_, OPENBLAS_ and LD_ variables one by one; reinstall OneFlow",
            ),
        )
    if runtime.failures:
        reasons: Dict[str, List[str]] = {}
        for failure in runtime.failures:
            reasons.setdefault(failure.reason, []).append(failure.measurement)
        shown = "; ".join(f"{', '.join(which)}: {reason}" for reason, which in reasons.items())
        if OUT_OF_TIME in reasons:
            shown += "; give a longer --budget"
        return create_unknown("measurements", shown)
    if runtime.imported is None or runtime.imported.error is not None:
        return create_unknown("measurements", NOT_IMPORTED)
    return create_check("measurements", "all came to their end", {})
