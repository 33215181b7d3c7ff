"""Judges OneFlow at work, and plans the variants of its environment that this needs; pure.

A setting is judged by the time it costs: a variant with it changed takes turns with the environment
examined. The variant must win every round, by more than `MATERIAL_FACTOR` and by more than twice
the deviation of a control, which is the same environment again. A cause that cannot be timed is
flagged only if the kernel counted it, and often.
"""

from __future__ import annotations

import sys
from statistics import median
from typing import Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from ...worker.environment import needs_core_type
from .diagnosis import (
    EXAMINED,
    Answer,
    Machine,
    Measured,
    Number,
    Round,
    ThreadMeasurements,
    unknown,
)
from .installation import parse_version

# variants of the examined environment that take turns with it
CONTROL = "control"  # the same environment again
BLAS = "blas"  # a BLAS kernel with AVX2
THREADS = "threads"  # as many threads as usable cores
ONEDNN = "onednn"  # oneDNN switched the other way
SCHEDULER = "scheduler"  # the scheduler thread computes by itself
HUGE_PAGES = "huge_pages"  # malloc asks the kernel for huge pages

CORE_TYPE = "OPENBLAS_CORETYPE"
ONEDNN_VARIABLE = "ONEFLOW_ENABLE_ONEDNN_OPTS"
THREADS_VARIABLE = "OMP_NUM_THREADS"
SCHEDULER_VARIABLE = "ONEFLOW_VM_COMPUTE_ON_WORKER_THREAD"

# of step times: five times the spread of equal processes, 1.8 % in results/example, and the
# smallest gain that pays for changing an environment
MATERIAL_FACTOR = 1.10
CONTROL_MULTIPLE = 2.0
LEAST_ROUNDS = 5  # winning all of five by chance alone: 1 in 32, without the factor

HUGE_PAGES_LIBC = (2, 35)  # glibc's release notes: malloc.hugetlb came with it
WORKER_BYTES = 500 << 20  # peak of a worker's resident memory, as `bench doctor --json` shows it

# AVX2 against NumPy's AVX-512 is 0.5 at least, by the width; on a processor with both (Zen 4),
# OneFlow's kernels without AVX2 were seen at 0.1 (Prescott) and 0.4 (Barcelona)
MATMUL_SHARE = 0.45

# a thread took part in a reduction if it worked a quarter as long as the busiest one, since the
# shares of one reduction are equal; and at least some of the time, which is little on many cores
TAKING_PART = 0.25
LEAST_WORK = 0.02

# of a step's time in page faults: below 1 % if the allocator keeps its memory
FAULT_SHARE = 0.05

_EXTENSIONS = {"avx2": "AVX2", "fma": "FMA", "avx512f": "AVX-512", "asimd": "NEON", "sve": "SVE"}

Changes = Dict[str, Dict[str, str]]  # the variables that each variant changes


def plan_variants(
    environment: Dict[str, str], kernel: Optional[str], machine: Machine, libc: str
) -> Changes:
    """The control and the remedies worth a turn, with the variables that each changes.

    If memory is short, variants are dropped from the end of this order.
    """
    threads = environment.get(THREADS_VARIABLE, "")
    has_tunable = libc.startswith("glibc") and parse_version(libc) >= HUGE_PAGES_LIBC
    can_ask = machine.huge_pages == "madvise" and "GLIBC_TUNABLES" not in environment
    is_limited = threads.isdigit() and int(threads) < machine.usable_cores
    onednn = "0" if is_set(environment, ONEDNN_VARIABLE) else "1"
    spins = is_set(environment, SCHEDULER_VARIABLE)
    planned = {
        CONTROL: (True, {}),
        BLAS: (needs_core_type(kernel, machine.cpu_flags), {CORE_TYPE: "Haswell"}),
        THREADS: (is_limited, {THREADS_VARIABLE: str(machine.usable_cores)}),
        ONEDNN: (True, {ONEDNN_VARIABLE: onednn}),
        SCHEDULER: (spins, {SCHEDULER_VARIABLE: "0"}),
        HUGE_PAGES: (has_tunable and can_ask, {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}),
    }
    return {name: changes for name, (may_help, changes) in planned.items() if may_help}


def count_affordable(machine: Machine) -> int:
    """Workers that fit into the memory at once, as far as the kernel shows it."""
    limit, used = machine.cgroup.memory_bytes, machine.cgroup.memory_used_bytes or 0
    left = [machine.available_bytes, None if limit is None else limit - used]
    known = [size for size in left if size is not None]
    return min(known, default=sys.maxsize) // WORKER_BYTES


def is_set(variables: Mapping[str, str], name: str) -> bool:
    """A switch of OneFlow as OneFlow reads it; those here are on by default."""
    return variables.get(name, "1").lower() in ("1", "true", "on", "yes", "y")


class Gain(NamedTuple):
    """Step time of the environment examined over that of a variant: above 1, the variant wins."""

    factor: float  # median over rounds
    lowest: float
    highest: float
    rounds: int
    material: bool  # large enough, sure enough, and beyond the deviation of the control

    def describe(self) -> str:
        ratio = f"{self.factor:.2f} ({self.lowest:.2f} to {self.highest:.2f})"
        return f"a train step takes {ratio} times as long as otherwise"


def summarize_gain(rounds: Sequence[Round], variant: str) -> Optional[Gain]:
    """The gain of a variant; None if it had fewer turns than `LEAST_ROUNDS`."""
    ratios, control = (
        [r.examined.step_s / r.variants[name].step_s for r in rounds if name in r.variants]
        for name in (variant, CONTROL)
    )
    if len(ratios) < LEAST_ROUNDS:
        return None
    factor, lowest = median(ratios), min(ratios)
    deviation = abs(median(control) - 1) if control else 0.0
    least = max(MATERIAL_FACTOR, 1 + CONTROL_MULTIPLE * deviation)
    material = bool(control) and lowest > 1 and factor > least
    return Gain(factor, lowest, max(ratios), len(ratios), material)


def blas_kernel(m: Measured) -> Answer:
    """Does OneFlow's BLAS use the processor's abilities?"""
    kernel, stock = m.oneflow.kernel, m.oneflow.stock_kernel
    if kernel is None:
        return m.lack("OneFlow's BLAS does not name its kernel")
    able = [extension for flag, extension in _EXTENSIONS.items() if flag in m.machine.cpu_flags]
    evidence = f"{kernel}; the processor has {', '.join(able) or 'no vector extension'}"
    if stock not in (None, kernel):
        evidence += f"; stock would use {stock}"
    consequence, factor = _describe_gain(m, BLAS, "matrix products run without AVX2")
    hint = " (--runtime tuned sets it)" if m.oneflow.runtime == "stock" else ""
    return Answer(
        evidence,
        {"kernel": kernel, "stock_kernel": stock},
        needs_core_type(kernel, m.machine.cpu_flags),
        consequence,
        f"{CORE_TYPE}=Haswell{hint}",
        factor,
    )


def matmul_rate(m: Measured) -> Answer:
    """Is OneFlow's matrix product as fast as NumPy's, one core each?"""
    ours, theirs = m.oneflow.matmul_flops_per_s, m.oneflow.numpy_flops_per_s
    if ours is None or theirs is None:
        return m.lack("not measured")
    share = ours / theirs
    remedy = f"set {CORE_TYPE} to a kernel for this processor, such as Zen or SkylakeX"
    if needs_core_type(m.oneflow.kernel, m.machine.cpu_flags):
        remedy = f"{CORE_TYPE}=Haswell"
    return Answer(
        f"OneFlow {ours / 1e9:.1f}, NumPy {theirs / 1e9:.1f} billion operations/s on one core",
        {"oneflow_flops_per_s": ours, "numpy_flops_per_s": theirs, "share": share},
        share < MATMUL_SHARE,
        f"a matrix product takes {1 / share:.1f} times as long as NumPy's",
        remedy,
        _describe_gain(m, BLAS, "")[1],
    )


def threads(m: Measured) -> Answer:
    """Do all cores work in a reduction, and does no variable hold threads back?"""
    asked, cores = m.oneflow.variables.get(THREADS_VARIABLE), m.machine.usable_cores
    times, working = m.oneflow.threads, None
    evidence = f"{THREADS_VARIABLE} is {asked or 'not set'} on {cores} usable cores"
    measured: Dict[str, Number] = {"omp_num_threads": asked, "usable_cores": cores}
    limited = asked is not None and asked.isdigit() and int(asked) < cores
    if times is not None:
        working = count_working_threads(times, cores)
        busy = sum(times.reduction.threads_s.values()) / times.reduction.wall_s
        ran = f"a reduction ran on {working} thread{'s' if working != 1 else ''}"
        evidence = f"{ran}, {busy:.2f} processor seconds a second; {evidence}"
        measured.update(working_threads=working, cpu_s_per_s=busy)
    elif not limited:
        return m.lack(f"{evidence}; not measured")
    consequence, factor = _describe_gain(m, THREADS, "cores stay idle in libraries that obey it")
    attention, remedy = limited or (working == 1 and cores > 1), f"{THREADS_VARIABLE}={cores}"
    return Answer(evidence, measured, attention, consequence, remedy, factor)


def count_working_threads(times: ThreadMeasurements, cores: int) -> int:
    """Threads that took part in the reduction and none in a matrix product, which runs on one.

    At most the `cores`: on a busy machine the scheduler's thread may rest during the product.
    """
    product, reduction = times.product.threads_s, times.reduction
    busy_s = TAKING_PART * max(product.values(), default=0.0)
    pool = [s for thread, s in reduction.threads_s.items() if product.get(thread, 0.0) < busy_s]
    least = max(TAKING_PART * max(pool, default=0.0), LEAST_WORK * reduction.wall_s)
    return max(1, min(cores, sum(seconds >= least for seconds in pool)))


def scheduler(m: Measured) -> Answer:
    """Is a step faster if the scheduler's thread computes, and does not spin?"""
    if not is_set(m.oneflow.variables, SCHEDULER_VARIABLE):
        return Answer(f"{SCHEDULER_VARIABLE} is off: the scheduler's thread computes, none spins")
    rounds = m.oneflow.rounds
    gain = summarize_gain(rounds, SCHEDULER)
    if gain is None:
        return m.lack("it had too few turns")
    examined = [r.examined for r in rounds]
    others = [r.variants[SCHEDULER] for r in rounds if SCHEDULER in r.variants]
    used_s, needed_s = (median(b.cpu_s / b.steps for b in blocks) for blocks in (examined, others))
    switches = median(block.involuntary_switches / block.steps for block in examined)
    used = f"{used_s * 1e3:.1f} ms of processor time, {needed_s * 1e3:.1f} without the spinning"
    evidence = f"a step uses {used}; {switches:.0f} involuntary switches a step"
    measured: Dict[str, Number] = {
        "step_cpu_s": used_s,
        "step_cpu_needed_s": needed_s,
        "involuntary_switches_per_step": switches,
    }
    return judge_gain(evidence, measured, gain, f"{SCHEDULER_VARIABLE}=0")


def onednn(m: Measured) -> Answer:
    """Is a step faster with oneDNN switched the other way?"""
    on = is_set(m.oneflow.variables, ONEDNN_VARIABLE)
    state, gain = "on" if on else "off", summarize_gain(m.oneflow.rounds, ONEDNN)
    ours, others = m.oneflow.operators_s.get(EXAMINED), m.oneflow.operators_s.get(ONEDNN)
    if gain is None or not ours or not others:
        return m.lack(f"{state}; the other setting had too few turns")
    times_on, times_off = (ours, others) if on else (others, ours)
    ratios = {name: times_on[name] / times_off[name] for name in times_on}
    shown = ", ".join(f"{k} {r:.0f}" if r >= 10 else f"{k} {r:.2g}" for k, r in ratios.items())
    evidence = f"{state}; time with it over time without it: {shown}"
    measured = {f"on_over_off_{name.replace(' ', '_')}": ratio for name, ratio in ratios.items()}
    return judge_gain(evidence, measured, gain, f"{ONEDNN_VARIABLE}={0 if on else 1}")


def allocator(m: Measured) -> Answer:
    """Does a step spend time in page faults, for memory that is freed and asked for again?"""
    if m.oneflow.memory is None or not m.oneflow.rounds:
        return m.lack("not measured")
    fault_s, blocks = m.oneflow.memory.page_fault_s, [r.examined for r in m.oneflow.rounds]
    faults = median(block.minor_faults / block.steps for block in blocks)
    share = min(0.99, faults * fault_s / median(block.step_s for block in blocks))
    factor = 1 / (1 - share)
    cost = f"{fault_s * 1e6:.2f} us each, {share * 100:.1f} % of its time"
    return Answer(
        f"{faults:.1f} page faults a step, {cost}",
        {"minor_faults_per_step": faults, "page_fault_s": fault_s, "share": share},
        share > FAULT_SHARE,
        f"a train step takes about {factor:.2f} times as long as without them",
        "MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_MMAP_THRESHOLD_=1073741824",
        factor,
    )


def huge_pages(m: Measured) -> Answer:
    """Is a step faster with transparent huge pages?"""
    mode, memory = m.machine.huge_pages, m.oneflow.memory
    if mode is None:
        return unknown("the kernel does not show its mode")
    held = memory.huge_page_bytes if memory else None
    measured: Dict[str, Number] = {"mode": mode, "huge_page_bytes": held}
    shown = "" if held is None else f", {held / 2**20:.0f} MiB of OneFlow's memory in them"
    evidence, gain = f"mode {mode}{shown}", summarize_gain(m.oneflow.rounds, HUGE_PAGES)
    if gain is not None:
        remedy = " ".join(f"{k}={v}" for k, v in m.oneflow.changes[HUGE_PAGES].items())
        return judge_gain(evidence, measured, gain, remedy)
    if mode == "always":
        return Answer(evidence, measured)
    return unknown(f"{evidence}; their gain was not measured", measured)


RUNTIME_CHECKS = (blas_kernel, matmul_rate, threads, scheduler, onednn, allocator, huge_pages)


def _describe_gain(m: Measured, variant: str, unmeasured: str) -> Tuple[str, Optional[float]]:
    """A variant's gain in words and as a factor, or `unmeasured` if it had too few turns."""
    gain = summarize_gain(m.oneflow.rounds, variant)
    return (gain.describe(), gain.factor) if gain else (unmeasured, None)


def judge_gain(evidence: str, measured: Mapping[str, Number], gain: Gain, remedy: str) -> Answer:
    """The check of a setting whose other value had its turns; the ratio is always kept."""
    kept = {
        **measured,
        "rounds": gain.rounds,
        "step_time_ratio": gain.factor,
        "lowest_ratio": gain.lowest,
        "highest_ratio": gain.highest,
    }
    if gain.factor > MATERIAL_FACTOR and not gain.material:  # large, and not sure
        reason = f"{evidence}; {gain.describe()}: too unsteady to tell"
        return unknown(reason, kept, inconclusive=True)
    return Answer(evidence, kept, gain.material, gain.describe(), remedy, gain.factor)
