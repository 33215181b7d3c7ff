"""Runs the cells of a sweep: each is a comparison of two modes that always ends in a result.

OneFlow lives in the workers alone, each in a session of its own, so that no crash of it reaches
this process. Every wait for an answer is limited by the time of the cell. A `bench compare` for
each cell would have to be ended from outside, which can leave its workers behind, and would return
a sentence on stderr in place of the kind of error.
"""

from __future__ import annotations

import re
import shutil
import signal
import statistics
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from ...config import Contender
from ...errors import InputError, Interrupted, WorkerError, WorkerTimeout
from ...measure.execution import create_document, execute_plan
from ...measure.order import Observer
from ...measure.parity_phase import PARITY_FOLDER, judge_training
from ...parity.run import create_check_launcher
from ...plan.checks import validated
from ...record.machine import read_oom_kills
from ...record.run import RunRecord
from ...report.comparison import compare_contenders
from ...worker.environment import RuntimeResolver
from ...worker.messages import Launcher, Worker
from ...worker.process import create_launcher
from .document import (
    CELLS_FOLDER,
    MODES,
    Cell,
    CellResult,
    CellStatus,
    ModeResult,
    SweepDocument,
    save_sweep,
)
from .plan import PlannedCell

_NO_MEMORY = re.compile(r"out of memory|bad_alloc|MemoryError|cannot allocate memory", re.I)
_SHOWN_DIGITS = 8

Clock = Callable[[], float]
LauncherFactory = Callable[[Path, RuntimeResolver], Launcher]
# position of a cell in the document -> its result
Execute = Callable[[int], CellResult]
# (cell that is starting or has ended, cells done, cells in all, seconds left or None)
CellObserver = Callable[[Cell, int, int, Optional[float]], None]


@dataclass
class DeadlineWorker:
    """A worker that has to answer before the whole cell's time is over."""

    worker: Worker
    deadline_s: float
    limit_s: float
    clock: Clock

    def ask(self, call: str, timeout_s: float, **arguments: Any) -> Any:
        """As `WorkerProcess.ask`; raises WorkerTimeout when the cell's time is over."""
        left_s = self.deadline_s - self.clock()
        try:
            if left_s > 0:
                return self.worker.ask(call, min(timeout_s, left_s), **arguments)
        except WorkerTimeout:
            if timeout_s < left_s:
                raise
        raise WorkerTimeout(
            f"the cell was not done within {self.limit_s:g} s and was ended in a {call} turn; "
            "give a longer --cell-timeout if it needs it"
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.worker, name)


def limit_launcher(launch: Launcher, limit_s: float, clock: Clock) -> Launcher:
    """A launcher whose workers all have to be done `limit_s` seconds from now."""
    deadline_s = clock() + limit_s

    def start(contender: Contender) -> Any:
        return DeadlineWorker(launch(contender), deadline_s, limit_s, clock)

    return start


def record_path(cell: Cell) -> str:
    """Folder of a cell's record, relative to the sweep; another configuration has another."""
    name = re.sub(r"[^A-Za-z0-9._=-]+", "-", cell.name)
    return f"{CELLS_FOLDER}/{name}-{cell.fingerprint[:_SHOWN_DIGITS]}"


def measure_cell(
    planned: PlannedCell,
    folder: Path,
    cell_timeout_s: float,
    environments: RuntimeResolver,
    observe: Observer,
    create: LauncherFactory = create_launcher,
    clock: Clock = time.monotonic,
    judge: Callable[..., None] = judge_training,
) -> CellResult:
    """Run a cell in the sweep's folder. Raises Interrupted, and no other error of the suite."""
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    start_s, kills = clock(), read_oom_kills()
    cell, plan = planned.cell, planned.plan
    place = None if plan is None else record_path(cell)

    def end(status: CellStatus, reason: str, **measured: Any) -> CellResult:
        return CellResult(
            status=status,
            reason=reason,
            record=place,
            started=started,
            duration_s=clock() - start_s,
            cell_timeout_s=cell_timeout_s,
            **measured,
        )

    if plan is None or place is None:
        return end("refused", str(planned.refusal))
    run = folder / place
    try:
        shutil.rmtree(run, ignore_errors=True)  # an attempt that was cut short
        launch = limit_launcher(create(run, environments), cell_timeout_s, clock)
        contenders = [validated(Contender, {"name": m, "mode": m, **cell.side}) for m in MODES]
        document = create_document("compare", plan, cell.measuring, contenders, environments)
        check = create_check_launcher(run / PARITY_FOLDER, environments)
        check = limit_launcher(check, cell_timeout_s, clock)
        parity = partial(judge, launch=check, observe=observe)
        record = execute_plan(plan, document, run, launch, observe, judge=parity)
    except InputError as error:
        if not run.exists():  # refused before anything was measured
            place = None
        return end("refused", str(error))
    except WorkerTimeout as error:
        return end("timeout", str(error))
    except WorkerError as error:
        return end(*describe_failure(error, kills, read_oom_kills()))
    return end("done", "measured to the end", **judge_cell(record))


def describe_failure(
    error: WorkerError, kills_before: Optional[int], kills_after: Optional[int]
) -> Tuple[CellStatus, str]:
    """Whether a worker failed for want of memory, and the sentence for it.

    SIGKILL alone is no proof. It counts if the kernel counted a kill for want of memory meanwhile,
    or if that count cannot be read.
    """
    if error.returncode == -signal.SIGKILL:
        if kills_before is None or kills_after is None:
            return "out of memory", f"{error} (the kernel's count of such kills is not readable)"
        if kills_after > kills_before:
            return "out of memory", str(error)
        return "failed", f"{error} (the kernel counted no kill for want of memory meanwhile)"
    found = _NO_MEMORY.search(f"{error}\n{error.log_tail}")
    if found:
        return "out of memory", f"{error} (it said: {found.group(0)}); try a smaller --batch-size"
    return "failed", str(error)


def judge_cell(record: RunRecord) -> Dict[str, Any]:
    """Speedup and parity of a cell's record, as fields of CellResult."""
    comparison = compare_contenders(record, MODES[0], record, MODES[1])
    sides = zip(MODES, (comparison.baseline, comparison.contender))
    modes = {
        mode: ModeResult(
            step_time_s=side.train_step_time_s,
            compile_s=side.compile_s,
            first_step_s=side.first_step_s,
            peak_rss_bytes=side.peak_rss_bytes,
        )
        for mode, side in sides
    }
    return {
        "modes": modes,
        "speedup": comparison.speedup,
        "parity": comparison.parity,
        "parity_reason": comparison.parity_reason,
    }


def run_sweep(
    document: SweepDocument,
    folder: Path,
    order: Sequence[int],
    execute: Execute,
    observe: CellObserver = lambda cell, done, total, left_s: None,
    parallel: int = 1,
) -> None:
    """Run the cells that have no result, in `order`. `sweep.json` is written after every cell.

    `parallel` cells run at a time, each on a machine of its own. `observe` is called for each cell
    before it starts and after it ended (then it has a result). Raises Interrupted on Ctrl-C, and
    InputError if the folder cannot be written to.
    """
    durations_s: List[float] = []
    total = len(document.cells)
    waiting = [position for position in order if document.cells[position].result is None]
    document.status = "running"
    save_sweep(folder, document)
    try:
        left = len(waiting)

        def start(position: int) -> CellResult:
            left_s = estimate_remaining_s(durations_s, left, parallel)
            observe(document.cells[position], total - left, total, left_s)
            return execute(position)

        for position, result in _run_cells(start, waiting, parallel):
            left -= 1
            document.cells[position].result = result
            durations_s.append(result.duration_s)
            save_sweep(folder, document)
            left_s = estimate_remaining_s(durations_s, left, parallel)
            observe(document.cells[position], total - left, total, left_s)
        document.status = "complete"
    except (Interrupted, KeyboardInterrupt):
        document.status = "interrupted"
        done = sum(cell.result is not None for cell in document.cells)
        raise Interrupted(
            f"ended by the user; {done} of {total} cells are done and kept in {folder}; to go on, "
            f"run the same command with --out {folder}"
        ) from None
    finally:
        save_sweep(folder, document)


def _run_cells(
    start: Execute, waiting: Sequence[int], parallel: int
) -> Iterator[Tuple[int, CellResult]]:
    """Positions and results as cells end. One at a time runs in this thread, for its signals."""
    if parallel == 1:
        yield from ((position, start(position)) for position in waiting)
        return
    with ThreadPoolExecutor(parallel) as pool:
        pending = {pool.submit(start, position): position for position in waiting}
        try:
            for future in as_completed(pending):
                yield pending[future], future.result()
        finally:
            for future in pending:
                future.cancel()


def estimate_remaining_s(
    durations_s: Sequence[float], left: int, parallel: int = 1
) -> Optional[float]:
    """Seconds that `left` cells will take: the mean of those done, since the order is random."""
    if not left:
        return 0.0
    return statistics.mean(durations_s) * left / parallel if durations_s else None
