"""What may make OneFlow faster on a CPU: the settings that are tried, each with its reason.

Which of them do anything in OneFlow 0.9.0 was found by running it; one that does nothing here costs
the race a process or two and is listed as such. Two things are no candidates: gradient
accumulation, because it splits the batch and so is a part of the workload, and the fused update of
eager Adam, which OneFlow has for CUDA alone.
"""

from __future__ import annotations

import os
import platform
from ctypes.util import find_library
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from pydantic import BaseModel, ConfigDict, Field

from ...plan.graph_options import OptionValue, format_option
from ...record.machine import read_cpu

EAGER, GRAPH = "eager", "graph"
BOTH = (EAGER, GRAPH)
FEED = "feed"
STOCK_NAME = "stock"  # of the combination of no settings
_AVX2 = frozenset(["avx2", "fma"])
_AVX512 = frozenset(["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"])
_HUGE_PAGES_GLIBC = (2, 35)  # the first whose malloc knows the tunable


class Setting(BaseModel):
    """Something that can be switched: variables, options of a graph's config, or the feed.

    Of settings with one `family`, such as two values of a variable, only one can be had at a time.
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
    """What decides which settings make sense on a machine."""

    cpu_flags: Sequence[str]
    cores: int
    glibc: Tuple[int, ...] = ()
    allocators: Sequence[str] = ()  # file names of other allocators that the linker finds


def read_facts() -> Facts:
    """Of this machine."""
    cpu = read_cpu()
    library, version = platform.libc_ver()
    glibc = tuple(int(part) for part in version.split(".")[:2]) if library == "glibc" else ()
    found = [find_library(name) for name in ("jemalloc", "tcmalloc_minimal")]
    return Facts(cpu["flags"], cpu["cores"], glibc, [name for name in found if name])


def name_together(settings: Sequence[Setting]) -> str:
    """How a combination is called."""
    return " ".join(setting.name for setting in settings) or STOCK_NAME


def merge_variables(settings: Sequence[Setting]) -> Dict[str, str]:
    """The variables of a combination."""
    return {k: v for setting in settings for k, v in setting.variables.items()}


def merge_graph_options(settings: Sequence[Setting]) -> Dict[str, OptionValue]:
    """The graph options of a combination."""
    return {k: v for setting in settings for k, v in setting.graph_options.items()}


def find_feed(settings: Sequence[Setting]) -> Optional[str]:
    """The feed of a combination, where it says one."""
    return next((setting.feed for setting in settings if setting.feed), None)


def list_settings(
    mode: str, feed: str, facts: Facts, environment: Optional[Dict[str, str]] = None
) -> List[Setting]:
    """The settings of a mode that make sense here, those that promise most first.

    Further values of a variable stand behind the runtime's settings: a short search had better know
    what another variable does than which of three fast kernels is the fastest.

    Variables that `environment` has are left out: they are the user's, for stock and for a profile.
    """
    environment = dict(os.environ) if environment is None else environment
    every = [
        *_put_first_values_first([*_list_blas(facts), *_list_runtime(facts)]),
        *_list_graph(),
        *_list_feed(feed),
        *_list_allocator(facts),
        *_list_doubtful(),
    ]
    return [
        setting
        for setting in every
        if mode in setting.modes and not set(setting.variables) & set(environment)
    ]


def _put_first_values_first(settings: Sequence[Setting]) -> List[Setting]:
    """The first setting of each family, then the others; otherwise as they were."""
    families = [setting.family for setting in settings]
    further = [family in families[:place] for place, family in enumerate(families)]
    return [s for is_further in (False, True) for s, f in zip(settings, further) if f == is_further]


def create_variable(
    name: str, value: str, why: str, modes: Tuple[str, ...] = BOTH, compiles: bool = False
) -> Setting:
    """A setting of one variable; its family are the other values."""
    return Setting(
        name=f"{name}={value}",
        family=name,
        why=why,
        variables={name: value},
        modes=modes,
        compiles=compiles,
    )


def create_option(name: str, value: OptionValue, why: str, compiles: bool = True) -> Setting:
    """A setting of one switch of a graph's config."""
    return Setting(
        name=f"{name}={format_option(value)}",
        family=name,
        why=why,
        graph_options={name: value},
        modes=(GRAPH,),
        compiles=compiles,
    )


def _list_blas(facts: Facts) -> List[Setting]:
    kernels = [
        ("Haswell", _AVX2, "AVX2 kernels, where OpenBLAS does not know the processor"),
        ("Zen", _AVX2, "AVX2 kernels with block sizes for AMD's caches"),
        ("SkylakeX", _AVX512, "AVX-512 kernels"),
    ]
    flags = set(facts.cpu_flags)
    return [
        create_variable("OPENBLAS_CORETYPE", kernel, why)
        for kernel, needed, why in kernels
        if needed <= flags
    ]


def _list_runtime(facts: Facts) -> List[Setting]:
    variable = create_variable
    settings = [
        variable(
            "ONEFLOW_ENABLE_ONEDNN_OPTS", "0", "no slow reference path in element-wise operators"
        ),
        variable(
            "OMP_NUM_THREADS",
            str(facts.cores),
            "threads on all cores; OneFlow takes two fewer by itself",
        ),
        variable(
            "ONEFLOW_VM_COMPUTE_ON_WORKER_THREAD",
            "0",
            "operators computed without a change of thread",
            modes=(EAGER,),
        ),
        variable(
            "ONEFLOW_VM_ENABLE_SCHEDULE_YIELD",
            "0",
            "the scheduler waits another way than by yielding",
            modes=(EAGER,),
        ),
        variable("OMP_WAIT_POLICY", "PASSIVE", "threads that wait leave their core to others"),
    ]
    if facts.cores > 1:
        settings += [
            variable("OMP_NUM_THREADS", "1", "no threads to start and to wait for"),
            variable("OPENBLAS_NUM_THREADS", str(facts.cores), "matrix products on all cores"),
        ]
    return settings


def _list_graph() -> List[Setting]:
    def runtime(name: str, value: str, why: str) -> Setting:
        return create_variable(name, value, why, modes=(GRAPH,))

    return [
        create_option("allow_fuse_add_to_output", True, "additions made where a result is written"),
        create_variable(
            "ONEFLOW_MLIR_ENABLE_ROUND_TRIP",
            "1",
            "the graph goes through MLIR, whose passes drop operators",
            modes=(GRAPH,),
            compiles=True,
        ),
        runtime("ONEFLOW_KERNEL_DISABLE_BLOB_ACCESS_CHECKER", "1", "no checks around each kernel"),
        runtime("ONEFLOW_THREAD_ENABLE_LOCAL_MESSAGE_QUEUE", "1", "messages within a thread"),
        runtime("ONEFLOW_ACTOR_ENABLE_LIGHT_ACTOR", "1", "less work between two operators"),
        create_option("set_outputs_buffer_size", 3, "more results in flight", compiles=False),
    ]


def _list_feed(feed: str) -> List[Setting]:
    if feed != "loader":
        return []
    return [
        Setting(
            name="--feed graph",
            family=FEED,
            why="the loader inside the graph, which may read ahead",
            feed="graph",
            modes=(GRAPH,),
        )
    ]


def _list_allocator(facts: Facts) -> List[Setting]:
    settings = [
        Setting(
            name="MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=68719476736",
            family="MALLOC_MMAP_MAX_",
            why="freed memory is kept, so that its pages need not be mapped and cleared again",
            variables={"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "68719476736"},
        ),
        create_variable("MALLOC_ARENA_MAX", "1", "one heap for all threads"),
    ]
    if facts.glibc >= _HUGE_PAGES_GLIBC:
        settings.append(
            create_variable(
                "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", "large pages for what malloc gives"
            )
        )
    settings += [
        create_variable("LD_PRELOAD", library, "another allocator") for library in facts.allocators
    ]
    return settings


def _list_doubtful() -> List[Setting]:
    """Switches of a graph that change nothing on a CPU in OneFlow 0.9.0, or fail; cheap to see."""
    reasons = {
        "enable_amp": "half precision where operators have it",
        "allow_fuse_cast_scale": "casts and scales in one",
        "allow_fuse_model_update_ops": "the update in one operator",
        "enable_multi_tensor_update": "one update for many parameters",
        "enable_fused_model_update_cast": "the update's casts in it",
    }
    return [create_option(name, True, why) for name, why in reasons.items()]
