"""Judges whether OneFlow can be imported, what versions meet, and what ended a worker; pure."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

from oneflow_bench.doctor import thresholds
from oneflow_bench.doctor.import_failure import (
    explain_import,
    has_old_numpy,
    has_oneflow,
    has_supported_python,
)
from oneflow_bench.doctor.readings import (
    IdentityReading,
    ImportReading,
    MachineReading,
    RuntimeReading,
)
from oneflow_bench.doctor.result import ATTENTION, NOT_IMPORTED, OK, UNKNOWN, Check


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
        return Check(name="oneflow_import", status=UNKNOWN, evidence="time ran out before it ended")
    if imported.error is None:
        return Check(
            name="oneflow_import",
            status=OK,
            evidence=f"OneFlow {imported.oneflow} in {imported.import_s or 0:.1f} s",
            measured={"oneflow": imported.oneflow, "import_s": imported.import_s},
        )
    cause, remedy = explain_import(runtime.identity, imported)
    return Check(
        name="oneflow_import",
        status=ATTENTION,
        evidence=f"import oneflow fails: {cause}",
        measured={"error": imported.error},
        consequence="nothing can be run",
        remedy=remedy,
    )


def check_versions(runtime: RuntimeReading) -> Check:
    """OneFlow, Python, NumPy, cuDNN and cuBLAS: whether they fit each other."""
    identity, imported = runtime.identity, runtime.imported
    if identity is None:
        return Check(
            name="versions", status=UNKNOWN, evidence="the interpreter did not say what it has"
        )
    parts = [f"Python {identity.python}"]
    parts += [f"{name} {version}" for name, version in sorted(identity.installed.items())]
    problems = _find_misfits(identity) + (_find_cuda_misfits(imported) if imported else [])
    return Check(
        name="versions",
        status=ATTENTION if problems else OK,
        evidence=", ".join(parts),
        measured={"python": identity.python, **identity.installed},
        consequence="; ".join(consequence for consequence, _ in problems),
        remedy="; ".join(remedy for _, remedy in problems),
    )


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
        return Check(name="gpu", status=UNKNOWN, evidence=f"{said}; {NOT_IMPORTED}")
    measured = {"gpus": imported.gpus, "driver": driver, "oneflow_cuda": imported.oneflow_cuda}
    if driver is None or imported.gpus:
        evidence = f"OneFlow sees {imported.gpus}, driver {driver}" if driver else "no NVIDIA GPU"
        return Check(name="gpu", status=OK, evidence=evidence, measured=measured)
    built = imported.oneflow_cuda
    return Check(
        name="gpu",
        status=ATTENTION,
        evidence=f"driver {driver} is loaded, and OneFlow sees no GPU"
        + (f"; it is built for CUDA {built // 1000}.{built % 1000 // 10}" if built else ""),
        measured=measured,
        consequence="everything runs on the processor",
        remedy="a driver for that CUDA or later, and CUDA_VISIBLE_DEVICES not empty"
        if built
        else "a CUDA build of OneFlow (pip install oneflow)",
    )


def check_measurements(runtime: RuntimeReading) -> Check:
    """Whether OneFlow ended a worker, or time ran out."""
    crashes = [failure for failure in runtime.failures if failure.crashed]
    if crashes:
        return Check(
            name="measurements",
            status=ATTENTION,
            evidence="; ".join(f"{f.measurement}: {f.reason}" for f in crashes),
            measured={"crashes": len(crashes)},
            consequence="a training run may end the same way",
            remedy="unset the ONEFLOW_, OPENBLAS_ and LD_ variables one by one; reinstall OneFlow",
        )
    if runtime.failures:
        reasons: Dict[str, List[str]] = {}
        for failure in runtime.failures:
            reasons.setdefault(failure.reason, []).append(failure.measurement)
        said = "; ".join(f"{', '.join(which)}: {reason}" for reason, which in reasons.items())
        return Check(
            name="measurements",
            status=UNKNOWN,
            evidence=f"{said}; give a longer --budget where time was up",
        )
    if runtime.imported is None or runtime.imported.error is not None:
        return Check(name="measurements", status=UNKNOWN, evidence=NOT_IMPORTED)
    return Check(name="measurements", status=OK, evidence="all came to their end")
