"""A planned run from its folder to its record."""

from __future__ import annotations

import shutil
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Callable, List, Optional

from ..config import Contender, Measuring
from ..errors import InputError, WorkerError
from ..plan.plan import SUBSET_FOLDER, Plan
from ..record.events import BlockEvent
from ..record.machine import describe_machine
from ..record.run import Document, RecordWriter, RunRecord, load_record
from ..worker.environment import RuntimeResolver
from ..worker.messages import Launcher
from .order import Observer
from .speed_phase import SpeedRun
from .training_phase import Runner


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
    model = plan.workload.model.replace(":", "-")
    return Document(
        run_id=f"{command}-{model}-{now:%Y%m%d-%H%M%S}",
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
) -> RunRecord:
    """Run a plan in `folder`, which is created, and read back: what is reported is what the
    record says.

    Where `document.measuring.speed` is set, the speed phase follows the training;
    `observe_speed` is told the seconds of its budget that are gone.

    Raises what `Runner.run` raises, with the record kept, but for an InputError before anything
    was measured: then the folder is removed.
    """
    writer = RecordWriter(folder, document)
    try:
        dataset = plan.prepare_dataset(folder)

        def measure_speed() -> None:  # of the contenders that the training did not leave out
            if document.measuring.speed:
                SpeedRun(writer, launch, dataset, observe_speed).run()

        Runner(writer, launch, dataset, observe, afterwards=measure_speed).run()
    except InputError:
        # refused by a worker: with nothing measured, the folder would only be in the way
        if not load_record(folder).of_kind(BlockEvent):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(folder / SUBSET_FOLDER, ignore_errors=True)
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

    `prepare_dataset` is given the folder. Raises WorkerError and InputError with the record kept,
    whose status and error say the same.
    """
    writer = RecordWriter(folder, document)
    document.status = "interrupted"
    try:
        SpeedRun(writer, launch, prepare_dataset(folder), observe, clock).run()
        document.status = "complete"
    except (WorkerError, InputError) as error:
        document.status = "failed"
        document.error = f"{error}\n{getattr(error, 'log_tail', '')}".rstrip()
        raise
    finally:
        document.finished = datetime.now(timezone.utc).isoformat(timespec="seconds")
        writer.close()
        shutil.rmtree(folder / SUBSET_FOLDER, ignore_errors=True)
    return load_record(folder)
