"""Settings that the user gives, `--try NAME=VALUE` and `--only PATTERN`, checked beforehand."""

from __future__ import annotations

import fnmatch
from typing import Dict, List, Mapping, Sequence

from oneflow_bench.contenders import OPTION_PREFIXES
from oneflow_bench.errors import InputError
from oneflow_bench.graph_options import parse_option, suggest
from oneflow_bench.tuning.candidates import Setting, create_option, create_variable

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
_WHY = "given by --try"


def parse_settings(texts: Sequence[str], environment: Mapping[str, str]) -> List[Setting]:
    """Settings from NAME=VALUE, a variable or an option of a graph's config.

    Raises InputError for what is neither, for an unknown variable, and for one that the user's
    `environment` sets, which a profile would not replace. Whether OneFlow knows an option and takes
    its value only OneFlow can say.
    """
    settings: Dict[str, Setting] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name or not value:
            raise InputError(
                f"--try {text} is not NAME=VALUE, such as OMP_NUM_THREADS=1 or "
                "allow_fuse_add_to_output=true"
            )
        setting = _parse_one(name, value, environment)
        settings[setting.name] = setting
    return list(settings.values())


def _parse_one(name: str, value: str, environment: Mapping[str, str]) -> Setting:
    if name.startswith(OPTION_PREFIXES):
        return create_option(name, parse_option(value), _WHY, compiles=False)
    if name not in KNOWN_VARIABLES:
        raise InputError(
            f"--try {name}={value}: {name} is no variable known to change the speed of OneFlow, "
            f"and no option of a graph; {_suggest(name)}"
        )
    if name in environment:
        raise InputError(
            f"--try {name}={value}: {name}={environment[name]} is set in this shell, which stands "
            f"above any profile; unset {name} to search over it"
        )
    return create_variable(name, value, _WHY)


def _suggest(name: str) -> str:
    hint = suggest(name.upper(), list(KNOWN_VARIABLES))
    return hint if hint.startswith("did") else "docs/tune.md lists what is known"


def select_settings(
    settings: Sequence[Setting], patterns: Sequence[str], known: Sequence[Setting]
) -> List[Setting]:
    """The settings whose name fits one of the wildcard `patterns`; all where none is given.

    `known` are those of every mode: a pattern that fits none of them raises InputError.
    """
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(setting.name, pattern) for setting in known):
            raise InputError(
                f"--only {pattern} fits no setting; bench tune --list shows those of this machine"
            )
    if not patterns:
        return list(settings)
    return [s for s in settings if any(fnmatch.fnmatchcase(s.name, p) for p in patterns)]
