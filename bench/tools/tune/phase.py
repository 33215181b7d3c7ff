"""Runs speed phases: programs against one base, by the statistics of `bench compare`."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

from ...config import Contender, Measuring
from ...errors import InputError, WorkerError
from ...measure.execution import execute_speed
from ...measure.order import SPEED_BLOCK_S
from ...plan.plan import Plan
from ...record.events import SpeedBlockEvent, SpeedSetupEvent
from ...record.run import Document
from ...verdict.judge import INCONCLUSIVE
from ...verdict.stopping import FEWEST_REPLICATES, FIRST_MEASURED_S
from ...verdict.summary import summarize_record_speed
from .candidates import Program
from .parity_check import Launch, Outcome, describe_failure

TOO_FEW = "too few processes were measured to know how they differ; give a longer --budget"
BASE = "base"  # the contender's name in the records


class SpeedPhases:
    """The speed phases of one mode, each a record in `folder`.

    `process_s` is the time that one more process adds to a start; every phase corrects it.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        dataset: Optional[Path],
        launch: Launch,
        observe: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._plan, self._folder, self._dataset, self._launch = plan, folder, dataset, launch
        self._observe, self._clock = observe, clock
        self.step_time_s = self.process_s = self.wait_s = 0.0
        self.count = 0

    def estimate_s(self, contenders: int, replicates: int = FEWEST_REPLICATES) -> float:
        """About how long a phase of so many contenders needs.

        It starts three replicates only if there is time to start four.
        """
        processes = replicates * (contenders + 2)
        double_round_s = 2 * processes * max(SPEED_BLOCK_S, self.step_time_s)
        measured_s = min(max(FIRST_MEASURED_S, 4 * double_round_s), 8 * double_round_s)
        spare = contenders + 2 if replicates > 1 else 0
        return (processes + spare) * self.process_s + measured_s

    def measure(
        self, title: str, base: Program, programs: Sequence[Program], budget_s: float,
        replicates: int,
    ) -> Dict[str, Outcome]:  # fmt: skip
        """The outcome of each program against `base`, with so many replicates at most.

        A program whose process fails is out, and the phase is repeated without it. Raises
        WorkerError or InputError if the base fails.
        """
        until_s = self._clock() + budget_s
        failed: Dict[str, Outcome] = {}
        while len(failed) < len(programs):
            known = len(failed)
            sound = {f"setting-{i}": p for i, p in enumerate(programs) if p.name not in failed}
            self.count += 1
            folder = self._folder / f"{base.contender.mode}-{self.count}-{title}"
            document = self._create_document(folder.name, {BASE: base, **sound})
            left_s = max(until_s - self._clock(), 1e-3)
            document.measuring = Measuring(
                speed=True, budget_s=left_s, replicates=replicates,
                timeout_s=self.wait_s + FEWEST_REPLICATES * (len(sound) + 2) * self.process_s,
            )  # fmt: skip
            launch = partial(self._start, {**sound, BASE: base}, failed)
            try:
                record = execute_speed(
                    document, folder, launch, lambda folder: self._dataset,
                    lambda message, done, total: self._observe(f"{title}, {message}"), self._clock,
                )  # fmt: skip
            except (WorkerError, InputError):
                if len(failed) == known:
                    raise
                continue
            scored = [e for e in record.of_kind(SpeedBlockEvent) if e.kind == "scored"]
            started = [e for e in record.of_kind(SpeedSetupEvent) if e.wave == 0]
            self.process_s = scored[0].started_s / len(started)
            return {**failed, **{p.name: _read(record, name) for name, p in sound.items()}}
        return failed

    def _create_document(self, run_id: str, programs: Mapping[str, Program]) -> Document:
        return Document(
            run_id=run_id,
            command="tune",
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            workload=self._plan.workload,
            measuring=Measuring(),
            contenders=[p.contender.model_copy(update={"name": n}) for n, p in programs.items()],
            train_samples=0,
            val_samples=0,
            steps_per_epoch=self._plan.steps_per_epoch,
        )

    def _start(
        self, programs: Mapping[str, Program], failed: Dict[str, Outcome], contender: Contender
    ) -> Any:
        _, role, rest = contender.name.split("-", 2)
        program = programs[rest.rpartition("-")[0]]

        def note(error: Exception) -> None:
            if role == "contender":
                failed[program.name] = describe_failure(error)

        return _SpeedWorker(self._launch(contender), program.workload.feed, note)


class _SpeedWorker:
    """A worker of a speed phase with the feed of its program, which notes its failure."""

    def __init__(self, worker: Any, feed: str, note: Callable[[Exception], None]) -> None:
        self._worker, self._feed, self._note = worker, feed, note

    def __getattr__(self, name: str) -> Any:
        return partial(self._turn, name)

    def _turn(self, name: str, *arguments: Any, **request: Any) -> Any:
        if "workload" in request:
            request["workload"] = {**request["workload"], "feed": self._feed}
        try:
            return getattr(self._worker, name)(*arguments, **request)
        except (WorkerError, InputError) as error:
            self._note(error)
            raise


def _read(record: Any, contender: str) -> Outcome:
    """The verdict on a contender of a speed phase."""
    summary = summarize_record_speed(record, BASE, contender)
    if summary is None:
        return Outcome(INCONCLUSIVE, TOO_FEW)
    judgement = summary.judgement
    reason = judgement.reason if judgement.speedup.low is not None else TOO_FEW
    folder = record.document.run_id
    return Outcome(judgement.verdict, reason, judgement, summary.warnings, folder)
