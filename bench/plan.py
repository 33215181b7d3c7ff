"""From flags to a checked plan: everything that can be refused is refused here.

OneFlow aborts the process on missing files, damaged records and the like, so the data are checked
before a worker sees them; and nothing is written before the plan stands.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from pydantic import BaseModel, ValidationError

from oneflow_bench.config import EMBEDDED_DATA, SYNTHETIC_DATA, Contender, Measuring, Workload
from oneflow_bench.data import DataError, validate_dataset
from oneflow_bench.errors import InputError
from oneflow_bench.machine import describe_machine
from oneflow_bench.models import UnknownModelError, get_model_spec
from oneflow_bench.record import Document
from oneflow_bench.runtime import RuntimeResolver
from oneflow_bench.sources import find_dataset
from oneflow_bench.worker_process import WorkerProcess, create_worker_command

DEFAULT_VAL_BATCH_SIZE = 120
SYNTHETIC_STEPS_PER_EPOCH = 20
SYNTHETIC_BATCHES = 8
OWN_MODEL_IMAGE_SIZE = 32

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Plan:
    """A workload that can be run, and the sizes that its data give."""

    workload: Workload
    train_samples: int
    val_samples: int
    steps_per_epoch: int


def create_plan(flags: Dict[str, Any], on_progress: Optional[Progress] = None) -> Plan:
    """Resolve and check the flags of a run; None means "not given".

    Raises InputError in one sentence for whatever cannot be run.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    _check_checkpoint(given.get("load_checkpoint"))
    try:
        spec = None if ":" in given["model"] else get_model_spec(given["model"])
    except UnknownModelError as error:
        raise InputError(str(error)) from None
    image_size = given.setdefault(
        "image_size", spec.default_image_size if spec else OWN_MODEL_IMAGE_SIZE
    )
    if spec and image_size < spec.min_image_size:
        raise InputError(
            f"--image-size {image_size} is too small for {given['model']}; "
            f"it needs at least {spec.min_image_size} pixels"
        )
    if given.get("data") == SYNTHETIC_DATA:
        return _plan_synthetic(given)
    return _plan_dataset(given, on_progress)


def _check_checkpoint(path: Optional[str]) -> None:
    if path is not None and not Path(path).is_file():
        raise InputError(
            f"--load-checkpoint {path} is no file; "
            "give a .safetensors file saved by bench eager or bench graph"
        )


def _plan_synthetic(given: Dict[str, Any]) -> Plan:
    if given.get("feed") == "graph":
        raise InputError(
            "--feed graph needs a dataset with a loader and synthetic data have none; "
            "use --feed memory, or give --data a dataset folder"
        )
    given["feed"] = "memory"
    given.setdefault("steps_per_epoch", SYNTHETIC_STEPS_PER_EPOCH)
    given.setdefault("val_batch_size", given.get("batch_size", Workload().batch_size))
    workload = validated(Workload, given)
    assert workload.steps_per_epoch is not None
    return Plan(
        workload,
        SYNTHETIC_BATCHES * workload.batch_size,
        SYNTHETIC_BATCHES * workload.val_batch_size,
        workload.steps_per_epoch,
    )


def _plan_dataset(given: Dict[str, Any], on_progress: Optional[Progress]) -> Plan:
    data = given.setdefault("data", EMBEDDED_DATA)
    folder = find_dataset(data)
    if data != EMBEDDED_DATA:
        given["data"] = str(folder.absolute())
    workload = validated(Workload, given)
    try:
        dataset = validate_dataset(
            folder,
            num_classes=given.get("num_classes"),
            image_size=workload.image_size,
            batch_size=workload.batch_size,
            val_batch_size=given.get("val_batch_size"),
            on_progress=on_progress,
        )
    except DataError as error:
        raise InputError(str(error)) from None
    val_samples = dataset.val.num_samples
    resolved = {
        **workload.model_dump(),
        "num_classes": given.get("num_classes", max(2, len(dataset.classes))),
        "val_batch_size": given.get("val_batch_size", min(DEFAULT_VAL_BATCH_SIZE, val_samples)),
    }
    train_samples = dataset.train.num_samples
    steps = workload.steps_per_epoch or train_samples // workload.batch_size
    return Plan(validated(Workload, resolved), train_samples, val_samples, steps)


def validated(kind: Any, values: Dict[str, Any]) -> Any:
    """An instance of a configuration class; InputError naming the flag that does not fit."""
    assert issubclass(kind, BaseModel)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + str(first["loc"][0]).replace("_", "-")
        raise InputError(
            f"{flag} {first['input']} cannot be used: {first['msg'].lower()}; "
            "see --help for what it takes"
        ) from None


def create_document(
    command: str,
    plan: Plan,
    measuring: Measuring,
    contenders: List[Contender],
    environments: RuntimeResolver,
) -> Document:
    """The record's document as it stands before the first turn."""
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
        environment_start={
            **describe_machine(),
            "blas_kernel": {c.name: environments.find_kernel(c, _python(c)) for c in contenders},
        },
    )


def _python(contender: Contender) -> str:
    return contender.python or sys.executable


def create_launcher(folder: Path, environments: RuntimeResolver) -> Any:
    """Starts a contender's worker process in its own environment; logs go to `folder`/logs."""

    def launch(contender: Contender) -> WorkerProcess:
        python = _python(contender)
        return WorkerProcess(
            contender.name,
            create_worker_command(python),
            environments.resolve(contender, python),
            folder / "logs" / f"{contender.name}.log",
        )

    return launch
