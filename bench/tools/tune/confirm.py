"""The best of a search against stock, in fresh processes, by the verdict of `bench compare`."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from ...config import Contender, Measuring, Workload
from ...measure.execution import execute_speed
from ...record.run import Document, RunRecord
from ...verdict.judge import Judgement
from ...verdict.summary import summarize_record_speed
from .race import NO_TIME, TOO_FEW
from .result import NOT_TRIED

Launch = Callable[[Contender], Any]


class Finalist(NamedTuple):
    """A contender for stock, and its feed where that is not the workload's."""

    contender: Contender
    feed: Optional[str]


class Confirmed(NamedTuple):
    """What the speed verdict said of a finalist."""

    verdict: str
    reason: str
    judgement: Optional[Judgement]
    warnings: Sequence[str] = ()  # of what disturbed the measuring


UNTRIED = Confirmed(NOT_TRIED, NO_TIME, None)


class Confirmer:
    """Runs speed phases of one mode: stock, and some finalists at once that share its processes."""

    def __init__(
        self,
        workload: Workload,
        steps_per_epoch: int,
        dataset: Optional[Path],
        stock: Contender,
        timeout_s: float,
        launch: Launch,
        observe: Callable[[str, int, int], None],
        clock: Callable[[], float],
    ) -> None:
        self._workload, self._steps_per_epoch, self._dataset = workload, steps_per_epoch, dataset
        self._stock, self._timeout_s, self._launch = stock, timeout_s, launch
        self._observe, self._clock = observe, clock

    def confirm(
        self, folder: Path, finalists: Sequence[Finalist], budget_s: float
    ) -> List[Confirmed]:
        """Of each finalist against stock; the record is written to `folder`, which is created.

        Raises WorkerError or InputError where a process fails, with the record kept.
        """
        document = Document(
            run_id=folder.name,
            command="tune",
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            workload=self._workload,
            measuring=Measuring(speed=True, budget_s=budget_s, timeout_s=self._timeout_s),
            contenders=[self._stock, *(finalist.contender for finalist in finalists)],
            train_samples=0,
            val_samples=0,
            steps_per_epoch=self._steps_per_epoch,
        )
        record = execute_speed(
            document,
            folder,
            with_feeds(self._launch, finalists),
            lambda folder: self._dataset,
            self._observe,
            self._clock,
        )
        return [
            _read_verdict(record, self._stock.name, finalist.contender.name)
            for finalist in finalists
        ]


def _read_verdict(record: RunRecord, stock: str, contender: str) -> Confirmed:
    summary = summarize_record_speed(record, stock, contender)
    if summary is None:
        return UNTRIED
    judgement = summary.judgement
    reason = judgement.reason if judgement.speedup.low is not None else TOO_FEW
    return Confirmed(judgement.verdict, reason, judgement, summary.warnings)


def with_feeds(launch: Launch, finalists: Sequence[Finalist]) -> Launch:
    """A launcher whose workers of a finalist have its feed; others are as they are."""
    feeds = {f"-contender-{f.contender.name}-": f.feed for f in finalists if f.feed}

    def start(contender: Contender) -> Any:
        worker = launch(contender)
        feed = next((feed for mark, feed in feeds.items() if mark in contender.name), None)
        return worker if feed is None else _FedWorker(worker, feed)

    return start


class _FedWorker:
    """A worker whose workload has another feed; everything else is its own."""

    def __init__(self, worker: Any, feed: str) -> None:
        self._worker, self._feed = worker, feed

    def send(self, call: str, **request: Any) -> None:
        if call == "prepare":
            workload: Dict[str, Any] = {**request["workload"], "feed": self._feed}
            request = {**request, "workload": workload}
        self._worker.send(call, **request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)
