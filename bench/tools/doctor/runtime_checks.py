"""Judges OneFlow at work: measurements in, checks out; pure.

A setting is judged by its gain over turns (`variants`). A cause that cannot be timed is flagged
only if the kernel counted it, and often.
"""

from __future__ import annotations

from statistics import median
from typing import Dict, List, Mapping

from ...worker.environment import needs_core_type
from .diagnosis import (
    BLAS,
    HUGE_PAGES,
    NOT_IMPORTED,
    ONEDNN,
    SCHEDULER,
    THREADS,
    Check,
    Finding,
    Machine,
    Number,
    RuntimeMeasurements,
    create_check,
    create_unknown,
)
from .variants import (
    CORE_TYPE,
    ONEDNN_VARIABLE,
    SCHEDULER_VARIABLE,
    THREADS_VARIABLE,
    Gain,
    is_set,
    summarize_gain,
)

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


def check_runtime(machine: Machine, runtime: RuntimeMeasurements) -> List[Check]:
    """All checks of OneFlow at work; unknown, with the reason, if it was not measured."""
    return [
        check_blas_kernel(machine, runtime),
        check_matmul_rate(machine, runtime),
        check_threads(machine, runtime),
        check_scheduler(runtime),
        check_onednn(runtime),
        check_allocator(runtime),
        check_huge_pages(machine, runtime),
    ]


def check_blas_kernel(machine: Machine, runtime: RuntimeMeasurements) -> Check:
    """The kernel family against the processor's abilities."""
    if runtime.kernel is None:
        return _unknown("blas_kernel", runtime, "OneFlow's BLAS does not name its kernel")
    able = [extension for flag, extension in _EXTENSIONS.items() if flag in machine.cpu_flags]
    evidence = f"{runtime.kernel}; the processor has {', '.join(able) or 'no vector extension'}"
    if runtime.stock_kernel not in (None, runtime.kernel):
        evidence += f"; stock would use {runtime.stock_kernel}"
    finding = None
    if needs_core_type(runtime.kernel, machine.cpu_flags):
        remedy = f"{CORE_TYPE}=Haswell"
        if runtime.runtime == "stock":
            remedy += " (--runtime tuned sets it)"
        finding = _find(runtime, BLAS, "matrix products run without AVX2", remedy)
    measured = {"kernel": runtime.kernel, "stock_kernel": runtime.stock_kernel}
    return create_check("blas_kernel", evidence, measured, finding)


def check_matmul_rate(machine: Machine, runtime: RuntimeMeasurements) -> Check:
    """OneFlow's matrix product against NumPy's, one core each."""
    ours, theirs = runtime.matmul_flops_per_s, runtime.numpy_flops_per_s
    if ours is None or theirs is None:
        return _unknown("matmul_rate", runtime, "not measured")
    share, finding = ours / theirs, None
    if share < MATMUL_SHARE:
        gain = summarize_gain(runtime.rounds, BLAS)
        finding = Finding(
            f"a matrix product takes {1 / share:.1f} times as long as NumPy's",
            f"{CORE_TYPE}=Haswell"
            if needs_core_type(runtime.kernel, machine.cpu_flags)
            else f"set {CORE_TYPE} to a kernel for this processor, such as Zen or SkylakeX",
            gain.factor if gain else None,
        )
    return create_check(
        "matmul_rate",
        f"OneFlow {ours / 1e9:.1f}, NumPy {theirs / 1e9:.1f} billion operations/s on one core",
        {"oneflow_flops_per_s": ours, "numpy_flops_per_s": theirs, "share": share},
        finding,
    )


def check_threads(machine: Machine, runtime: RuntimeMeasurements) -> Check:
    """The threads that work in a reduction, and whether a variable holds them back."""
    asked, cores = runtime.variables.get(THREADS_VARIABLE), machine.usable_cores
    evidence = f"{THREADS_VARIABLE} is {asked or 'not set'} on {cores} usable cores"
    measured: Dict[str, Number] = {"omp_num_threads": asked, "usable_cores": cores}
    limited = asked is not None and asked.isdigit() and int(asked) < cores
    idle = False
    if runtime.threads is not None:
        working, reduction = count_working_threads(runtime, cores), runtime.threads.reduction
        busy = sum(reduction.threads_s.values()) / reduction.wall_s
        evidence = (
            f"a reduction ran on {working} thread{'s' if working != 1 else ''}, "
            f"{busy:.2f} processor seconds a second; {evidence}"
        )
        measured.update(working_threads=working, cpu_s_per_s=busy)
        idle = working == 1 and cores > 1
    elif not limited:
        return _unknown("threads", runtime, f"{evidence}; not measured")
    finding = None
    if limited or idle:
        idle_cores = "cores stay idle in libraries that obey it"
        finding = _find(runtime, THREADS, idle_cores, f"{THREADS_VARIABLE}={cores}")
    return create_check("threads", evidence, measured, finding)


def count_working_threads(runtime: RuntimeMeasurements, cores: int) -> int:
    """Threads that took part in the reduction and none in a matrix product, which runs on one.

    At most the `cores`: on a busy machine the scheduler's thread may rest during the product.
    """
    assert runtime.threads is not None
    product, reduction = runtime.threads.product, runtime.threads.reduction
    busy_s = TAKING_PART * max(product.threads_s.values(), default=0.0)
    pool = [
        seconds
        for thread, seconds in reduction.threads_s.items()
        if product.threads_s.get(thread, 0.0) < busy_s
    ]
    least = max(TAKING_PART * max(pool, default=0.0), LEAST_WORK * reduction.wall_s)
    return max(1, min(cores, sum(seconds >= least for seconds in pool)))


def check_scheduler(runtime: RuntimeMeasurements) -> Check:
    """Processor time of a step against a step in which the scheduler's thread computes."""
    if not is_set(runtime.variables, SCHEDULER_VARIABLE, True):
        evidence = f"{SCHEDULER_VARIABLE} is off: the scheduler's thread computes, none spins"
        return create_check("scheduler", evidence, {})
    gain = summarize_gain(runtime.rounds, SCHEDULER)
    if gain is None:
        return _unknown("scheduler", runtime, "it had too few turns")
    examined = [round_.examined for round_ in runtime.rounds]
    other = [r.variants[SCHEDULER] for r in runtime.rounds if SCHEDULER in r.variants]
    used_s, needed_s = (median(b.cpu_s / b.steps for b in blocks) for blocks in (examined, other))
    switches = median(block.involuntary_switches / block.steps for block in examined)
    evidence = (
        f"a step uses {used_s * 1e3:.1f} ms of processor time, {needed_s * 1e3:.1f} without the "
        f"spinning; {switches:.0f} involuntary switches a step"
    )
    measured = {
        "step_cpu_s": used_s,
        "step_cpu_needed_s": needed_s,
        "involuntary_switches_per_step": switches,
    }
    return _judge_gain("scheduler", evidence, measured, gain, f"{SCHEDULER_VARIABLE}=0")


def check_onednn(runtime: RuntimeMeasurements) -> Check:
    """oneDNN on against off, in fresh processes: operators, and the step that decides."""
    gain = summarize_gain(runtime.rounds, ONEDNN)
    on = is_set(runtime.variables, ONEDNN_VARIABLE, True)
    state = "on" if on else "off"
    ours, others = runtime.operators_s.get("examined"), runtime.operators_s.get(ONEDNN)
    if gain is None or not ours or not others:
        return _unknown("onednn", runtime, f"{state}; the other setting had too few turns")
    times_on, times_off = (ours, others) if on else (others, ours)
    ratios = {name: times_on[name] / times_off[name] for name in times_on}
    shown = ", ".join(f"{name} {format_ratio(ratio)}" for name, ratio in ratios.items())
    evidence = f"{state}; time with it over time without it: {shown}"
    measured = {f"on_over_off_{name.replace(' ', '_')}": ratio for name, ratio in ratios.items()}
    return _judge_gain("onednn", evidence, measured, gain, f"{ONEDNN_VARIABLE}={0 if on else 1}")


def check_allocator(runtime: RuntimeMeasurements) -> Check:
    """Time of a step in page faults, for memory that is freed and asked for again."""
    if runtime.memory is None or not runtime.rounds:
        return _unknown("allocator", runtime, "not measured")
    blocks, fault_s = [round_.examined for round_ in runtime.rounds], runtime.memory.page_fault_s
    faults = median(block.minor_faults / block.steps for block in blocks)
    share = min(0.99, faults * fault_s / median(block.step_s for block in blocks))
    finding = None
    if share > FAULT_SHARE:
        factor = 1 / (1 - share)
        finding = Finding(
            f"a train step takes about {factor:.2f} times as long as without them",
            "MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_MMAP_THRESHOLD_=1073741824",
            factor,
        )
    return create_check(
        "allocator",
        f"{faults:.1f} page faults a step, {fault_s * 1e6:.2f} us each, "
        f"{share * 100:.1f} % of its time",
        {"minor_faults_per_step": faults, "page_fault_s": fault_s, "share": share},
        finding,
    )


def check_huge_pages(machine: Machine, runtime: RuntimeMeasurements) -> Check:
    """Transparent huge pages: the kernel's mode, and the gain of asking for them."""
    mode = machine.huge_pages
    if mode is None:
        return create_unknown("huge_pages", "the kernel does not show its mode")
    held = runtime.memory.huge_page_bytes if runtime.memory else None
    measured: Dict[str, Number] = {"mode": mode, "huge_page_bytes": held}
    evidence = f"mode {mode}"
    if held is not None:
        evidence += f", {held / 2**20:.0f} MiB of OneFlow's memory in them"
    gain = summarize_gain(runtime.rounds, HUGE_PAGES)
    if gain is not None:
        remedy = " ".join(f"{k}={v}" for k, v in runtime.changes[HUGE_PAGES].items())
        return _judge_gain("huge_pages", evidence, measured, gain, remedy)
    if mode == "always":
        return create_check("huge_pages", evidence, measured)
    return create_unknown("huge_pages", f"{evidence}; their gain was not measured", measured)


def _find(runtime: RuntimeMeasurements, variant: str, unmeasured: str, remedy: str) -> Finding:
    """A finding with the gain of a variant, or `unmeasured` if it had too few turns."""
    gain = summarize_gain(runtime.rounds, variant)
    return Finding(gain.describe(), remedy, gain.factor) if gain else Finding(unmeasured, remedy)


def _judge_gain(
    name: str, evidence: str, measured: Mapping[str, Number], gain: Gain, remedy: str
) -> Check:
    """The check of a setting whose other value had its turns; the ratio is always kept."""
    kept = {
        **measured,
        "rounds": gain.rounds,
        "step_time_ratio": gain.factor,
        "lowest_ratio": gain.lowest,
        "highest_ratio": gain.highest,
    }
    if gain.unsure:
        reason = f"{evidence}; {gain.describe()}: too unsteady to tell"
        return create_unknown(name, reason, kept, inconclusive=True)
    finding = Finding(gain.describe(), remedy, gain.factor) if gain.material else None
    return create_check(name, evidence, kept, finding)


def _unknown(name: str, runtime: RuntimeMeasurements, reason: str) -> Check:
    imported = runtime.imported is not None and runtime.imported.error is None
    return create_unknown(name, reason if imported else NOT_IMPORTED)


def format_ratio(ratio: float) -> str:
    """Two digits."""
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"
