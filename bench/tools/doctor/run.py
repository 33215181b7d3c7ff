"""One diagnosis: read the machine, measure OneFlow in turns with variants, judge."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from ...config import Contender
from ...measure.order import Observer
from ...record.machine import RECORDED_VARIABLES
from ...worker import product_times
from ...worker.environment import RuntimeResolver
from .diagnosis import (
    EXAMINED,
    OUT_OF_TIME,
    Diagnosis,
    Failure,
    Frequency,
    ImportOutcome,
    Machine,
    Measured,
    ProfiledStep,
    Round,
    RuntimeMeasurements,
    StepBlock,
    judge,
)
from .installation import INSTALLATION_CHECKS
from .machine import (
    MACHINE_CHECKS,
    ROOT,
    measure_activity,
    read_frequency,
    read_machine,
    read_moment,
    watch_others,
)
from .probe import PREPARATION, Launch, ProbeProcess, check_interpreter, create_probe_launcher
from .product_checks import PRELOADED, PRODUCT_CHECKS, PROFILE_CHECKS, plan_preload
from .runtime_checks import (
    CONTROL,
    CORE_TYPE,
    LEAST_ROUNDS,
    ONEDNN,
    RUNTIME_CHECKS,
    THREADS_VARIABLE,
    count_affordable,
    plan_variants,
)

CHECKS = [*INSTALLATION_CHECKS, *RUNTIME_CHECKS, *PRODUCT_CHECKS, *MACHINE_CHECKS]
RUN_BY_USER = (EXAMINED, CONTROL)  # environments whose crashes are findings
WINDOW_S = 0.7  # of watching other processes, before and after; the kernel counts in 10 ms
CLOSING_S = 0.5  # kept for the end of the processes
SETTLING_S = 0.15  # from the start of a measurement to a steady clock; shorter than it takes
OUT_OF_MEMORY = "there is no memory for another process"
BLOCK_S = 0.05  # least duration of a block of train steps
MOST_ROUNDS = 9
ROUND_RESERVE = 1.5  # time left before another round, in durations of the longest one
STEERING_VARIABLES = (*RECORDED_VARIABLES, "GLIBC_", "LD_")


def diagnose(
    python: str,
    runtime: str,
    budget_s: float,
    observe: Observer,
    root: Path = ROOT,
    launch: Optional[Launch] = None,
    resolver: Optional[RuntimeResolver] = None,
    profiled: Optional[ProfiledStep] = None,
) -> Diagnosis:
    """Examine the interpreter `python` on this machine within about `budget_s` seconds.

    The products of a `profiled` step are measured at their shapes.

    Raises InputError if `python` is no interpreter that a worker runs on.
    """
    start = time.monotonic()
    check_interpreter(python)
    observe("watch the machine", 0, 0)
    machine, before = read_machine(root), read_moment(root)
    others = watch_others(WINDOW_S, root)
    frequencies: List[Frequency] = [machine.frequency]

    def read_busy() -> None:
        time.sleep(SETTLING_S)
        frequencies.append(read_frequency(root))

    with tempfile.TemporaryDirectory(prefix="oneflow-bench-doctor-") as folder:
        measured = Measurement(
            python,
            runtime,
            dict(os.environ),
            launch or create_probe_launcher(python, Path(folder)),
            resolver or RuntimeResolver(),
            start + budget_s - WINDOW_S - CLOSING_S,
            observe,
            read_busy,
            profiled=profiled,
        ).run(machine)
    observe("watch the machine", 0, 0)
    others += watch_others(WINDOW_S, root)
    machine = machine.model_copy(update={"frequency": frequencies[-1]})
    everything = Measured(machine, measure_activity(before, read_moment(root), others), measured)
    return Diagnosis(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        python=python,
        runtime=runtime,
        duration_s=time.monotonic() - start,
        checks=judge([*CHECKS, *(PROFILE_CHECKS if profiled else ())], everything),
        **everything._asdict(),
    )


@dataclass
class Measurement:
    """The measurements of one interpreter and runtime, until `deadline_s` of the clock."""

    python: str
    runtime: str
    base: Dict[str, str]
    launch: Launch
    resolver: RuntimeResolver
    deadline_s: float
    observe: Observer
    when_busy: Callable[[], None]  # called once, while a core is busy
    clock: Callable[[], float] = time.monotonic
    profiled: Optional[ProfiledStep] = None
    failures: List[Failure] = field(default_factory=list)
    measured: Dict[str, Any] = field(default_factory=dict)  # fields of RuntimeMeasurements
    probes: Dict[str, ProbeProcess] = field(default_factory=dict)

    def run(self, machine: Machine) -> RuntimeMeasurements:
        """Everything there is time for."""
        self.measured["variables"] = self.base
        try:
            if self._import():
                self._measure(machine)
        finally:
            for probe in self.probes.values():
                probe.close()
        variables = sorted(self.measured.pop("variables").items())
        return RuntimeMeasurements(
            runtime=self.runtime,
            variables={k: value for k, value in variables if k.startswith(STEERING_VARIABLES)},
            failures=self.failures,
            profiled=self.profiled,
            **self.measured,
        )

    def time_left(self) -> float:
        return max(0.0, self.deadline_s - self.clock())

    def _add_probe(
        self,
        name: str,
        environment: Dict[str, str],
        counts: bool = False,
        preparation: Sequence[str] = (),
    ) -> ProbeProcess:
        self.probes[name] = ProbeProcess(
            name, environment, self.launch, self.time_left, self.failures, counts, preparation
        )
        return self.probes[name]

    def _import(self) -> bool:
        """Ask for the interpreter's packages, and whether it imports OneFlow for the user."""
        self.observe("import OneFlow", 0, 0)
        failed: List[Failure] = []
        probe = self._add_probe("import", self.base)
        self.measured["identity"] = probe.ask("identify")
        probe.failures, probe.counts = failed, True  # a failed import is a finding of its own
        answer = probe.ask("import_oneflow")
        if failed and not failed[0].crashed:
            self.failures += failed
        elif answer or failed:
            found = answer or {"error": failed[0].reason}
            self.measured["imported"] = ImportOutcome(log_tail=probe.log_tail, **found)
        probe.close()
        return answer is not None

    def _measure(self, machine: Machine) -> None:
        self.observe("ask the BLAS", 0, 0)
        examined = Contender(name=EXAMINED, mode="eager", runtime=self.runtime)
        stock = Contender(name="stock", mode="eager", runtime="stock")
        environment = self.resolver.resolve(examined, self.python)
        kernel = self.resolver.find_kernel(examined, self.python)
        libc = (self.measured["identity"] or {}).get("libc", "")
        changes = plan_variants(environment, kernel, machine, libc)
        changes.update(plan_preload(environment, self.python))
        # as many variants as fit beside the examined environment
        for name in list(changes)[max(0, count_affordable(machine) - 1) :]:
            self._fail(f"train steps ({name})", OUT_OF_MEMORY)
            del changes[name]
        self.measured.update(
            variables=environment,
            changes=changes,
            kernel=kernel,
            stock_kernel=self.resolver.find_kernel(stock, self.python),
            numpy_flops_per_s=self._measure_numpy(environment),
        )
        self.observe("start the processes", 0, 0)
        probes = [
            self._add_probe(name, {**environment, **change}, name in RUN_BY_USER, PREPARATION)
            for name, change in {EXAMINED: {}, **changes}.items()
        ]
        for probe in probes:
            probe.begin()
        for probe in probes:
            probe.wait()
        self._measure_operators()
        if self.profiled is not None:
            self.measured["products_s"] = dict(self._measure_products(self.profiled))
        self._take_turns([EXAMINED, *changes])

    def _fail(self, measurement: str, reason: str) -> None:
        self.failures.append(Failure(measurement=measurement, reason=reason))

    def _measure_numpy(self, environment: Dict[str, str]) -> Optional[float]:
        """Rate of NumPy's product on one core; its BLAS chooses the kernel."""
        free = {name: value for name, value in environment.items() if name != CORE_TYPE}
        one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", THREADS_VARIABLE), "1")
        probe = self._add_probe("numpy", {**free, **one})
        answer = probe.ask("measure_numpy_product")
        probe.close()
        return answer["flops_per_s"] if answer else None

    def _measure_operators(self) -> None:
        self.observe("operators", 0, 0)
        examined = self.probes[EXAMINED]
        matmul = examined.ask("measure_matrix_product", self.when_busy) or {}
        answers = {
            name: self.probes[name].ask("measure_operators")
            for name in (EXAMINED, ONEDNN)
            if name in self.probes
        }
        self.measured.update(
            matmul_flops_per_s=matmul.get("flops_per_s"),
            threads=examined.ask("measure_reduction"),
            operators_s={k: answer["operators_s"] for k, answer in answers.items() if answer},
            memory=examined.ask("measure_memory"),
        )

    def _measure_products(self, step: ProfiledStep) -> Iterator[Tuple[str, float]]:
        """Seconds of all products of a step, by the examined BLAS and the other one."""
        self.observe("products of the model", 0, 0)
        timer = product_times.__file__
        for name in [name for name in (EXAMINED, PRELOADED) if name in self.probes]:
            answer = self.probes[name].ask("measure_products", timer=timer, shapes=step.shapes)
            if answer:
                yield name, sum(n * t for n, t in zip(step.counts, answer["times_s"]))

    def _take_turns(self, names: List[str]) -> None:
        """Rounds of one block each, in one order and then in the other, so that drift cancels.

        A round begins only if it is likely to end in time.
        """
        rounds: List[Round] = []
        longest_s = 0.0
        while len(rounds) < MOST_ROUNDS and self.time_left() > ROUND_RESERVE * longest_s:
            start_s = self.clock()
            self.observe("train steps", len(rounds), MOST_ROUNDS)
            answers = {
                name: self.probes[name].ask("measure_train_steps", block_s=BLOCK_S)
                for name in (names if len(rounds) % 2 == 0 else names[::-1])
            }
            blocks = {name: StepBlock(**answer) for name, answer in answers.items() if answer}
            if EXAMINED not in blocks:
                break
            examined = blocks.pop(EXAMINED)
            rounds.append(Round(examined=examined, variants=blocks))
            longest_s = max(longest_s, self.clock() - start_s)
        self.measured["rounds"] = rounds
        if len(rounds) < LEAST_ROUNDS:
            self._fail(f"train steps in {LEAST_ROUNDS} rounds", OUT_OF_TIME)
