"""One diagnosis: read the machine, measure OneFlow, judge."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any, Dict, List, Optional

from ...errors import InputError
from ...worker.environment import RuntimeResolver
from ...worker.foreign_python import create_python_command
from ...worker.process import WorkerProcess
from .import_checks import check_installation
from .import_failure import parse_version
from .machine_checks import check_machine
from .machine_probes import (
    ROOT,
    read_frequency,
    read_machine,
    read_moment,
    subtract_moments,
    watch_others,
)
from .measuring import Measurement, Observer
from .readings import FrequencyReading
from .result import Check, Diagnosis
from .runtime_checks import check_runtime

WORKER = Path(__file__).with_name("worker.py")
WINDOW_S = 0.7  # of watching other processes, before and after; the kernel counts in 10 ms
CLOSING_S = 0.5  # kept for the end of the processes
SETTLING_S = 0.15  # from the start of a measurement to a steady clock; shorter than it takes
LOWEST_PYTHON = (3, 7)  # that the worker runs on
STARTING_S = 10.0  # longest that an interpreter may take to say its version


def diagnose(
    python: str,
    runtime: str,
    budget_s: float,
    created: str,
    observe: Observer,
    root: Path = ROOT,
    launch: Any = None,
    resolver: Optional[RuntimeResolver] = None,
) -> Diagnosis:
    """Examine the interpreter `python` on this machine within about `budget_s` seconds.

    Raises InputError where `python` is no interpreter that a worker runs on.
    """
    start = time.monotonic()
    check_interpreter(python)
    observe("watch the machine", 0, 0)
    machine, before = read_machine(root), read_moment(root)
    others = [watch_others(WINDOW_S, root)]
    frequencies: List[FrequencyReading] = []

    def read_busy() -> None:
        time.sleep(SETTLING_S)
        frequencies.append(read_frequency(root))

    with tempfile.TemporaryDirectory(prefix="oneflow-bench-doctor-") as folder:
        reading = Measurement(
            python,
            runtime,
            dict(os.environ),
            launch or create_doctor_launcher(python, Path(folder)),
            resolver or RuntimeResolver(),
            start + budget_s - WINDOW_S - CLOSING_S,
            observe,
        ).run(machine, read_busy)
    observe("watch the machine", 0, 0)
    others.append(watch_others(WINDOW_S, root))
    machine = machine.model_copy(update={"frequency": (frequencies or [machine.frequency])[-1]})
    activity = subtract_moments(
        before, read_moment(root), [cores for cores in others if cores is not None]
    )
    worker_bytes = reading.memory.peak_rss_bytes if reading.memory else None
    checks: List[Check] = [
        *check_installation(machine, reading),
        *check_runtime(machine, reading),
        *check_machine(machine, activity, worker_bytes),
    ]
    return Diagnosis(
        created=created,
        python=python,
        runtime=runtime,
        duration_s=time.monotonic() - start,
        checks=checks,
        machine=machine,
        activity=activity,
        oneflow=reading,
    )


def check_interpreter(python: str) -> None:
    """Raises InputError unless `python` starts and is a Python that the worker runs on."""
    lowest = ".".join(map(str, LOWEST_PYTHON))
    remedy = f"give --python the path of a Python {lowest} or later, such as {sys.executable}"
    code = "import platform; print(platform.python_version())"
    try:
        done = subprocess.run(
            create_python_command(python, code),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=STARTING_S,
        )
    except OSError as error:
        raise InputError(f"{python} cannot be started ({error.strerror}); {remedy}") from None
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{python} did not say its version within {STARTING_S:g} s; {remedy}"
        ) from None
    said = done.stdout.decode("utf-8", "replace").strip()
    version = parse_version(said)
    if done.returncode or len(version) < 2:
        raise InputError(f"{python} is no Python interpreter; {remedy}")
    if version < LOWEST_PYTHON:
        raise InputError(f"{python} is Python {said}; {remedy}")


def create_doctor_launcher(python: str, folder: Path) -> Any:
    """Starts the doctor's worker under `python` in an environment; logs go to `folder`."""

    numbers = count()

    def launch(name: str, environment: Dict[str, str]) -> WorkerProcess:
        log = folder / f"{name}-{next(numbers)}.log"  # a worker may be started twice
        return WorkerProcess(name, [python, str(WORKER)], environment, log)

    return launch
