"""The environment a worker starts in: set before OneFlow is imported, in this one place.

`stock` leaves everything untouched. `tuned` sets, and the record keeps,

    OMP_NUM_THREADS              the cores this process may use (OneFlow's default is cores - 2)
    ONEFLOW_ENABLE_ONEDNN_OPTS   0: its element-wise oneDNN path measured slower (docs/runtime.md)
    OPENBLAS_CORETYPE            Haswell, where OneFlow's OpenBLAS picks a kernel without AVX2 on a
                                 processor that has AVX2
    GLOG_minloglevel             2: no driver warnings on a machine without a GPU

Anything else is the path of a runtime profile (runtime_profile.py), whose variables of the
contender's mode are set; its graph options stand below the contender's own.

A variable the user has set already is left as it is; a contender's own variables win over all.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from ..config import Contender
from ..plan.modes import find_mode
from ..record.machine import read_cpu
from .blas_kernel import find_blas_kernel
from .foreign_python import add_sources
from .runtime_profile import (
    RuntimeProfile,
    check_profile_machine,
    describe_profile_machine,
    load_runtime_profile,
)

TUNED, STOCK = "tuned", "stock"
AVX2_KERNELS = frozenset(
    ["haswell", "zen", "excavator", "skylakex", "cooperlake", "sapphirerapids"]
)


def needs_core_type(kernel: Optional[str], cpu_flags: List[str]) -> bool:
    """True where the processor has AVX2 and FMA and the chosen kernel does not use them."""
    has_avx2 = {"avx2", "fma"} <= set(cpu_flags)
    return has_avx2 and kernel is not None and kernel.lower() not in AVX2_KERNELS


def create_tuned_variables(environment: Dict[str, str], kernel: Optional[str]) -> Dict[str, str]:
    """The variables `tuned` adds to `environment`; those the user has set are not among them.

    `kernel` is what OneFlow's BLAS chooses in `environment` by itself.
    """
    variables = {
        "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
        "ONEFLOW_ENABLE_ONEDNN_OPTS": "0",
        "GLOG_minloglevel": "2",
    }
    if needs_core_type(kernel, read_cpu()["flags"]):
        variables["OPENBLAS_CORETYPE"] = "Haswell"
    return {name: value for name, value in variables.items() if name not in environment}


class RuntimeResolver:
    """Full environments for contenders; asks the BLAS once per interpreter and core type."""

    def __init__(self, environment: Optional[Dict[str, str]] = None) -> None:
        self._base = dict(os.environ if environment is None else environment)
        self._tuned: Dict[str, Dict[str, str]] = {}
        self._kernels: Dict[Tuple[str, Optional[str]], Optional[str]] = {}
        self._profiles: Dict[Tuple[str, str], RuntimeProfile] = {}

    @property
    def base(self) -> Dict[str, str]:
        """The user's own environment."""
        return dict(self._base)

    def resolve(self, contender: Contender, python: str) -> Dict[str, str]:
        """The environment of a contender's processes; another interpreter finds the sources in it.

        Raises InputError for a runtime profile that cannot be read or is another machine's.
        """
        environment = self._merge(contender, python)
        return environment if contender.python is None else add_sources(environment)

    def _merge(self, contender: Contender, python: str) -> Dict[str, str]:
        variables = self._list_variables(contender, python)
        return {**self._base, **variables, **contender.env}

    def complete(self, contender: Contender, python: str) -> Contender:
        """The contender with the graph options of its runtime profile, if it has one.

        Its own options win. Raises InputError as `resolve`.
        """
        if contender.runtime in (TUNED, STOCK) or not find_mode(contender.mode).is_compiled:
            return contender
        options = self._load_profile(contender.runtime, python).graph_options
        merged = {**options, **contender.graph_options}
        return contender.model_copy(update={"graph_options": merged})

    def _list_variables(self, contender: Contender, python: str) -> Dict[str, str]:
        """What the runtime adds to the user's environment."""
        if contender.runtime == STOCK:
            return {}
        if contender.runtime == TUNED:
            if python not in self._tuned:
                kernel = self._ask_kernel(python, self._base)
                self._tuned[python] = create_tuned_variables(self._base, kernel)
            return self._tuned[python]
        variables = self._load_profile(contender.runtime, python).variables_of(contender.mode)
        return {name: value for name, value in variables.items() if name not in self._base}

    def _load_profile(self, path: str, python: str) -> RuntimeProfile:
        if (path, python) not in self._profiles:
            profile = load_runtime_profile(Path(path))
            check_profile_machine(Path(path), profile, describe_profile_machine(python))
            self._profiles[path, python] = profile
        return self._profiles[path, python]

    def find_kernel(self, contender: Contender, python: str) -> Optional[str]:
        """The BLAS kernel a contender will run on; None where OneFlow's BLAS does not say."""
        return self._ask_kernel(python, self._merge(contender, python))

    def _ask_kernel(self, python: str, environment: Dict[str, str]) -> Optional[str]:
        key = (python, environment.get("OPENBLAS_CORETYPE"))
        if key not in self._kernels:
            self._kernels[key] = find_blas_kernel(python, environment)
        return self._kernels[key]
