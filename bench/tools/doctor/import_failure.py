"""Why OneFlow cannot be imported, and what to do, from what the interpreter said. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple, Optional, Tuple

from .readings import IdentityReading, ImportReading
from .thresholds import NUMPY_MAJORS, ONEFLOW_PYTHONS


class Explanation(NamedTuple):
    cause: str
    remedy: str


# the package on PyPI that holds a library the OneFlow wheel looks for beside itself
LIBRARY_PACKAGES = {
    "libcudnn": "nvidia-cudnn-cu11>=8.6,<9",
    "libcublas": "nvidia-cublas-cu11>=11.10,<12",
    "libnvblas": "nvidia-cublas-cu11>=11.10,<12",
}
_MISSING_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file")


def explain_import(identity: Optional[IdentityReading], imported: ImportReading) -> Explanation:
    """The cause of a failed import, in a sentence part, and its remedy."""
    said = f"{imported.error}\n{imported.log_tail}"
    missing = _MISSING_LIBRARY.search(said)
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
    module = re.search(r"No module named '([\w.]+)'", said)
    if module:
        return Explanation(
            f"the module {module.group(1)} that OneFlow imports is missing",
            f"pip install {module.group(1).split('.')[0]}",
        )
    if "_descriptor" in said or "Descriptors cannot" in said:
        return Explanation("its protobuf is too new", "pip install 'protobuf>=3.9.2,<4'")
    return Explanation(
        (imported.error or "nothing was said").splitlines()[0],
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


def _explain_absence(identity: IdentityReading) -> Explanation:
    lowest, highest = (".".join(map(str, version)) for version in ONEFLOW_PYTHONS)
    if not has_supported_python(identity):
        return Explanation(
            f"OneFlow is not installed, and has no wheel for Python {identity.python}",
            f"give --python a Python {lowest} to {highest}, and pip install oneflow==0.9.0 there",
        )
    return Explanation("OneFlow is not installed there", "pip install oneflow==0.9.0")


def has_oneflow(identity: IdentityReading) -> bool:
    """Whether a distribution of OneFlow, a nightly one included, is installed."""
    return any(name.startswith("oneflow") for name in identity.installed)


def has_old_numpy(identity: IdentityReading) -> bool:
    """Whether the NumPy installed, if one is, is one that OneFlow is built for."""
    version = identity.installed.get("numpy")
    return version is None or int(version.split(".")[0]) in NUMPY_MAJORS


def has_supported_python(identity: IdentityReading) -> bool:
    """Whether OneFlow has wheels for that Python."""
    lowest, highest = ONEFLOW_PYTHONS
    return lowest <= parse_version(identity.python)[:2] <= highest


def parse_version(text: str) -> Tuple[int, ...]:
    """The leading numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
