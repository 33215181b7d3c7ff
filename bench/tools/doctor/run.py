"""One diagnosis: read the machine, measure OneFlow in turns with variants, judge."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from ...config import Contender
from ...record.machine import RECORDED_VARIABLES
from ...worker.environment import RuntimeResolver
from .diagnosis import (
    CONTROL,
    ONEDNN,
    OUT_OF_TIME,
    Diagnosis,
    Failure,
    Frequency,
    Identity,
    ImportOutcome,
    Machine,
    MemoryMeasurements,
    Round,
    RuntimeMeasurements,
    StepBlock,
    ThreadMeasurements,
)
from .import_checks import check_installation
from .machine import ROOT, measure_activity, read_frequency, read_machine, read_moment, watch_others
from .machine_checks import check_machine
from .probe import Launch, ProbeProcess, check_interpreter, create_probe_launcher
from .runtime_checks import check_runtime
from .variants import (
    CORE_TYPE,
    LEAST_ROUNDS,
    THREADS_VARIABLE,
    Changes,
    count_affordable,
    plan_variants,
)

WINDOW_S = 0.7  # of watching other processes, before and after; the kernel counts in 10 ms
CLOSING_S = 0.5  # kept for the end of the processes
SETTLING_S = 0.15  # from the start of a measurement to a steady clock; shorter than it takes
EXAMINED = "examined"
IMPORT = "import"  # the first of all, in the user's own environment
OUT_OF_MEMORY = "there is no memory for another process"
BLOCK_S = 0.05  # least duration of a block of train steps
MOST_ROUNDS = 9
ROUND_RESERVE = 1.5  # time left before another round, in durations of the longest one
STEERING_VARIABLES = (*RECORDED_VARIABLES, "GLIBC_", "LD_")

Observer = Callable[[str, int, int], None]


def diagnose(
    python: str,
    runtime: str,
    budget_s: float,
    created: str,
    observe: Observer,
    root: Path = ROOT,
    launch: Optional[Launch] = None,
    resolver: Optional[RuntimeResolver] = None,
) -> Diagnosis:
    """Examine the interpreter `python` on this machine within about `budget_s` seconds.

    Raises InputError if `python` is no interpreter that a worker runs on.
    """
    start = time.monotonic()
    check_interpreter(python)
    observe("watch the machine", 0, 0)
    machine, before = read_machine(root), read_moment(root)
    others = [watch_others(WINDOW_S, root)]
    frequencies: List[Frequency] = []

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
        ).run(machine, read_busy)
    observe("watch the machine", 0, 0)
    others.append(watch_others(WINDOW_S, root))
    machine = machine.model_copy(update={"frequency": (frequencies or [machine.frequency])[-1]})
    activity = measure_activity(
        before, read_moment(root), [cores for cores in others if cores is not None]
    )
    worker_bytes = measured.memory.peak_rss_bytes if measured.memory else None
    return Diagnosis(
        created=created,
        python=python,
        runtime=runtime,
        duration_s=time.monotonic() - start,
        checks=[
            *check_installation(machine, measured),
            *check_runtime(machine, measured),
            *check_machine(machine, activity, worker_bytes),
        ],
        machine=machine,
        activity=activity,
        oneflow=measured,
    )


class Measurement:
    """The measurements of one interpreter and runtime, until `deadline_s` of the clock."""

    def __init__(
        self,
        python: str,
        runtime: str,
        base: Dict[str, str],
        launch: Launch,
        resolver: RuntimeResolver,
        deadline_s: float,
        observe: Observer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._python, self._runtime, self._base = python, runtime, base
        self._launch, self._resolver, self._observe = launch, resolver, observe
        self._deadline_s, self._clock = deadline_s, clock
        self._failures: List[Failure] = []
        self._measured: Dict[str, Any] = {}
        self._probes: List[ProbeProcess] = []

    def run(self, machine: Machine, when_busy: Callable[[], None]) -> RuntimeMeasurements:
        """Everything there is time for. `when_busy` is called while a core is busy."""
        try:
            self._observe("import OneFlow", 0, 0)
            identity, imported = self._inquire()
            self._measured.update(identity=identity, imported=imported, variables=self._base)
            if imported is not None and imported.error is None:
                self._measure(identity, machine, when_busy)
        finally:
            for probe in self._probes:
                probe.close()
        variables = self._measured.pop("variables")
        return RuntimeMeasurements(
            runtime=self._runtime,
            variables={
                name: value
                for name, value in sorted(variables.items())
                if name.startswith(STEERING_VARIABLES)
            },
            failures=self._failures,
            **self._measured,
        )

    def time_left(self) -> float:
        return max(0.0, self._deadline_s - self._clock())

    def _inquire(self) -> Tuple[Optional[Identity], Optional[ImportOutcome]]:
        """The interpreter's packages, and whether it imports OneFlow in the user's environment."""
        answer = self._ask_once("identity", self._base, "identify")
        identity = None if answer is None else Identity(**answer)
        probe = self._create_probe(IMPORT, self._base, preparation=("load",))
        imported = probe.load()
        probe.close()
        return identity, imported

    def _create_probe(self, name: str, environment: Dict[str, str], **flags: Any) -> ProbeProcess:
        counts = name in (IMPORT, EXAMINED, CONTROL)
        probe = ProbeProcess(
            name, environment, self._launch, self.time_left, self._failures, counts, **flags
        )
        self._probes.append(probe)
        return probe

    def _ask_once(
        self, name: str, environment: Dict[str, str], call: str
    ) -> Optional[Dict[str, Any]]:
        """One answer of a worker that needs no OneFlow; None, and a failure noted, without one."""
        probe = self._create_probe(name, environment, preparation=())
        answer = probe.ask(call)
        probe.close()
        return answer

    def _measure(
        self, identity: Optional[Identity], machine: Machine, when_busy: Callable[[], None]
    ) -> None:
        self._observe("ask the BLAS", 0, 0)
        examined = Contender(name=EXAMINED, mode="eager", runtime=self._runtime)
        stock = Contender(name="stock", mode="eager", runtime="stock")
        environment = self._resolver.resolve(examined, self._python)
        kernel = self._resolver.find_kernel(examined, self._python)
        changes = self._drop_unaffordable(
            plan_variants(environment, kernel, machine, identity), count_affordable(machine)
        )
        self._measured.update(
            variables=environment,
            changes=changes,
            kernel=kernel,
            stock_kernel=self._resolver.find_kernel(stock, self._python),
            numpy_flops_per_s=self._measure_numpy(environment),
        )
        self._observe("start the processes", 0, 0)
        probes = {
            name: self._create_probe(name, {**environment, **change})
            for name, change in {EXAMINED: {}, **changes}.items()
        }
        for probe in probes.values():
            probe.begin()
        for probe in probes.values():
            probe.wait()
        self._measure_operators(probes, when_busy)
        memory = probes[EXAMINED].ask("measure_memory")
        if memory is not None:
            self._measured["memory"] = MemoryMeasurements(**memory)
        self._take_turns(probes)

    def _drop_unaffordable(self, changes: Changes, affordable: Optional[int]) -> Changes:
        """The variants that fit beside the examined environment; a failure for each other one."""
        if affordable is None:
            return changes
        names = list(changes)
        kept = max(0, affordable - 1)
        for name in names[kept:]:
            self._fail(f"train steps ({name})", OUT_OF_MEMORY)
        return {name: changes[name] for name in names[:kept]}

    def _fail(self, measurement: str, reason: str) -> None:
        self._failures.append(Failure(measurement=measurement, reason=reason, crashed=False))

    def _measure_numpy(self, environment: Dict[str, str]) -> Optional[float]:
        """Rate of NumPy's product on one core; its BLAS chooses the kernel."""
        free = {name: value for name, value in environment.items() if name != CORE_TYPE}
        one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", THREADS_VARIABLE), "1")
        answer = self._ask_once("numpy", {**free, **one}, "measure_numpy")
        return None if answer is None else float(answer["flops_per_s"])

    def _measure_operators(
        self, probes: Dict[str, ProbeProcess], when_busy: Callable[[], None]
    ) -> None:
        self._observe("operators", 0, 0)
        matmul = probes[EXAMINED].ask("measure_matmul", when_busy)
        if matmul is not None:
            self._measured["matmul_flops_per_s"] = matmul["flops_per_s"]
        threads = probes[EXAMINED].ask("measure_threads")
        if threads is not None:
            self._measured["threads"] = ThreadMeasurements(**threads)
        compared = [name for name in (EXAMINED, ONEDNN) if name in probes]
        answers = {name: probes[name].ask("measure_operators") for name in compared}
        self._measured["operators_s"] = {
            name: answer["operators_s"] for name, answer in answers.items() if answer is not None
        }

    def _take_turns(self, probes: Dict[str, ProbeProcess]) -> None:
        """Rounds of one block each, in one order and then in the other, so that drift cancels.

        A round begins only if it is likely to end in time.
        """
        rounds: List[Round] = []
        longest_s = 0.0
        while len(rounds) < MOST_ROUNDS and self.time_left() > ROUND_RESERVE * longest_s:
            start_s = self._clock()
            self._observe("train steps", len(rounds), MOST_ROUNDS)
            blocks: Dict[str, StepBlock] = {}
            for name in list(probes) if len(rounds) % 2 == 0 else list(probes)[::-1]:
                answer = probes[name].ask("measure_steps", block_s=BLOCK_S)
                if answer is not None:
                    blocks[name] = StepBlock(**answer)
            if EXAMINED not in blocks:
                break
            examined = blocks.pop(EXAMINED)
            rounds.append(Round(examined=examined, variants=blocks))
            longest_s = max(longest_s, self._clock() - start_s)
        self._measured["rounds"] = rounds
        if len(rounds) < LEAST_ROUNDS:
            self._fail(f"train steps in {LEAST_ROUNDS} rounds", OUT_OF_TIME)
