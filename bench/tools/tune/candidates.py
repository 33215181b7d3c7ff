"""The settings that may make OneFlow faster on a CPU, each with its reason, and the user's own.

Two things are no candidates. Gradient accumulation splits the batch, so it is a part of the
workload. OneFlow has the fused update of eager Adam for CUDA alone.
"""

from __future__ import annotations

import fnmatch
import os
import platform
import sys
from ctypes.util import find_library
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from pydantic import BaseModel, Field

from ...config import Contender, Workload
from ...errors import InputError
from ...plan.contenders import OPTION_PREFIXES
from ...plan.graph_options import OptionValue, format_option, parse_option, suggest
from ...record.machine import read_cpu
from ...worker.blas import list_found
from ...worker.environment import KNOWN_VARIABLES

EAGER, GRAPH = "eager", "graph"
BOTH = (EAGER, GRAPH)
STOCK_NAME = "stock"  # of the combination of no settings
# of a graph; they change nothing on a CPU in OneFlow 0.9.0, or fail; a check of one is cheap
DOUBTFUL_OPTIONS = {
    "enable_amp": "half precision, if an operator has it",
    "allow_fuse_cast_scale": "casts and scales in one",
    "allow_fuse_model_update_ops": "the update in one operator",
    "enable_multi_tensor_update": "one update for many parameters",
    "enable_fused_model_update_cast": "the update's casts in it",
}


class Setting(BaseModel, extra="forbid", frozen=True):
    """Variables, options of a graph's config, a BLAS, or a feed, switched together.

    Only one setting of a `family`, such as the values of one variable, can be used at a time.
    """

    name: str  # as it is shown: OMP_NUM_THREADS=2
    family: str
    why: str  # it may help, a sentence part
    variables: Dict[str, str] = Field(default_factory=dict)
    graph_options: Dict[str, OptionValue] = Field(default_factory=dict)
    feed: Optional[str] = None
    blas: Optional[str] = None  # that is preloaded, as --blas takes it
    modes: Tuple[str, ...] = BOTH
    compiles: bool = False  # it acts through the compiled graph and nothing else


class Facts(NamedTuple):
    """The parts of a machine that decide which settings make sense on it."""

    cpu_flags: Sequence[str]
    cores: int
    glibc: Tuple[int, ...] = ()
    allocators: Sequence[str] = ()  # file names of other allocators that the linker finds
    blases: Sequence[str] = ()  # that are found by their name


class Program(NamedTuple):
    name: str
    settings: Sequence[Setting]
    contender: Contender
    workload: Workload


def create_program(
    mode: str, settings: Sequence[Setting], workload: Workload, python: Optional[str] = None
) -> Program:
    """The stock runtime of a mode with `settings` over it; its contender has the mode's name."""
    contender = Contender(
        name=mode,
        mode=mode,
        runtime=STOCK_NAME,
        env={k: v for setting in settings for k, v in setting.variables.items()},
        graph_options={k: v for setting in settings for k, v in setting.graph_options.items()},
        blas=next((setting.blas for setting in settings if setting.blas), None),
        python=python,
    )
    name = " ".join(setting.name for setting in settings) or STOCK_NAME
    feeds = [setting.feed for setting in settings if setting.feed]
    fed = workload.model_copy(update={"feed": feeds[0]} if feeds else {})
    return Program(name, settings, contender, fed)


def create_variable(
    name: str, value: str, why: str, modes: Tuple[str, ...] = BOTH, compiles: bool = False
) -> Setting:
    """A setting of one variable; its family are the other values."""
    text, variables = f"{name}={value}", {name: value}
    return Setting(
        name=text, family=name, why=why, variables=variables, modes=modes, compiles=compiles
    )


def create_option(name: str, value: OptionValue, why: str, compiles: bool = True) -> Setting:
    text, options = f"{name}={format_option(value)}", {name: value}
    return Setting(
        name=text, family=name, why=why, graph_options=options, modes=(GRAPH,), compiles=compiles
    )


def read_facts(python: str = sys.executable) -> Facts:
    """This machine, and what an interpreter's environment has."""
    cpu = read_cpu()
    library, version = platform.libc_ver()
    glibc = tuple(int(part) for part in version.split(".")[:2]) if library == "glibc" else ()
    found = [find_library(name) for name in ("jemalloc", "tcmalloc_minimal")]
    allocators, blases = [name for name in found if name], list_found(python, os.environ)
    return Facts(cpu["flags"], cpu["cores"], glibc, allocators, blases)


def list_settings(
    mode: str, feed: str, facts: Facts, environment: Optional[Mapping[str, str]] = None
) -> List[Setting]:
    """The settings of a mode that make sense on a machine, the most promising first.

    Further values of a variable stand behind the first values of all: a short search learns more
    from another variable than from the second of three fast kernels. Variables that `environment`
    has are left out: they are the user's, for stock and for a profile.
    """
    taken = set(os.environ if environment is None else environment)
    first: Dict[str, Setting] = {}
    variables = _list_variables(facts)
    for setting in variables:
        first.setdefault(setting.family, setting)
    further = [setting for setting in variables if setting not in first.values()]
    every = [*first.values(), *_list_blases(facts), *further]
    every += [*_list_graph(feed), *_list_allocators(facts)]
    every += [create_option(name, True, why) for name, why in DOUBTFUL_OPTIONS.items()]
    return [s for s in every if mode in s.modes and not taken & set(s.variables)]


def _list_variables(facts: Facts) -> List[Setting]:
    flags, cores, several = set(facts.cpu_flags), str(facts.cores), facts.cores > 1
    avx2 = flags >= {"avx2", "fma"}
    avx512 = flags >= {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
    blas, dnn, omp = "OPENBLAS_CORETYPE", "ONEFLOW_ENABLE_ONEDNN_OPTS", "OMP_NUM_THREADS"
    worker, spin = "ONEFLOW_VM_COMPUTE_ON_WORKER_THREAD", "ONEFLOW_VM_ENABLE_SCHEDULE_YIELD"
    eager = (EAGER,)
    rows = [  # is it useful here, variable, value, why, modes
        (avx2, blas, "Haswell", "AVX2 kernels, if OpenBLAS does not know the processor", BOTH),
        (avx2, blas, "Zen", "AVX2 kernels with block sizes for AMD's caches", BOTH),
        (avx512, blas, "SkylakeX", "AVX-512 kernels", BOTH),
        (True, dnn, "0", "no slow reference path in element-wise operators", BOTH),
        (True, omp, cores, "threads on all cores; OneFlow takes two fewer by itself", BOTH),
        (True, worker, "0", "operators computed without a change of thread", eager),
        (True, spin, "0", "the scheduler waits without yielding", eager),
        (True, "OMP_WAIT_POLICY", "PASSIVE", "waiting threads leave their core to others", BOTH),
        (several, omp, "1", "no threads to start and to wait for", BOTH),
        (several, "OPENBLAS_NUM_THREADS", cores, "matrix products on all cores", BOTH),
    ]
    return [create_variable(name, value, why, m) for here, name, value, why, m in rows if here]


def _list_blases(facts: Facts) -> List[Setting]:
    every = "matrix products on all cores"
    quiet = "matrix products on all cores, by threads that do not spin beside OneFlow's scheduler"
    one = "newer kernels on one core"
    rows: List[Tuple[str, Dict[str, str], str]] = [
        ("mkl", {}, every),
        ("mkl", {"KMP_BLOCKTIME": "0"}, quiet),
        ("mkl", {"MKL_NUM_THREADS": "1"}, one),
        ("openblas", {}, every),
        ("openblas", {"OPENBLAS_THREAD_TIMEOUT": "4"}, quiet),
        ("openblas", {"OPENBLAS_NUM_THREADS": "1"}, one),
    ]
    return [
        Setting(
            name=" ".join([f"--blas {blas}", *(f"{k}={v}" for k, v in variables.items())]),
            family="blas",
            why=why,
            variables=variables,
            blas=blas,
        )
        for blas, variables, why in rows
        if blas in facts.blases and (facts.cores > 1 or not variables)
    ]


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
        *([create_variable(*pages)] if facts.glibc >= (2, 35) else []),  # the first that knows it
        *(create_variable("LD_PRELOAD", one, "another allocator") for one in facts.allocators),
    ]


def choose_settings(
    mode: Optional[str],
    feed: str,
    tried: Sequence[str] = (),
    only: Sequence[str] = (),
    python: str = sys.executable,
) -> Dict[str, List[Setting]]:
    """The settings to search in `mode`, or in both: the user's `tried`, and this machine's.

    `only` are wildcards for their names. Raises InputError for texts and patterns that give none.
    """
    modes = BOTH if mode is None else (mode,)
    own, facts = [_parse(text, os.environ) for text in tried], read_facts(python)
    for setting in own:
        if not set(setting.modes) & set(modes):
            raise InputError(
                f"--try {setting.name} is an option of nn.Graph and --mode {mode} has no "
                "graph; leave one out"
            )
    names, found = [setting.name for setting in own], {}
    for each in modes:
        listed = [s for s in list_settings(each, feed, facts) if s.name not in names]
        found[each] = [*(s for s in own if each in s.modes), *listed]
    known = [setting.name for settings in found.values() for setting in settings]
    for pattern in only:
        if not fnmatch.filter(known, pattern):
            shown = "bench tune --list shows those of this machine"
            raise InputError(f"--only {pattern} fits no setting; {shown}")
    fitting = {name for pattern in only or ["*"] for name in fnmatch.filter(known, pattern)}
    chosen = {mode: [s for s in settings if s.name in fitting] for mode, settings in found.items()}
    return {each: settings for each, settings in chosen.items() if settings}


def _parse(text: str, environment: Mapping[str, str]) -> Setting:
    """The user's setting from NAME=VALUE, a variable or an option of a graph's config.

    Raises InputError for another form, for an unknown variable, and for one that the user's
    `environment` sets, which a profile would not replace. Only OneFlow can say whether it knows an
    option and takes its value.
    """
    name, _, value = text.partition("=")
    if not name or not value:
        raise InputError(
            f"--try {text} is not NAME=VALUE, such as OMP_NUM_THREADS=1 or "
            "allow_fuse_add_to_output=true"
        )
    if name.startswith(OPTION_PREFIXES):
        return create_option(name, parse_option(value), "given by --try", compiles=False)
    if name not in KNOWN_VARIABLES:
        hint = suggest(name.upper(), KNOWN_VARIABLES, "docs/tune.md lists what is known")
        raise InputError(
            f"--try {text}: {name} is no variable known to change the speed of OneFlow, "
            f"and no option of a graph; {hint}"
        )
    if name in environment:
        raise InputError(
            f"--try {text}: {name}={environment[name]} is set in this shell, which stands "
            f"above any profile; unset {name} to search over it"
        )
    return create_variable(name, value, "given by --try")
