"""Judges whether OneFlow can be imported, what versions meet, and what ended a worker; pure."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

from . import thresholds
from .import_failure import explain_import, has_old_numpy, has_oneflow, has_supported_python
from .readings import IdentityReading, ImportReading, MachineReading, RuntimeReading
from .result import NOT_IMPORTED, Check, Finding, create_check, create_unknown
from .subject import OUT_OF_TIME


def check_installation(machine: MachineReading, runtime: RuntimeReading) -> List[Check]:
    """The import, the versions, the GPU, and whether every measurement came to its end."""
    return [
        check_import(runtime),
        check_versions(runtime),
        check_gpu(machine, runtime.imported),
        check_measurements(runtime),
    ]


def check_import(runtime: RuntimeReading) -> Check:
    """Whether the interpreter imports OneFlow, and if not, why."""
    imported = runtime.imported
    if imported is None:
        return create_unknown("oneflow_import", "time ran out before it ended")
    if imported.error is None:
        evidence = f"OneFlow {imported.oneflow} in {imported.import_s or 0:.1f} s"
        measured = {"oneflow": imported.oneflow, "import_s": imported.import_s}
        return create_check("oneflow_import", evidence, measured, None)
    cause, remedy = explain_import(runtime.identity, imported)
    return create_check(
        "oneflow_import",
        f"import oneflow fails: {cause}",
        {"error": imported.error},
        Finding("nothing can be run", remedy),
    )


def check_versions(runtime: RuntimeReading) -> Check:
    """OneFlow, Python, NumPy, cuDNN and cuBLAS: whether they fit each other."""
    identity, imported = runtime.identity, runtime.imported
    if identity is None:
        return create_unknown("versions", "the interpreter did not say what it has")
    parts = [f"Python {identity.python}"]
    parts += [f"{name} {version}" for name, version in sorted(identity.installed.items())]
    evidence = ", ".join(parts) + (_describe_cuda(imported) if imported else "")
    misfits = _find_misfits(identity) + (_find_cuda_misfits(imported) if imported else [])
    finding = Finding(
        "; ".join(consequence for consequence, _ in misfits),
        "; ".join(remedy for _, remedy in misfits),
    )
    measured = {"python": identity.python, **identity.installed}
    return create_check("versions", evidence, measured, finding if misfits else None)


def _describe_cuda(imported: ImportReading) -> str:
    """What OneFlow was built for, and what it has loaded."""
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


def _find_misfits(identity: IdentityReading) -> List[Tuple[str, str]]:
    problems: List[Tuple[str, str]] = []
    if not has_oneflow(identity):
        return problems  # said by the import
    if not has_supported_python(identity):
        lowest, highest = (".".join(map(str, v)) for v in thresholds.ONEFLOW_PYTHONS)
        problems.append(
            (
                "no wheel of OneFlow is made for this Python",
                f"an interpreter of {lowest} to {highest}",
            )
        )
    if not has_old_numpy(identity):
        problems.append(("OneFlow is built for NumPy 1", "pip install 'numpy<2'"))
    return problems


def _find_cuda_misfits(imported: ImportReading) -> List[Tuple[str, str]]:
    """cuDNN and cuBLAS as loaded, held against the CUDA that OneFlow was built for."""
    if imported.error is not None or not imported.oneflow_cuda:
        return []
    problems = []
    cuda = imported.oneflow_cuda // 1000
    if imported.cudnn and imported.cudnn[0] // 1000 not in thresholds.CUDNN_MAJORS:
        problems.append(
            (
                f"cuDNN {imported.cudnn[0]} is loaded, OneFlow is built for 8",
                "pip install 'nvidia-cudnn-cu11>=8.6,<9'",
            )
        )
    elif imported.cudnn and imported.cudnn[1] // 1000 != cuda:
        problems.append(
            (
                f"cuDNN is made for CUDA {imported.cudnn[1] // 1000}, OneFlow for {cuda}",
                "pip install 'nvidia-cudnn-cu11>=8.6,<9'",
            )
        )
    if imported.cublas and imported.cublas[0] not in thresholds.CUBLAS_MAJORS:
        problems.append(
            (
                f"cuBLAS {imported.cublas[0]} is loaded, OneFlow is built for 11",
                "pip install 'nvidia-cublas-cu11>=11.10,<12'",
            )
        )
    return problems


def check_gpu(machine: MachineReading, imported: Optional[ImportReading]) -> Check:
    """Whether OneFlow sees the GPUs that the machine has."""
    driver = machine.nvidia_driver
    if imported is None or imported.error is not None:
        said = f"NVIDIA driver {driver}" if driver else "no NVIDIA driver"
        return create_unknown("gpu", f"{said}; {NOT_IMPORTED}")
    built, finding = imported.oneflow_cuda, None
    evidence = f"OneFlow sees {imported.gpus}, driver {driver}" if driver else "no NVIDIA GPU"
    if driver is not None and not imported.gpus:
        evidence = f"driver {driver} is loaded, and OneFlow sees no GPU"
        if built:
            evidence += f"; it is built for CUDA {_format_cuda(built)}"
        finding = Finding(
            "everything runs on the processor",
            "a driver for that CUDA or later, and CUDA_VISIBLE_DEVICES not empty"
            if built
            else "a CUDA build of OneFlow (pip install oneflow)",
        )
    measured = {"gpus": imported.gpus, "driver": driver, "oneflow_cuda": built}
    return create_check("gpu", evidence, measured, finding)


def check_measurements(runtime: RuntimeReading) -> Check:
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
        said = "; ".join(f"{', '.join(which)}: {reason}" for reason, which in reasons.items())
        if OUT_OF_TIME in reasons:
            said += "; give a longer --budget"
        return create_unknown("measurements", said)
    if runtime.imported is None or runtime.imported.error is not None:
        return create_unknown("measurements", NOT_IMPORTED)
    return create_check("measurements", "all came to their end", {}, None)
