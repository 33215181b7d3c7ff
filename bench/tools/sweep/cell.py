"""One cell: a comparison of eager and graph that ends in a result, whatever happens in it.

The run is steered from this process and not by a `bench compare` of its own. OneFlow lives in the
workers alone, each in a session of its own, so that no crash of it reaches this process; a limit on
the whole cell can be put on every answer waited for, and ending a worker ends its whole session. A
`bench compare` in between would have to be ended from outside, which can leave its workers behind,
and would hand back a sentence on stderr in place of the kind of error.
"""

from __future__ import annotations

import re
import shutil
import signal
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple

from ...config import Contender
from ...errors import InputError, WorkerError, WorkerTimeout
from ...measure.execution import create_document, execute_plan
from ...measure.training_phase import Observer
from ...plan.checks import validated
from ...record.machine import read_oom_kills
from ...record.run import RunRecord
from ...report.comparison import ContenderSummary, compare_contenders
from ...worker.environment import RuntimeResolver
from ...worker.launch import create_launcher
from ...worker.messages import Launcher
from .document import CELLS_FOLDER, MODES, Cell, CellResult, CellStatus, ModeResult, name_cell
from .plan import PlannedCell

_NO_MEMORY = re.compile(r"out of memory|bad_alloc|MemoryError|cannot allocate memory", re.I)
_SHOWN_DIGITS = 8

Clock = Callable[[], float]
LauncherFactory = Callable[[Path, RuntimeResolver], Launcher]


class DeadlineWorker:
    """A worker that has to answer before the whole cell's time is over."""

    def __init__(self, worker: Any, deadline_s: float, limit_s: float, clock: Clock) -> None:
        self._worker = worker
        self._deadline_s, self._limit_s, self._clock = deadline_s, limit_s, clock

    def ask(self, call: str, timeout_s: float, **arguments: Any) -> Dict[str, Any]:
        """As `WorkerProcess.ask`; raises WorkerTimeout when the cell's time is over."""
        left_s = self._deadline_s - self._clock()
        if left_s > timeout_s:
            answer: Dict[str, Any] = self._worker.ask(call, timeout_s, **arguments)
            return answer
        try:
            if left_s > 0:
                answer = self._worker.ask(call, left_s, **arguments)
                return answer
        except WorkerTimeout:
            pass
        raise WorkerTimeout(
            f"the cell was not done within {self._limit_s:g} s and was ended in a {call} turn; "
            "give a longer --cell-timeout if it needs it"
        )

    def send(self, call: str, **arguments: Any) -> None:
        self._worker.send(call, **arguments)

    def receive(self, call: str, timeout_s: float) -> Any:
        return self._worker.receive(call, timeout_s)

    def kill(self) -> None:
        self._worker.kill()

    def close(self) -> None:
        self._worker.close()


def limit_launcher(launch: Launcher, limit_s: float, clock: Clock) -> Launcher:
    """A launcher whose workers all have to be done `limit_s` seconds from now."""
    deadline_s = clock() + limit_s
    return lambda contender: DeadlineWorker(launch(contender), deadline_s, limit_s, clock)


def record_path(cell: Cell) -> str:
    """Where a cell's record goes, relative to the sweep: another configuration goes elsewhere."""
    name = re.sub(r"[^A-Za-z0-9._=-]+", "-", name_cell(cell.values))
    return f"{CELLS_FOLDER}/{name}-{cell.fingerprint[:_SHOWN_DIGITS]}"


def measure_cell(
    planned: PlannedCell,
    folder: Path,
    cell_timeout_s: float,
    environments: RuntimeResolver,
    observe: Observer,
    create: LauncherFactory = create_launcher,
    clock: Clock = time.monotonic,
) -> CellResult:
    """Run a cell in the sweep's folder. Raises Interrupted, and no other error of the suite."""
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    start_s, kills = clock(), read_oom_kills()
    place: Optional[str] = None

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

    if planned.plan is None:
        return end("refused", planned.refusal or "the flags cannot be used")
    place = record_path(planned.cell)
    try:
        shutil.rmtree(folder / place, ignore_errors=True)  # an attempt that was cut short
        launch = limit_launcher(create(folder / place, environments), cell_timeout_s, clock)
        record = _execute(planned, folder / place, launch, environments, observe)
    except InputError as error:
        if not (folder / place).exists():  # refused before anything was measured
            place = None
        return end("refused", str(error))
    except WorkerTimeout as error:
        return end("timeout", str(error))
    except WorkerError as error:
        return end(*describe_failure(error, kills, read_oom_kills()))
    return end("done", "measured to the end", **judge_cell(record))


def _execute(
    planned: PlannedCell,
    folder: Path,
    launch: Launcher,
    environments: RuntimeResolver,
    observe: Observer,
) -> RunRecord:
    assert planned.plan is not None
    cell = planned.cell
    contenders = [validated(Contender, {"name": m, "mode": m, **cell.side}) for m in MODES]
    document = create_document("compare", planned.plan, cell.measuring, contenders, environments)
    return execute_plan(planned.plan, document, folder, launch, observe)


def describe_failure(
    error: WorkerError, kills_before: Optional[int], kills_after: Optional[int]
) -> Tuple[CellStatus, str]:
    """Whether a worker failed for want of memory, and the sentence for it.

    SIGKILL alone is no proof: it is one where the kernel counted a kill for want of memory
    meanwhile, or where that count cannot be read.
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
    """What a cell's record says, as fields of CellResult: the one place that asks the judges."""
    comparison = compare_contenders(record, MODES[0], record, MODES[1])
    sides = zip(MODES, (comparison.baseline, comparison.contender))
    return {
        "modes": {mode: _summarize_mode(side) for mode, side in sides},
        "speedup": comparison.speedup,
        "parity": comparison.parity,
        "parity_reason": comparison.parity_reason,
    }


def _summarize_mode(side: ContenderSummary) -> ModeResult:
    compile_s = None
    if side.compile_train_s is not None:
        compile_s = side.compile_train_s + (side.compile_eval_s or 0.0)
    return ModeResult(
        step_time_s=side.train_step_time_s,
        compile_s=compile_s,
        first_step_s=side.first_step_s,
        peak_rss_bytes=side.peak_rss_bytes,
    )
