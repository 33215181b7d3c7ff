"""Measures OneFlow in the environment examined, and in variants of it that take turns with it."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from ...config import Contender
from ...errors import WorkerError, WorkerTimeout
from ...record.machine import RECORDED_VARIABLES
from ...worker.environment import RuntimeResolver
from . import thresholds
from .planning import Changes, count_affordable, plan_variants
from .readings import (
    CONTROL,
    ONEDNN,
    Failure,
    IdentityReading,
    ImportReading,
    MachineReading,
    MemoryReading,
    Round,
    RuntimeReading,
    StepBlock,
    ThreadReading,
)
from .runtime_checks import CORE_TYPE, THREADS_VARIABLE
from .subject import OUT_OF_TIME, Launch, Subject, describe_end

EXAMINED = "examined"
IMPORT = "import"  # the first of all, in the user's own environment
OUT_OF_MEMORY = "there is no memory for another process"
BLOCK_S = 0.05  # least duration of a block of train steps
MOST_ROUNDS = 9
ROUND_RESERVE = 1.5  # longest rounds that must be left in time for another
STEERING_VARIABLES = (*RECORDED_VARIABLES, "GLIBC_", "LD_")

Observer = Callable[[str, int, int], None]


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
        self._read: Dict[str, Any] = {}
        self._subjects: List[Subject] = []

    def run(self, machine: MachineReading, when_busy: Callable[[], None]) -> RuntimeReading:
        """Everything there is time for. `when_busy` is called while a core is busy."""
        try:
            self._observe("import OneFlow", 0, 0)
            identity, imported = self._inquire()
            self._read.update(identity=identity, imported=imported, variables=self._base)
            if imported is not None and imported.error is None:
                self._measure(identity, machine, when_busy)
        finally:
            for subject in self._subjects:
                subject.close()
        steering = self._read.pop("variables")
        return RuntimeReading(
            runtime=self._runtime,
            variables={
                name: value
                for name, value in sorted(steering.items())
                if name.startswith(STEERING_VARIABLES)
            },
            failures=self._failures,
            **self._read,
        )

    def time_left(self) -> float:
        return max(0.0, self._deadline_s - self._clock())

    def _inquire(self) -> Tuple[Optional[IdentityReading], Optional[ImportReading]]:
        """What the interpreter has, and whether it imports OneFlow in the user's environment."""
        answer = self._ask_once("identity", self._base, "identify", "versions")
        identity = None if answer is None else IdentityReading(**answer)
        return identity, self._create_subject(IMPORT, self._base).load()

    def _create_subject(self, name: str, environment: Dict[str, str]) -> Subject:
        subject = Subject(
            name,
            environment,
            self._launch,
            self.time_left,
            self._failures,
            guilty=name in (IMPORT, EXAMINED, CONTROL),
            builds=name != IMPORT,
        )
        self._subjects.append(subject)
        return subject

    def _measure(
        self,
        identity: Optional[IdentityReading],
        machine: MachineReading,
        when_busy: Callable[[], None],
    ) -> None:
        self._subjects.pop().close()
        self._observe("ask the BLAS", 0, 0)
        examined = Contender(name=EXAMINED, mode="eager", runtime=self._runtime)
        stock = Contender(name="stock", mode="eager", runtime="stock")
        environment = self._resolver.resolve(examined, self._python)
        kernel = self._resolver.find_kernel(examined, self._python)
        changes = self._give_up(
            plan_variants(environment, kernel, machine, identity), count_affordable(machine)
        )
        self._read.update(
            variables=environment,
            changes=changes,
            kernel=kernel,
            stock_kernel=self._resolver.find_kernel(stock, self._python),
            numpy_flops_per_s=self._measure_numpy(environment),
        )
        self._observe("start the processes", 0, 0)
        subject = self._create_subject(EXAMINED, environment)
        variants = {
            name: self._create_subject(name, {**environment, **change})
            for name, change in changes.items()
        }
        for started in (subject, *variants.values()):
            started.begin()
        for started in (subject, *variants.values()):
            started.wait()
        self._measure_operators(subject, variants.get(ONEDNN), when_busy)
        memory = subject.ask("measure_memory")
        if memory is not None:
            self._read["memory"] = MemoryReading(**memory)
        self._take_turns(subject, variants)

    def _give_up(self, changes: Changes, affordable: Optional[int]) -> Changes:
        """The variants that fit beside the examined environment; a failure for each other one."""
        if affordable is None:
            return changes
        kept = dict(list(changes.items())[: max(0, affordable - 1)])
        for name in changes:
            if name not in kept:
                self._failures.append(
                    Failure(
                        measurement=f"train steps ({name})", reason=OUT_OF_MEMORY, crashed=False
                    )
                )
        return kept

    def _measure_numpy(self, environment: Dict[str, str]) -> Optional[float]:
        """Rate of NumPy's product on one core, its BLAS free to choose the kernel."""
        free = {name: value for name, value in environment.items() if name != CORE_TYPE}
        one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", THREADS_VARIABLE), "1")
        answer = self._ask_once("numpy", {**free, **one}, "measure_numpy", "NumPy's matrix product")
        return None if answer is None else float(answer["flops_per_s"])

    def _ask_once(
        self, name: str, environment: Dict[str, str], call: str, measurement: str
    ) -> Optional[Dict[str, Any]]:
        """One answer of a worker that needs no OneFlow; None, and a failure noted, without one."""
        worker = self._launch(name, environment)
        try:
            answer: Dict[str, Any] = worker.ask(call, self.time_left())
            reason = answer.get("error")
        except WorkerTimeout:
            reason = OUT_OF_TIME
        except WorkerError as error:
            reason = describe_end(error)
        finally:
            worker.close()
        if reason is None:
            return answer
        self._failures.append(Failure(measurement=measurement, reason=reason, crashed=False))
        return None

    def _measure_operators(
        self, subject: Subject, onednn: Optional[Subject], when_busy: Callable[[], None]
    ) -> None:
        self._observe("operators", 0, 0)
        matmul = subject.ask("measure_matmul", when_busy)
        if matmul is not None:
            self._read["matmul_flops_per_s"] = matmul["flops_per_s"]
        threads = subject.ask("measure_threads")
        if threads is not None:
            self._read["threads"] = ThreadReading(**threads)
        found = {EXAMINED: subject, ONEDNN: onednn}
        answers = {name: one.ask("measure_operators") for name, one in found.items() if one}
        self._read["operators_s"] = {
            name: answer["operators_s"] for name, answer in answers.items() if answer is not None
        }

    def _take_turns(self, subject: Subject, variants: Dict[str, Subject]) -> None:
        """Rounds of one block each, in one order and then in the other, so that drift cancels.

        None is begun that is not likely to end in time.
        """
        everybody = {EXAMINED: subject, **variants}
        rounds: List[Round] = []
        longest_s = 0.0
        while len(rounds) < MOST_ROUNDS and self.time_left() > ROUND_RESERVE * longest_s:
            start_s = self._clock()
            self._observe("train steps", len(rounds), MOST_ROUNDS)
            order = list(everybody) if len(rounds) % 2 == 0 else list(everybody)[::-1]
            blocks: Dict[str, StepBlock] = {}
            for name in order:
                answer = everybody[name].ask("measure_steps", block_s=BLOCK_S)
                if answer is not None:
                    blocks[name] = StepBlock(**answer)
            if EXAMINED not in blocks:
                break
            examined = blocks.pop(EXAMINED)
            rounds.append(Round(examined=examined, variants=blocks))
            longest_s = max(longest_s, self._clock() - start_s)
        self._read["rounds"] = rounds
        if len(rounds) < thresholds.LEAST_ROUNDS:
            self._failures.append(
                Failure(
                    measurement=f"train steps in {thresholds.LEAST_ROUNDS} rounds",
                    reason=OUT_OF_TIME,
                    crashed=False,
                )
            )
