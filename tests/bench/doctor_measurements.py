"""Made-up measurements of a machine without a fault, to be spoilt one at a time."""

from __future__ import annotations

from oneflow_bench.bench.tools.doctor.diagnosis import (
    Activity,
    CgroupLimits,
    Frequency,
    Identity,
    ImportOutcome,
    Machine,
    Measured,
    MemoryMeasurements,
    Round,
    RuntimeMeasurements,
    StepBlock,
    ThreadMeasurements,
    ThreadTimes,
    judge,
)
from oneflow_bench.bench.tools.doctor.runtime_checks import CONTROL, HUGE_PAGES, ONEDNN, SCHEDULER

OPERATORS_S = {"bias add": 0.001, "softmax": 0.002}


def create_machine(**changes):
    given = {
        "cpu_model": "made up",
        "cpu_flags": ["avx2", "fma"],
        "online_cores": 4,
        "usable_cores": 4,
        "physical_cores": 4,
        "cgroup": CgroupLimits(),
        "frequency": Frequency(
            governors=["performance"],
            drivers=["acpi-cpufreq"],
            busy_hz=2.9e9,
            highest_hz=3e9,
            temperature_c=60.0,
        ),
        "huge_pages": "madvise",
        "swap_used_bytes": 0,
        "swap_total_bytes": 0,
    }
    return Machine(**{**given, **changes})


def create_activity(**changes):
    given = {
        "duration_s": 15.0,
        "steal_s": 0.0,
        "swapped_pages": 0,
        "throttled_s": None,
        "others_cores": [0.02, 0.03],
        "load": 0.4,
    }
    return Activity(**{**given, **changes})


def create_block(step_s=0.03, steps=2, cpu_s=None, minor_faults=0):
    return StepBlock(
        steps=steps,
        wall_s=step_s * steps,
        cpu_s=(step_s if cpu_s is None else cpu_s) * steps,
        minor_faults=minor_faults * steps,
        major_faults=0,
        involuntary_switches=3 * steps,
    )


def create_rounds(step_s=0.03, minor_faults=0, count=6, **variants_s):
    """Rounds in which a step takes `step_s`, and the named variants' take what is given."""
    steps_s = {CONTROL: 0.03, ONEDNN: 0.06, SCHEDULER: 0.0301, HUGE_PAGES: 0.0299, **variants_s}
    return [
        Round(
            examined=create_block(step_s * (1 + 0.001 * number), minor_faults=minor_faults),
            variants={name: create_block(duration_s) for name, duration_s in steps_s.items()},
        )
        for number in range(count)
    ]


def create_identity(**changes):
    given = {
        "executable": "/env/bin/python",
        "python": "3.10.13",
        "libc": "glibc 2.36",
        "installed": {"oneflow": "0.9.0", "numpy": "1.26.4"},
    }
    return Identity(**{**given, **changes})


def create_import(**changes):
    given = {
        "import_s": 1.0,
        "oneflow": "0.9.0",
        "oneflow_cuda": 11070,
        "cudnn": [8600, 11080],
        "cublas": [11, 10, 3],
    }
    return ImportOutcome(**{**given, **changes})


def create_threads(pool=2):
    """A product on thread 1 with the scheduler's spinning beside it; a reduction on a pool."""
    busy = {"1": 0.3, "2": 0.29, "main": 0.001}
    return ThreadMeasurements(
        product=ThreadTimes(wall_s=0.3, threads_s={**busy, **{f"p{n}": 0.0 for n in range(pool)}}),
        reduction=ThreadTimes(
            wall_s=0.3, threads_s={**busy, "1": 0.1, **{f"p{n}": 0.2 for n in range(pool)}}
        ),
    )


def create_runtime(**changes):
    given = {
        "runtime": "tuned",
        "variables": {"OMP_NUM_THREADS": "4", "ONEFLOW_ENABLE_ONEDNN_OPTS": "0"},
        "changes": {HUGE_PAGES: {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}},
        "identity": create_identity(),
        "imported": create_import(),
        "kernel": "Haswell",
        "stock_kernel": "Barcelona",
        "numpy_flops_per_s": 1e11,
        "matmul_flops_per_s": 9e10,
        "threads": create_threads(),
        "operators_s": {"examined": OPERATORS_S, ONEDNN: {"bias add": 0.01, "softmax": 0.001}},
        "memory": MemoryMeasurements(
            page_fault_s=1e-6, peak_rss_bytes=400 << 20, huge_page_bytes=0
        ),
        "rounds": create_rounds(),
    }
    return RuntimeMeasurements(**{**given, **changes})


def create_measured(machine=None, activity=None, runtime=None):
    return Measured(
        create_machine(**(machine or {})),
        create_activity(**(activity or {})),
        create_runtime(**(runtime or {})),
    )


def ask(checks, machine=None, activity=None, runtime=None):
    """The checks by their names, of made-up measurements with these changes."""
    measured = create_measured(machine, activity, runtime)
    return {check.name: check for check in judge(checks, measured)}
