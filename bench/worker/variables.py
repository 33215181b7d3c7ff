"""Environment variables: those known to steer OneFlow's speed, and those that nobody reads.

A variable with a slip in its name changes nothing and says nothing, so a comparison over it would
find two equal programs equal and be believed.
"""

from __future__ import annotations

import difflib
import mmap
import subprocess
from pathlib import Path
from typing import Iterable, List, Mapping, Optional

from ..errors import InputError
from .foreign_python import create_python_command

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
ONEFLOW = "ONEFLOW_"
# alike enough to be a slip of the pen; KMP_BLOCKTIME and KMP_AFFINITY are far below it
_SLIP = 0.88
_LOOK_TIMEOUT_S = 60.0
_WHERE = "import importlib.util as u; print('found:' + u.find_spec('oneflow').origin)"


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
        if name in ours:
            if files is not None and not _is_in(name, files):
                raise InputError(
                    f"env.{name} was given and the OneFlow of {python} reads no variable of that "
                    f"name; {hint}"
                )
        elif close:
            raise InputError(f"env.{name} was given and nothing reads it; {hint}")


def _list_files(python: str, environment: Mapping[str, str]) -> Optional[List[Path]]:
    """The libraries and sources of an interpreter's OneFlow; None where it does not say."""
    try:
        done = subprocess.run(
            create_python_command(python, _WHERE),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_LOOK_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    place = done.stdout.decode("utf-8", "replace").strip().rpartition("found:")[2]
    if not place:
        return None
    package = Path(place).parent
    libraries = [*package.parent.glob("oneflow.libs/liboneflow*"), *package.glob("*.so")]
    return [*package.rglob("*.py"), *libraries]


def _is_in(name: str, files: Iterable[Path]) -> bool:
    """Whether one of the files holds the name, and not as a part of a longer one."""
    wanted = name.encode()
    for path in files:
        if path.stat().st_size == 0:
            continue
        with open(path, "rb") as stream, mmap.mmap(
            stream.fileno(), 0, access=mmap.ACCESS_READ
        ) as content:
            if _holds(content, wanted):
                return True
    return False


def _holds(content: mmap.mmap, wanted: bytes) -> bool:
    place = content.find(wanted)
    while place >= 0:
        end = place + len(wanted)
        around = content[max(0, place - 1) : place] + content[end : end + 1]
        if not any(byte in b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_" for byte in around):
            return True
        place = content.find(wanted, place + 1)
    return False
