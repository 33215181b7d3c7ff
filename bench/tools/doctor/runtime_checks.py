"""Judges what was measured of OneFlow: measurements in, checks out; pure."""

from __future__ import annotations

from statistics import median
from typing import Dict, List, Mapping, Optional

from ...worker.environment import needs_core_type
from . import thresholds
from .readings import BLAS, HUGE_PAGES, ONEDNN, SCHEDULER, THREADS, MachineReading, RuntimeReading
from .result import NOT_IMPORTED, Check, Finding, Number, create_check, create_unknown
from .variants import Gain, summarize_gain

CORE_TYPE = "OPENBLAS_CORETYPE"
ONEDNN_VARIABLE = "ONEFLOW_ENABLE_ONEDNN_OPTS"
THREADS_VARIABLE = "OMP_NUM_THREADS"
SCHEDULER_VARIABLE = "ONEFLOW_VM_COMPUTE_ON_WORKER_THREAD"
_SAID_BY_CPU = {"avx2": "AVX2", "fma": "FMA", "avx512f": "AVX-512", "asimd": "NEON", "sve": "SVE"}


def check_runtime(machine: MachineReading, runtime: RuntimeReading) -> List[Check]:
    """All checks of OneFlow at work; unknown, with the reason, where it was not measured."""
    return [
        check_blas_kernel(machine, runtime),
        check_matmul_rate(machine, runtime),
        check_threads(machine, runtime),
        check_scheduler(runtime),
        check_onednn(runtime),
        check_allocator(runtime),
        check_huge_pages(machine, runtime),
    ]


def is_set(variables: Dict[str, str], name: str, default: bool) -> bool:
    """A switch of OneFlow as OneFlow reads it."""
    value = variables.get(name)
    return default if value is None else value.lower() in ("1", "true", "on", "yes", "y")


def check_blas_kernel(machine: MachineReading, runtime: RuntimeReading) -> Check:
    """The kernel family against the processor's abilities."""
    if runtime.kernel is None:
        return _unknown("blas_kernel", runtime, "OneFlow's BLAS does not say which kernel it uses")
    able = [said for flag, said in _SAID_BY_CPU.items() if flag in machine.cpu_flags]
    evidence = f"{runtime.kernel}; the processor has {', '.join(able) or 'no vector extension'}"
    if runtime.stock_kernel not in (None, runtime.kernel):
        evidence += f"; stock would use {runtime.stock_kernel}"
    finding = None
    if needs_core_type(runtime.kernel, machine.cpu_flags):
        gain = summarize_gain(runtime.rounds, BLAS)
        finding = Finding(
            _describe_step(gain) or "matrix products without AVX2",
            f"{CORE_TYPE}=Haswell"
            + (" (--runtime tuned sets it)" if runtime.runtime == "stock" else ""),
            gain.factor if gain else None,
        )
    measured = {"kernel": runtime.kernel, "stock_kernel": runtime.stock_kernel}
    return create_check("blas_kernel", evidence, measured, finding)


def check_matmul_rate(machine: MachineReading, runtime: RuntimeReading) -> Check:
    """OneFlow's matrix product against NumPy's, one core each."""
    ours, theirs = runtime.matmul_flops_per_s, runtime.numpy_flops_per_s
    if ours is None or theirs is None:
        return _unknown("matmul_rate", runtime, "not measured")
    share, finding = ours / theirs, None
    if share < thresholds.MATMUL_SHARE:
        gain = summarize_gain(runtime.rounds, BLAS)
        finding = Finding(
            f"{1 / share:.1f} times as long as NumPy's",
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


def check_threads(machine: MachineReading, runtime: RuntimeReading) -> Check:
    """How many threads a reduction really used, and whether a variable holds them back."""
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
    gain = summarize_gain(runtime.rounds, THREADS)
    finding = Finding(
        _describe_step(gain) or "cores stay idle in what obeys it",
        f"{THREADS_VARIABLE}={cores}",
        gain.factor if gain else None,
    )
    return create_check("threads", evidence, measured, finding if limited or idle else None)


def count_working_threads(runtime: RuntimeReading, cores: int) -> int:
    """Threads that took part in the reduction and none in a matrix product, which runs on one.

    At most the `cores`: on a busy machine the scheduler's thread may rest during the product.
    """
    assert runtime.threads is not None
    product, reduction = runtime.threads.product, runtime.threads.reduction
    busy_s = thresholds.TAKING_PART * max(product.threads_s.values(), default=0.0)
    pool = [
        seconds
        for thread, seconds in reduction.threads_s.items()
        if product.threads_s.get(thread, 0.0) < busy_s
    ]
    least = max(
        thresholds.TAKING_PART * max(pool, default=0.0),
        thresholds.LEAST_WORK * reduction.wall_s,
    )
    return max(1, min(cores, sum(seconds >= least for seconds in pool)))


def check_scheduler(runtime: RuntimeReading) -> Check:
    """Processor time of a step beyond what it takes when the scheduler's thread computes."""
    if not is_set(runtime.variables, SCHEDULER_VARIABLE, True):
        evidence = f"{SCHEDULER_VARIABLE} is off: the scheduler's thread computes, none spins"
        return create_check("scheduler", evidence, {}, None)
    gain = summarize_gain(runtime.rounds, SCHEDULER)
    if gain is None:
        return _unknown("scheduler", runtime, "too few turns to tell")
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


def check_onednn(runtime: RuntimeReading) -> Check:
    """oneDNN on against off, in fresh processes: operators, and the step that decides."""
    gain = summarize_gain(runtime.rounds, ONEDNN)
    on = is_set(runtime.variables, ONEDNN_VARIABLE, True)
    ours, others = runtime.operators_s.get("examined"), runtime.operators_s.get(ONEDNN)
    if gain is None or not ours or not others:
        return _unknown("onednn", runtime, f"{'on' if on else 'off'}; too few turns to tell")
    times_on, times_off = (ours, others) if on else (others, ours)
    ratios = {name: times_on[name] / times_off[name] for name in times_on}
    said = ", ".join(f"{name} {format_ratio(ratio)}" for name, ratio in ratios.items())
    evidence = f"{'on' if on else 'off'}; time with it over time without it: {said}"
    measured = {f"on_over_off_{name.replace(' ', '_')}": ratio for name, ratio in ratios.items()}
    return _judge_gain("onednn", evidence, measured, gain, f"{ONEDNN_VARIABLE}={0 if on else 1}")


def check_allocator(runtime: RuntimeReading) -> Check:
    """Time of a step that goes into page faults: memory given back and asked for again."""
    if runtime.memory is None or not runtime.rounds:
        return _unknown("allocator", runtime, "not measured")
    blocks, fault_s = [round_.examined for round_ in runtime.rounds], runtime.memory.page_fault_s
    faults = median(block.minor_faults / block.steps for block in blocks)
    share = min(0.99, faults * fault_s / median(block.step_s for block in blocks))
    finding = None
    if share > thresholds.FAULT_SHARE:
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


def check_huge_pages(machine: MachineReading, runtime: RuntimeReading) -> Check:
    """Transparent huge pages: the kernel's mode, and what asking for them is worth."""
    mode = machine.huge_pages
    if mode is None:
        return create_unknown("huge_pages", "the kernel does not say")
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
        return create_check("huge_pages", evidence, measured, None)
    reason = f"{evidence}; what asking for them is worth was not measured"
    return create_unknown("huge_pages", reason, measured)


def _judge_gain(
    name: str, evidence: str, measured: Mapping[str, Number], gain: Gain, remedy: str
) -> Check:
    """The check of a setting whose other way round had its turns; the ratio is always kept."""
    kept = {
        **measured,
        "rounds": gain.rounds,
        "step_time_ratio": gain.factor,
        "lowest_ratio": gain.lowest,
        "highest_ratio": gain.highest,
    }
    if gain.unsure:
        reason = f"{evidence}; {_describe_step(gain)}: too unsteady to tell"
        return create_unknown(name, reason, kept, inconclusive=True)
    finding = Finding(_describe_step(gain), remedy, gain.factor) if gain.material else None
    return create_check(name, evidence, kept, finding)


def _describe_step(gain: Optional[Gain]) -> str:
    return f"a train step takes {gain.describe()} times as long as otherwise" if gain else ""


def _unknown(name: str, runtime: RuntimeReading, reason: str) -> Check:
    imported = runtime.imported is not None and runtime.imported.error is None
    return create_unknown(name, reason if imported else NOT_IMPORTED)


def format_ratio(ratio: float) -> str:
    """Two digits."""
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"
