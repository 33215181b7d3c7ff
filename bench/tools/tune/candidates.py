"""The settings that may make OneFlow faster on a CPU, each with its reason, and the user's own.

Two things are no candidates. Gradient accumulation splits the batch, so it is a part of the
workload. OneFlow has the fused update of eager Adam for CUDA alone.
"""

from __future__ import annotations

import fnmatch
import os
import platform
from ctypes.util import find_library
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from pydantic import BaseModel, ConfigDict, Field

from ...config import Contender, Workload
from ...errors import InputError
from ...plan.contenders import OPTION_PREFIXES
from ...plan.graph_options import OptionValue, format_option, parse_option, suggest
from ...record.machine import read_cpu
from ...worker.environment import KNOWN_VARIABLES

EAGER, GRAPH = "eager", "graph"
BOTH = (EAGER, GRAPH)
STOCK_NAME = "stock"  # of the combination of no settings
_AVX2 = frozenset(["avx2", "fma"])
_AVX512 = frozenset(["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"])
_HUGE_PAGES_GLIBC = (2, 35)  # the first whose malloc knows the tunable


class Setting(BaseModel):
    """Variables, options of a graph's config, or a feed, switched together.

    Only one setting of a `family`, such as the values of one variable, can be used at a time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str  # as it is shown: OMP_NUM_THREADS=2
    family: str
    why: str  # it may help, a sentence part
    variables: Dict[str, str] = Field(default_factory=dict)
    graph_options: Dict[str, OptionValue] = Field(default_factory=dict)
    feed: Optional[str] = None
    modes: Tuple[str, ...] = BOTH
    compiles: bool = False  # it acts through the compiled graph and nothing else


class Facts(NamedTuple):
    """The parts of a machine that decide which settings make sense on it."""

    cpu_flags: Sequence[str]
    cores: int
    glibc: Tuple[int, ...] = ()
    allocators: Sequence[str] = ()  # file names of other allocators that the linker finds


class Program(NamedTuple):
    """A combination of settings that can be run."""

    name: str
    settings: Sequence[Setting]
    contender: Contender
    workload: Workload


def create_program(
    mode: str, settings: Sequence[Setting], workload: Workload, python: Optional[str] = None
) -> Program:
    """The stock runtime of a mode with `settings` over it; its contender has the mode's name."""
    feeds = [setting.feed for setting in settings if setting.feed]
    contender = Contender(
        name=mode,
        mode=mode,
        runtime=STOCK_NAME,
        env={k: v for setting in settings for k, v in setting.variables.items()},
        graph_options={k: v for setting in settings for k, v in setting.graph_options.items()},
        python=python,
    )
    name = " ".join(setting.name for setting in settings) or STOCK_NAME
    fed = workload.model_copy(update={"feed": feeds[0]} if feeds else {})
    return Program(name, list(settings), contender, fed)


def create_variable(
    name: str, value: str, why: str, modes: Tuple[str, ...] = BOTH, compiles: bool = False
) -> Setting:
    """A setting of one variable; its family are the other values."""
    return Setting(
        name=f"{name}={value}", family=name, why=why, variables={name: value}, modes=modes,
        compiles=compiles,
    )  # fmt: skip


def create_option(name: str, value: OptionValue, why: str, compiles: bool = True) -> Setting:
    """A setting of one switch of a graph's config."""
    return Setting(
        name=f"{name}={format_option(value)}", family=name, why=why, graph_options={name: value},
        modes=(GRAPH,), compiles=compiles,
    )  # fmt: skip


def read_facts() -> Facts:
    """The facts of this machine."""
    cpu = read_cpu()
    library, version = platform.libc_ver()
    glibc = tuple(int(part) for part in version.split(".")[:2]) if library == "glibc" else ()
    found = [find_library(name) for name in ("jemalloc", "tcmalloc_minimal")]
    return Facts(cpu["flags"], cpu["cores"], glibc, [name for name in found if name])


def list_settings(
    mode: str, feed: str, facts: Facts, environment: Optional[Mapping[str, str]] = None
) -> List[Setting]:
    """The settings of a mode that make sense on a machine, the most promising first.

    Further values of a variable stand behind the first values of all: a short search learns more
    from another variable than from the second of three fast kernels. Variables that `environment`
    has are left out: they are the user's, for stock and for a profile.
    """
    taken = set(os.environ if environment is None else environment)
    values = _list_variables(facts)
    families = [setting.family for setting in values]
    further = [setting for i, setting in enumerate(values) if setting.family in families[:i]]
    values.sort(key=lambda setting: setting in further)
    every = [*values, *_list_graph(feed), *_list_allocators(facts), *_list_doubtful()]
    return [s for s in every if mode in s.modes and not taken & set(s.variables)]


def _list_variables(facts: Facts) -> List[Setting]:
    flags, cores, several = set(facts.cpu_flags), str(facts.cores), facts.cores > 1
    rows: List[Tuple[bool, str, str, Tuple[str, ...], str]] = [
        (flags >= _AVX2, "OPENBLAS_CORETYPE", "Haswell", BOTH,
         "AVX2 kernels, if OpenBLAS does not know the processor"),
        (flags >= _AVX2, "OPENBLAS_CORETYPE", "Zen", BOTH,
         "AVX2 kernels with block sizes for AMD's caches"),
        (flags >= _AVX512, "OPENBLAS_CORETYPE", "SkylakeX", BOTH, "AVX-512 kernels"),
        (True, "ONEFLOW_ENABLE_ONEDNN_OPTS", "0", BOTH,
         "no slow reference path in element-wise operators"),
        (True, "OMP_NUM_THREADS", cores, BOTH,
         "threads on all cores; OneFlow takes two fewer by itself"),
        (True, "ONEFLOW_VM_COMPUTE_ON_WORKER_THREAD", "0", (EAGER,),
         "operators computed without a change of thread"),
        (True, "ONEFLOW_VM_ENABLE_SCHEDULE_YIELD", "0", (EAGER,),
         "the scheduler waits without yielding"),
        (True, "OMP_WAIT_POLICY", "PASSIVE", BOTH, "threads that wait leave their core to others"),
        (several, "OMP_NUM_THREADS", "1", BOTH, "no threads to start and to wait for"),
        (several, "OPENBLAS_NUM_THREADS", cores, BOTH, "matrix products on all cores"),
    ]  # fmt: skip
    return [create_variable(name, value, why, m) for here, name, value, m, why in rows if here]


def _list_graph(feed: str) -> List[Setting]:
    def variable(name: str, why: str, compiles: bool = False) -> Setting:
        return create_variable(name, "1", why, (GRAPH,), compiles)

    why = "the loader inside the graph, which may read ahead"
    inside = Setting(name="--feed graph", family="feed", why=why, feed="graph", modes=(GRAPH,))
    return [
        create_option("allow_fuse_add_to_output", True, "additions made into their result"),
        variable("ONEFLOW_MLIR_ENABLE_ROUND_TRIP", "the passes of MLIR drop operators", True),
        variable("ONEFLOW_KERNEL_DISABLE_BLOB_ACCESS_CHECKER", "no checks around each kernel"),
        variable("ONEFLOW_THREAD_ENABLE_LOCAL_MESSAGE_QUEUE", "messages within a thread"),
        variable("ONEFLOW_ACTOR_ENABLE_LIGHT_ACTOR", "less work between two operators"),
        create_option("set_outputs_buffer_size", 3, "more results in flight", compiles=False),
        *([inside] if feed == "loader" else []),
    ]


def _list_allocators(facts: Facts) -> List[Setting]:
    kept = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "68719476736"}
    why = "freed memory is kept, so that its pages need not be mapped and cleared again"
    name = " ".join(f"{k}={v}" for k, v in kept.items())
    pages = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", "large pages for what malloc gives")
    return [
        Setting(name=name, family="MALLOC_MMAP_MAX_", why=why, variables=kept),
        create_variable("MALLOC_ARENA_MAX", "1", "one heap for all threads"),
        *([create_variable(*pages)] if facts.glibc >= _HUGE_PAGES_GLIBC else []),
        *(create_variable("LD_PRELOAD", one, "another allocator") for one in facts.allocators),
    ]


def _list_doubtful() -> List[Setting]:
    """Switches of a graph that change nothing on a CPU in OneFlow 0.9.0, or fail; cheap to see."""
    reasons = {
        "enable_amp": "half precision, if an operator has it",
        "allow_fuse_cast_scale": "casts and scales in one",
        "allow_fuse_model_update_ops": "the update in one operator",
        "enable_multi_tensor_update": "one update for many parameters",
        "enable_fused_model_update_cast": "the update's casts in it",
    }
    return [create_option(name, True, why) for name, why in reasons.items()]


def parse_settings(texts: Sequence[str], environment: Mapping[str, str]) -> List[Setting]:
    """The user's settings from NAME=VALUE, a variable or an option of a graph's config.

    Raises InputError for another form, for an unknown variable, and for one that the user's
    `environment` sets, which a profile would not replace. Only OneFlow can say whether it knows an
    option and takes its value.
    """
    settings = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name or not value:
            raise InputError(
                f"--try {text} is not NAME=VALUE, such as OMP_NUM_THREADS=1 or "
                "allow_fuse_add_to_output=true"
            )
        setting = _parse_one(name, value, environment)
        settings[setting.name] = setting
    return list(settings.values())


def _parse_one(name: str, value: str, environment: Mapping[str, str]) -> Setting:
    why = "given by --try"
    if name.startswith(OPTION_PREFIXES):
        return create_option(name, parse_option(value), why, compiles=False)
    if name not in KNOWN_VARIABLES:
        hint = suggest(name.upper(), list(KNOWN_VARIABLES))
        raise InputError(
            f"--try {name}={value}: {name} is no variable known to change the speed of OneFlow, "
            "and no option of a graph; "
            + (hint if hint.startswith("did") else "docs/tune.md lists what is known")
        )
    if name in environment:
        raise InputError(
            f"--try {name}={value}: {name}={environment[name]} is set in this shell, which stands "
            f"above any profile; unset {name} to search over it"
        )
    return create_variable(name, value, why)


def select_settings(
    settings: Sequence[Setting], patterns: Sequence[str], known: Sequence[Setting]
) -> List[Setting]:
    """The settings whose name matches one of the wildcard `patterns`; all for no patterns.

    `known` are those of every mode: a pattern that matches none of them raises InputError.
    """

    def matches(setting: Setting, pattern: str) -> bool:
        return fnmatch.fnmatchcase(setting.name, pattern)

    for pattern in patterns:
        if not any(matches(setting, pattern) for setting in known):
            shown = "bench tune --list shows those of this machine"
            raise InputError(f"--only {pattern} fits no setting; {shown}")
    chosen = [s for s in settings if any(matches(s, pattern) for pattern in patterns)]
    return chosen if patterns else list(settings)
