"""The best of a search against stock, in fresh processes, by the verdict of `bench compare`."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple

from oneflow_bench.config import Contender, Measuring, Workload
from oneflow_bench.errors import InputError, WorkerError, WorkerTimeout
from oneflow_bench.record import Document, RecordWriter, load_record
from oneflow_bench.speed import summarize_record_speed
from oneflow_bench.speed_run import SpeedRun
from oneflow_bench.tuning.heat import CRASHED, HUNG, REFUSED
from oneflow_bench.tuning.race import TOO_FEW
from oneflow_bench.verdict.judge import INCONCLUSIVE, Judgement

Launch = Callable[[Contender], Any]


def confirm(
    folder: Path,
    workload: Workload,
    steps_per_epoch: int,
    dataset: Optional[Path],
    contenders: Tuple[Contender, Contender],
    feed: Optional[str],
    measuring: Measuring,
    launch: Launch,
    observe: Callable[[str, int, int], None],
    clock: Callable[[], float],
) -> Tuple[str, str, Optional[Judgement]]:
    """(verdict, reason, judgement) of the second contender against the first; `folder` is created.

    With a `feed` the second contender has that instead of the workload's. A worker that fails is a
    result.
    """
    document = Document(
        run_id=folder.name,
        command="tune",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        workload=workload,
        measuring=measuring,
        contenders=list(contenders),
        train_samples=0,
        val_samples=0,
        steps_per_epoch=steps_per_epoch,
    )
    writer = RecordWriter(folder, document)
    failure: Optional[Tuple[str, str]] = None
    try:
        SpeedRun(writer, with_feed(launch, feed), dataset, observe, clock).run()
        document.status = "complete"
    except (WorkerError, InputError) as error:
        kind = HUNG if isinstance(error, WorkerTimeout) else CRASHED
        failure = (REFUSED if isinstance(error, InputError) else kind, str(error))
        document.status, document.error = "failed", str(error)
    except BaseException:
        document.status = "interrupted"
        raise
    finally:
        document.finished = datetime.now(timezone.utc).isoformat(timespec="seconds")
        writer.close()
    summary = summarize_record_speed(load_record(folder))
    judgement = summary.judgement if summary else None
    if failure is not None:
        return failure[0], failure[1], judgement
    if judgement is None:
        return INCONCLUSIVE, "no time was left to measure it; give a longer --budget", None
    reason = judgement.reason if judgement.speedup.low is not None else TOO_FEW
    return judgement.verdict, reason, judgement


def with_feed(launch: Launch, feed: Optional[str]) -> Launch:
    """A launcher whose workers of the contender's role are fed so; others as they are."""
    if feed is None:
        return launch

    def start(contender: Contender) -> Any:
        worker = launch(contender)
        return _FedWorker(worker, feed) if "-contender-" in contender.name else worker

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
