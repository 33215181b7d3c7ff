"""The environment a worker starts in: set before OneFlow is imported, in this one place.

`stock` leaves everything untouched. `tuned` sets, and the record keeps,

    OMP_NUM_THREADS              the cores this process may use (OneFlow's default is cores - 2)
    ONEFLOW_ENABLE_ONEDNN_OPTS   0: its element-wise oneDNN path measured slower (docs/runtime.md)
    OPENBLAS_CORETYPE            Haswell, where OneFlow's OpenBLAS picks a kernel without AVX2 on a
                                 processor that has AVX2
    GLOG_minloglevel             2: no driver warnings on a machine without a GPU

Anything else is the path of a runtime profile (runtime_profile.py), whose variables of the
contender's mode are set; its graph options stand below the contender's own.

A variable the user has set already is left as it is; a contender's own variables win over all. The
BLAS of a contender is preloaded here and nowhere else. Its OpenBLAS chooses its kernel itself.
"""

from __future__ import annotations

import difflib
import mmap
import os
import re
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Optional, Tuple

from ..config import Contender
from ..errors import InputError
from ..plan.modes import find_mode
from ..record.machine import read_cpu
from .blas import PRELOAD, create_preload, find_blas
from .blas_kernel import find_blas_kernel
from .foreign_python import add_sources, ask_python
from .runtime_profile import (
    RuntimeProfile,
    check_profile_machine,
    describe_profile_machine,
    load_runtime_profile,
)

# what OneFlow 0.9.0 and the libraries below it read on a CPU, and what may change its speed
KNOWN_VARIABLES = (
    "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OPENBLAS_THREAD_TIMEOUT", "GOTO_NUM_THREADS",
    "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "OMP_PLACES", "OMP_DYNAMIC",
    "OMP_SCHEDULE", "OMP_STACKSIZE", "OMP_THREAD_LIMIT", "GOMP_SPINCOUNT", "GOMP_CPU_AFFINITY",
    "KMP_BLOCKTIME", "KMP_AFFINITY", "MKL_NUM_THREADS", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA",
    "DNNL_PRIMITIVE_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY",
    "MALLOC_ARENA_MAX", "MALLOC_ARENA_TEST", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES", "LD_PRELOAD",
    "ONEFLOW_ENABLE_ONEDNN_OPTS", "ONEFLOW_VM_COMPUTE_ON_WORKER_THREAD",
    "ONEFLOW_VM_ENABLE_SCHEDULE_YIELD", "ONEFLOW_VM_ENABLE_STREAM_WAIT",
    "ONEFLOW_VM_PENDING_HANDLE_WINDOW_SIZE", "ONEFLOW_VM_WORKER_THREAD_LIMIT",
    "ONEFLOW_ACTOR_ENABLE_LIGHT_ACTOR", "ONEFLOW_THREAD_ENABLE_LOCAL_MESSAGE_QUEUE",
    "ONEFLOW_KERNEL_DISABLE_BLOB_ACCESS_CHECKER", "ONEFLOW_KERNEL_REDUCE_SUM_USE_MATMUL",
    "ONEFLOW_ENABLE_NHWC", "ONEFLOW_DISABLE_VIEW", "ONEFLOW_EAGER_ENABLE_LOCAL_INFER_CACHE",
    "ONEFLOW_EAGER_TENSOR_INFER_CACHE_SIZE", "ONEFLOW_THRAED_LOCAL_CACHED_SIZE",
    "ONEFLOW_ENABLE_MULTI_TENSOR_MODEL_UPDATE", "ONEFLOW_FUSE_MODEL_UPDATE_CAST",
    "ONEFLOW_ENABLE_OUTDATED_OPT_FW_CHAIN_MERGE", "ONEFLOW_RAW_READER_NUM_WORKERS",
    "ONEFLOW_RAW_READER_PREFETCHING_QUEUE_DEPTH", "ONEFLOW_RAW_READER_FORCE_DIRECT_IO",
    "ONEFLOW_TENSOR_BUFFER_ALIGNED_SIZE", "ONEFLOW_TENSOR_BUFFER_GROWTH_FACTOR",
    "ONEFLOW_TENSOR_BUFFER_SHRINK_FACTOR", "ONEFLOW_TENSOR_BUFFER_POOL_SIZE_FACTOR",
    "ONEFLOW_TENSOR_BUFFER_POOL_THREAD_LOCAL_CACHE_SIZE",
    "ONEFLOW_MLIR_ENABLE_ROUND_TRIP", "ONEFLOW_MLIR_ENABLE_INFERENCE_OPTIMIZATION",
    "ONEFLOW_MLIR_ENABLE_CODEGEN_FUSERS", "ONEFLOW_MLIR_FUSE_FORWARD_OPS",
    "ONEFLOW_MLIR_FUSE_KERNEL_LAUNCH", "ONEFLOW_MLIR_FUSE_NORMALIZATION_OPS",
    "ONEFLOW_MLIR_GROUP_MATMUL", "ONEFLOW_MLIR_CSE", "ONEFLOW_MLIR_PREFER_NHWC",
)  # fmt: skip
_LOADS_CODE = (PRELOAD,)  # no file may set it
ONEFLOW = "ONEFLOW_"
# alike enough to be a slip of the pen; KMP_BLOCKTIME and KMP_AFFINITY are far below it
_SLIP = 0.88
_WHERE = "import importlib.util as u; print('found:' + u.find_spec('oneflow').origin)"


def may_a_file_set(name: str) -> bool:
    """Whether it is a known variable that loads no code; a file may come from anyone."""
    return name in KNOWN_VARIABLES and name not in _LOADS_CODE


def check_variables(names: Iterable[str], python: str, environment: Mapping[str, str]) -> None:
    """Raise InputError for a variable of OneFlow that the OneFlow of `python` does not read.

    So is one that is a slip away from a variable known to matter. Any other name may be the
    model's own and is accepted. OneFlow's files are searched for names that are not known.
    """
    unknown = [name for name in names if name not in KNOWN_VARIABLES]
    ours = [name for name in unknown if name.startswith(ONEFLOW)]
    files = _list_files(python, environment) if ours else None
    for name in unknown:
        close = difflib.get_close_matches(name.upper(), KNOWN_VARIABLES, n=1, cutoff=_SLIP)
        hint = f"did you mean {close[0]}?" if close else "see docs/runtime.md for those that matter"
        if name not in ours and close:
            raise InputError(f"env.{name} was given and nothing reads it; {hint}")
        if name in ours and files is not None and not _is_in(name, files):
            raise InputError(
                f"env.{name} was given and the OneFlow of {python} reads no variable of that "
                f"name; {hint}"
            )


def _list_files(python: str, environment: Mapping[str, str]) -> Optional[List[Path]]:
    """The libraries and sources of an interpreter's OneFlow; None where it does not say."""
    place = ask_python(python, _WHERE, environment).strip().rpartition("found:")[2]
    if not place:
        return None
    package = Path(place).parent
    libraries = [*package.parent.glob("oneflow.libs/liboneflow*"), *package.glob("*.so")]
    return [*package.rglob("*.py"), *libraries]


def _is_in(name: str, files: Iterable[Path]) -> bool:
    """Whether one of the files holds the name, and not as a part of a longer one."""
    # the name comes first, so that the search looks for it and not at every byte
    wanted = re.compile(f"{name}(?![A-Z0-9_])(?<![A-Z0-9_]{name})".encode())
    for path in files:
        if path.stat().st_size:
            with open(path, "rb") as stream, mmap.mmap(
                stream.fileno(), 0, access=mmap.ACCESS_READ
            ) as content:
                if wanted.search(content):
                    return True
    return False


TUNED, STOCK = "tuned", "stock"
CORE_TYPE = "OPENBLAS_CORETYPE"  # the kernels of OneFlow's BLAS
AVX2_KERNELS = frozenset(
    ["haswell", "zen", "excavator", "skylakex", "cooperlake", "sapphirerapids"]
)


def needs_core_type(kernel: Optional[str], cpu_flags: List[str]) -> bool:
    """True where the processor has AVX2 and FMA and the chosen kernel does not use them."""
    has_avx2 = {"avx2", "fma"} <= set(cpu_flags)
    return has_avx2 and kernel is not None and kernel.lower() not in AVX2_KERNELS


def create_tuned_variables(environment: Dict[str, str], kernel: Optional[str]) -> Dict[str, str]:
    """The variables that `tuned` adds where the user set none; `kernel` is chosen without them."""
    variables = {
        "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
        "ONEFLOW_ENABLE_ONEDNN_OPTS": "0",
        "GLOG_minloglevel": "2",
    }
    if needs_core_type(kernel, read_cpu()["flags"]):
        variables[CORE_TYPE] = "Haswell"
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
        """The environment of its processes.

        Raises InputError for a profile that cannot be used, and for a BLAS that is not found.
        """
        environment = self._merge(contender, python)
        return environment if contender.python is None else add_sources(environment)

    def _merge(self, contender: Contender, python: str) -> Dict[str, str]:
        merged = {**self._base, **self._list_variables(contender, python), **contender.env}
        library = self._find_blas(contender, python)
        return create_preload(library, merged) if library else merged

    def _find_blas(self, contender: Contender, python: str) -> Optional[Path]:
        return find_blas(contender.blas, python, self._base) if contender.blas else None

    def complete(self, contender: Contender, python: str) -> Contender:
        """The contender with its profile's graph options below its own. InputError as `resolve`."""
        self._find_blas(contender, python)
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
            found = dict(self._tuned[python])
            if contender.blas:
                found.pop(CORE_TYPE, None)
            return found
        variables = self._load_profile(contender.runtime, python).variables_of(contender.mode)
        added = {name: value for name, value in variables.items() if name not in self._base}
        for name, value in added.items():
            if name not in contender.env and not may_a_file_set(name):
                raise InputError(
                    f"the runtime profile {contender.runtime} sets {name}={value}, and a file may "
                    f"set no variable that can load code; if you trust it, set {name} in your "
                    f"environment, or say env.{name}={value} in --contender"
                )
        return added

    def _load_profile(self, path: str, python: str) -> RuntimeProfile:
        if (path, python) not in self._profiles:
            profile = load_runtime_profile(Path(path))
            check_profile_machine(Path(path), profile, describe_profile_machine(python))
            self._profiles[path, python] = profile
        return self._profiles[path, python]

    def find_kernel(self, contender: Contender, python: str) -> Optional[str]:
        """The kernel of OneFlow's BLAS for a contender, or the file of the BLAS in its place.

        None where OneFlow's BLAS does not say.
        """
        library = self._find_blas(contender, python)
        if library is not None:
            return library.name
        return self._ask_kernel(python, self._merge(contender, python))

    def _ask_kernel(self, python: str, environment: Dict[str, str]) -> Optional[str]:
        key = (python, environment.get(CORE_TYPE))
        if key not in self._kernels:
            self._kernels[key] = find_blas_kernel(python, environment)
        return self._kernels[key]
