"""A planned run from its folder to its record."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Callable, Iterator, List, Optional

from ..config import Contender, Measuring
from ..errors import BenchError, InputError, Interrupted, WorkerError
from ..parity.result import CHECK_NAME
from ..plan.plan import SUBSET_FOLDER, Plan
from ..record.events import BlockEvent
from ..record.machine import describe_load, describe_machine
from ..record.run import Document, RecordWriter, RunRecord, create_run_id, load_record
from ..worker.environment import RuntimeResolver
from ..worker.messages import Launcher
from ..worker.process import hold_interruptions
from .order import Observer
from .parity_phase import PARITY_FOLDER
from .speed_phase import SpeedRun
from .training_log import Tell
from .training_phase import EQUAL_STATES, Runner

# the parity phase, of the record until then and its dataset: parity_phase.py
JudgeTraining = Callable[[RecordWriter, Optional[Path]], None]


def create_document(
    command: str,
    plan: Plan,
    measuring: Measuring,
    contenders: List[Contender],
    environments: RuntimeResolver,
) -> Document:
    """The document before the first turn. Raises InputError for a profile that cannot be used."""
    contenders = [environments.complete(c, c.interpreter) for c in contenders]
    now = datetime.now(timezone.utc)
    return Document(
        run_id=create_run_id(command, plan.workload.model),
        command=command,
        created=now.isoformat(timespec="seconds"),
        workload=plan.workload,
        measuring=measuring,
        contenders=contenders,
        train_samples=plan.train_samples,
        val_samples=plan.val_samples,
        steps_per_epoch=plan.steps_per_epoch,
        start_epoch=plan.start_epoch,
        environment_start={
            **describe_machine(),
            "data_checksum": plan.dataset.checksum if plan.dataset else None,
            "blas_kernel": {c.name: environments.find_kernel(c, c.interpreter) for c in contenders},
        },
    )


def execute_plan(
    plan: Plan,
    document: Document,
    folder: Path,
    launch: Launcher,
    observe: Observer,
    observe_speed: Observer = lambda message, done_s, budget_s: None,
    judge: Optional[JudgeTraining] = None,
    tell: Tell = lambda line, kind: None,
) -> RunRecord:
    """Run a plan in `folder`, which is created, and read back: what is reported is what the
    record says.

    The parity phase, `judge`, follows a training of several contenders. Where
    `document.measuring.speed` is set, the speed phase comes last; `observe_speed` is told the
    seconds of its budget that are gone. `tell` is told the lines of the training's log.

    Raises as `keep_record`, but for an InputError before anything was measured: then the folder is
    removed.
    """
    writer = RecordWriter(folder, document)
    try:
        with keep_record(writer):
            dataset = plan.prepare_dataset(folder)
            judged = judge is not None
            Runner(writer, launch, dataset, observe, keep_equal_states=judged, tell=tell).run()
            if judge is not None and len(document.racing) > 1:
                judge(writer, dataset)
            if document.measuring.speed:  # of the contenders that the training did not leave out
                SpeedRun(writer, launch, dataset, observe_speed).run()
    except InputError:
        # refused by a worker: with nothing measured, the folder would only be in the way
        if not load_record(folder).of_kind(BlockEvent):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return load_record(folder)


def execute_speed(
    document: Document,
    folder: Path,
    launch: Launcher,
    prepare_dataset: Callable[[Path], Optional[Path]] = lambda folder: None,
    observe: Observer = lambda message, done_s, budget_s: None,
    clock: Callable[[], float] = time.perf_counter,
) -> RunRecord:
    """Run the speed phase alone, without any training, in `folder`, which is created; read back.

    `prepare_dataset` is given the folder. Raises as `keep_record`.
    """
    writer = RecordWriter(folder, document)
    with keep_record(writer):
        SpeedRun(writer, launch, prepare_dataset(folder), observe, clock).run()
    return load_record(folder)


def execute_continuation(
    before: RunRecord,
    plan: Plan,
    document: Document,
    folder: Path,
    launch: Launcher,
    observe: Observer = lambda message, done_s, budget_s: None,
    clock: Callable[[], float] = time.perf_counter,
) -> RunRecord:
    """Go on from the speed phase of `before` in `folder`, which is created; read back.

    The new record has all events of `before` and those that are measured now. Raises as
    `keep_record`; for an InputError the folder is removed.
    """
    writer = RecordWriter(folder, document)
    try:
        with keep_record(writer):
            writer.append(*before.events)
            _copy_parity(before, folder)
            dataset = plan.prepare_dataset(folder)
            SpeedRun(writer, launch, dataset, observe, clock, before).run()
    except InputError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return load_record(folder)


def _copy_parity(before: RunRecord, folder: Path) -> None:
    """What the parity phase of a run has found, and the scripts that it names."""
    assert before.folder is not None
    for name in (CHECK_NAME, PARITY_FOLDER):
        source = before.folder / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        elif source.is_file():
            shutil.copyfile(source, folder / name)


@contextmanager
def keep_record(writer: RecordWriter) -> Iterator[None]:
    """Close the record at the end of a run, with its status and error, and remove its subset.

    Raises what happened: Interrupted for Ctrl-C, WorkerError for an OSError, else the suite's own.
    """
    document = writer.document
    try:
        yield
        document.status = "complete"
    except KeyboardInterrupt:
        document.status, document.error = "interrupted", "ended by the user"
        raise Interrupted(f"ended by the user; what was measured is in {writer.folder}") from None
    except (BenchError, OSError) as error:
        document.status = "failed"
        document.error = f"{error}\n{getattr(error, 'log_tail', '')}".rstrip()
        if isinstance(error, OSError):
            raise WorkerError(
                f"the run could not go on: {error}; what was measured is in {writer.folder}"
            ) from error
        raise
    finally:
        with hold_interruptions():
            document.environment_end = describe_load()
            document.finished = datetime.now(timezone.utc).isoformat(timespec="seconds")
            for folder in (SUBSET_FOLDER, EQUAL_STATES):
                shutil.rmtree(writer.folder / folder, ignore_errors=True)
            try:
                writer.close()
            except OSError as error:
                raise WorkerError(
                    f"the record in {writer.folder} cannot be closed ({error.strerror}); make room "
                    "on the disk. The samples that it holds can be read"
                ) from None
