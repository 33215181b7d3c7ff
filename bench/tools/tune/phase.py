"""Runs speed phases: programs against one base, by the statistics of `bench compare`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

from ...config import Contender, Measuring
from ...errors import InputError, WorkerError
from ...measure.execution import execute_speed
from ...plan.plan import Plan
from ...record.events import SpeedSetupEvent
from ...record.machine import read_available_bytes
from ...record.run import Document, RunRecord
from ...verdict.judge import INCONCLUSIVE
from ...verdict.stopping import FEWEST_REPLICATES
from ...verdict.summary import summarize_record_speed
from ...worker.messages import Launcher, Worker
from .candidates import Program, Setting
from .parity import Outcome, describe_failure

TOO_FEW = "too few processes were measured to know how they differ; give a longer --budget"
BASE = "base"  # the contender's name in the records
MOST_CONTENDERS = 4  # of a round
REPLICATES, MOST_REPLICATES = 4, 24  # a phase starts three of each if there is time for four
MEMORY_SHARE = 0.7  # of the available memory, for processes that are alive together


@dataclass(frozen=True)
class TuneRequest:
    plan: Plan
    settings: Mapping[str, Sequence[Setting]]  # by mode, in the order of the search
    budget_s: float
    timeout_s: float
    python: Optional[str] = None  # None: the interpreter that runs the suite


@dataclass
class SpeedPhases:
    """The speed phases of one mode, each a record in `folder`."""

    plan: Plan
    folder: Path
    dataset: Optional[Path]
    launch: Launcher
    observe: Callable[[str], None]
    clock: Callable[[], float]
    process_s: float = 0.0  # to start and measure a process; every phase corrects it
    wait_s: float = 0.0  # longest wait for one that has started
    count: int = 0

    def estimate_s(self, contenders: int) -> float:
        """The time that a phase needs beside its base and the control."""
        return REPLICATES * (contenders + 2) * self.process_s

    def count_places(self, left_s: float, process_bytes: int) -> int:
        """Contenders of a phase: as many as leave the time for another; else one if it fits.

        The first phase may have a fifth of that time: checks overestimate the cost of a process.
        """
        available = MEMORY_SHARE * (read_available_bytes() or 0)
        least_s = self.estimate_s(1) if self.count else 0.2 * self.estimate_s(1)
        fitting = [1] if least_s <= left_s else []
        fitting += [
            number
            for number in range(2, MOST_CONTENDERS + 1)
            if self.estimate_s(number) + self.estimate_s(1) <= left_s
            and (number + 2) * process_bytes <= available
        ]
        return max(fitting, default=0)

    def measure(
        self, title: str, base: Program, programs: Sequence[Program], budget_s: float
    ) -> Dict[str, Outcome]:
        """The outcome of each program against `base`.

        If a process fails, each program is measured alone, and the failure is the outcome of the
        one that fails again.
        """
        named = {BASE: base, **{f"setting-{i}": p for i, p in enumerate(programs)}}
        until_s = self.clock() + budget_s
        try:
            record = self._run(title, named, budget_s)
        except (WorkerError, InputError) as error:
            if len(programs) == 1:
                return {programs[0].name: describe_failure(error)}
            found: Dict[str, Outcome] = {}
            for left, program in zip(range(len(programs), 0, -1), programs):
                found.update(self.measure(title, base, [program], (until_s - self.clock()) / left))
            return found
        return {p.name: _read(record, name) for name, p in named.items() if name != BASE}

    def _run(self, title: str, programs: Dict[str, Program], budget_s: float) -> RunRecord:
        self.count += 1
        begin_s, mode = self.clock(), programs[BASE].contender.mode
        document = Document(
            run_id=f"{mode}-{self.count}-{title}",
            command="tune",
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            workload=self.plan.workload,
            measuring=Measuring(
                speed=True,
                budget_s=max(budget_s, 1e-3),
                replicates=MOST_REPLICATES,
                timeout_s=self.wait_s + FEWEST_REPLICATES * len(programs) * self.process_s,
            ),
            contenders=[p.contender.model_copy(update={"name": n}) for n, p in programs.items()],
            train_samples=0,
            val_samples=0,
            steps_per_epoch=self.plan.steps_per_epoch,
        )
        record = execute_speed(
            document,
            self.folder / document.run_id,
            partial(self._start, programs),
            lambda folder: self.dataset,
            lambda message, done, total: self.observe(f"{title}, {message}"),
            self.clock,
        )
        processes = len(record.of_kind(SpeedSetupEvent))
        self.process_s = (self.clock() - begin_s) / processes
        return record

    def _start(self, programs: Dict[str, Program], contender: Contender) -> Any:
        name = contender.name.split("-", 2)[2].rpartition("-")[0]  # of speed-ROLE-NAME-NUMBER
        return _FedWorker(self.launch(contender), programs[name].workload.feed)


class _FedWorker:
    """A worker that prepares with the feed of its program; the record has one feed for all."""

    def __init__(self, worker: Worker, feed: str) -> None:
        self._worker, self._feed = worker, feed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    def send(self, call: str, workload: Dict[str, Any], **request: Any) -> None:
        self._worker.send(call, workload={**workload, "feed": self._feed}, **request)


def _read(record: RunRecord, contender: str) -> Outcome:
    summary = summarize_record_speed(record, BASE, contender)
    if summary is None:
        return Outcome(verdict=INCONCLUSIVE, reason=TOO_FEW)
    judgement = summary.judgement
    return Outcome(
        verdict=judgement.verdict,
        reason=TOO_FEW if judgement.speedup.low is None else judgement.reason,
        speedup=judgement.speedup,
        replicates=judgement.replicates,
        warnings=summary.warnings,
        folder=record.document.run_id,
    )
