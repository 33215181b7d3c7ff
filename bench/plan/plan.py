"""From flags to a checked plan: everything that can be refused is refused here.

OneFlow aborts the process on missing files, damaged records and the like, so the data are checked
before a worker sees them; and nothing is written before the plan stands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Collection, Dict, List, Optional, Tuple

from ...data import (
    DataError,
    DatasetInfo,
    count_subset,
    default_dataset_path,
    load_dataset,
    reshard_dataset,
    share_dataset,
    validate_dataset,
    write_subset,
)
from ...models import ModelSpec, UnknownModelError, get_model_spec
from ..config import (
    EMBEDDED_DATA,
    LOSS_FIELDS,
    STEP_DATA,
    SYNTHETIC_DATA,
    Contender,
    Measuring,
    Workload,
)
from ..errors import InputError, RecordError, raise_as_input
from ..record.checkpoint import TrainingState, describe_prefix, load_training_state
from ..record.run import DOCUMENT_NAME, load_record
from .checks import (
    check_batches,
    check_choices,
    check_image_size,
    check_part_files,
    check_recipe,
    check_step,
    choose_loss,
    choose_val_batch_size,
    fill_loss_arguments,
    flag_of,
    validated,
)
from .contenders import read_side
from .recipe import load_recipe, override_recipe, refuse_code

SYNTHETIC_STEPS_PER_EPOCH = 20
SYNTHETIC_BATCHES = 8
SUBSET_FOLDER = "data"  # in the run's folder, while it runs

Values = Dict[str, Any]  # by field
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Plan:
    """A workload that can be run, and the sizes that its data give."""

    workload: Workload
    train_samples: int
    val_samples: int
    steps_per_epoch: int
    start_epoch: int = 0
    dataset: Optional[DatasetInfo] = None  # None with synthetic data
    resumed_from: Optional[Path] = None  # the weights of the checkpoint
    notes: Tuple[str, ...] = ()  # on the recipe file and the checkpoints, for the user

    def prepare_dataset(self, run_folder: Path) -> Optional[Path]:
        """The folder that the workers read: the dataset's, or one written to the run's.

        That is a subset, or what several readers read. Raises InputError for part files that the
        readers cannot share.
        """
        work = self.workload
        if self.dataset is None or (work.subset_percent == 100 and work.readers == 1):
            return None if self.dataset is None else self.dataset.root
        folder = run_folder / SUBSET_FOLDER
        with raise_as_input(DataError):
            if work.readers > 1:
                return self._share(self.dataset, folder)
            return write_subset(self.dataset, work.subset_percent, work.seed, folder).root

    def _share(self, dataset: DatasetInfo, folder: Path) -> Path:
        """The dataset for several readers; a subset and the embedded one in as many parts."""
        work = self.workload
        folder.mkdir(parents=True)
        if work.subset_percent < 100:
            dataset = write_subset(dataset, work.subset_percent, work.seed, folder / "subset")
        if work.subset_percent < 100 or work.data == EMBEDDED_DATA:
            reshard_dataset(dataset.root, work.readers, folder / "parts")
            dataset = load_dataset(folder / "parts")
        return share_dataset(dataset, work.readers, folder / "shared").root


def create_plan(
    flags: Values, on_progress: Optional[Progress] = None, typed: Optional[Collection[str]] = None
) -> Plan:
    """Resolve and check the flags of a run; None means "not given".

    A run that is resumed gives the base, a recipe file (`config`) overrides it, and flags override
    both. Neither file may name code that no flag names. Raises InputError in one sentence for
    whatever cannot be run, and for a flag that is `typed` and not read; all are without it.
    """
    notes: List[str] = []
    given = {name: value for name, value in flags.items() if value is not None}
    typed = set(given) if typed is None else typed
    config = given.pop("config", None)
    if given.get("label_smoothing") is not None:
        given.setdefault("loss", "label_smoothing")  # the only loss that takes it
    if config:
        recipe = load_recipe(Path(config), given, notes.append, given.get("loss"))
        given = override_recipe(recipe, given, notes.append)
    resumed = load_training_state(Path(str(given["resume"]))) if "resume" in given else None
    base: Dict[str, Any] = {}
    if resumed is not None:
        _check_moved_data(given, resumed)
        base = {**refuse_code(resumed.workload, given), "load_checkpoint": None}
    plan = _plan(base, given, typed, on_progress)
    work = plan.workload
    if not work.trust_checkpoint:  # else the reading is left to OneFlow
        for path in filter(None, (work.load_checkpoint, work.teacher_checkpoint)):
            notes += describe_prefix(Path(path))
    plan = replace(plan, notes=tuple(notes))
    if resumed is None:
        return plan
    return _continued(plan, resumed, _read_checksum(Path(str(given["resume"]))))


def _check_moved_data(given: Dict[str, Any], resumed: TrainingState) -> None:
    """Raise InputError for a resumed run whose data are not where they were."""
    data = str(given.get("data", resumed.workload["data"]))
    if data not in (EMBEDDED_DATA, SYNTHETIC_DATA, STEP_DATA) and not Path(data).is_dir():
        raise InputError(
            f"--resume {given['resume']}: its data are not in {data}; give --data with the folder "
            "that they are in now"
        )


def _read_checksum(resumed: Path) -> Optional[str]:
    """Of the data, in the record of the run; None where it is not known."""
    for folder in (resumed, *resumed.absolute().parents[:3]):  # RUN/checkpoints/CONTENDER/FILE
        if (folder / DOCUMENT_NAME).is_file():
            try:
                checksum = load_record(folder).document.environment_start.get("data_checksum")
            except RecordError:
                return None
            return str(checksum) if checksum else None
    return None


def find_spec(model: str) -> Optional[ModelSpec]:
    """The row of a registered model, None for code of the user's. Raises InputError if unknown."""
    with raise_as_input(UnknownModelError):
        return None if ":" in model else get_model_spec(model)


def _plan(
    base: Values, given: Values, typed: Collection[str], on_progress: Optional[Progress]
) -> Plan:
    if "model_args" in base and "model_args" in given:
        given["model_args"] = {**base["model_args"], **given["model_args"]}
    given = {**base, **given}
    model = given.setdefault("model", Workload().model)
    spec = find_spec(str(model))
    given.setdefault("image_size", spec.default_image_size if spec else Workload().image_size)
    workload = validated(Workload, given)
    if workload.data == STEP_DATA:
        check_step(workload, typed)
    check_choices(workload, typed)
    workload = fill_loss_arguments(workload)
    if workload.data == STEP_DATA:
        steps = workload.steps_per_epoch or SYNTHETIC_STEPS_PER_EPOCH
        update = {"batch_size": 1, "steps_per_epoch": steps}  # a batch counts as one sample
        return Plan(workload.model_copy(update=update), steps, 1, steps)
    check_image_size(workload, spec)
    check_recipe(workload)
    check_batches(workload, given.get("val_batch_size"))
    given = {**given, **{name: getattr(workload, name) for name in LOSS_FIELDS}}
    if workload.data == SYNTHETIC_DATA:
        return _plan_synthetic(given)
    return _plan_dataset(given, workload, on_progress)


# what a resumed run may change without becoming another one
_FREE_FIELDS = {"epochs", "val_batch_size", "resume", "load_checkpoint", "trust_checkpoint"}


def _continued(plan: Plan, resumed: TrainingState, checksum: Optional[str]) -> Plan:
    """The plan of the epochs that are left; refused where it is not the same training.

    `checksum` is of the data of the resumed run, which may lie elsewhere now.
    """
    before = Workload.model_validate(resumed.workload).model_dump()
    for name, value in plan.workload.model_dump().items():
        moved = name == "data" and plan.dataset is not None
        if moved and value != before[name]:
            _check_moved(plan, before[name], checksum)
        elif name not in _FREE_FIELDS and value != before[name]:
            raise InputError(
                f"{flag_of(name)} {value} is not what the resumed run had ({before[name]}); "
                "resume it as it was, or start anew with --load-checkpoint"
            )
    if plan.steps_per_epoch != resumed.steps_per_epoch:
        raise InputError(
            f"the data give {plan.steps_per_epoch} steps an epoch and the resumed run had "
            f"{resumed.steps_per_epoch}; resume it with the same data"
        )
    schedule = plan.workload.schedule
    if schedule in ("cosine", "linear") and plan.workload.epochs != before["epochs"]:
        raise InputError(
            f"--epochs {plan.workload.epochs} would change the {schedule} schedule of the resumed "
            f"run of {before['epochs']} epochs; leave it out"
        )
    if resumed.epoch >= plan.workload.epochs:
        raise InputError(
            f"--resume: that run has done {resumed.epoch} epochs and --epochs is "
            f"{plan.workload.epochs}; give more epochs in all"
        )
    return replace(plan, start_epoch=resumed.epoch, resumed_from=resumed.path)


def _check_moved(plan: Plan, before: str, checksum: Optional[str]) -> None:
    assert plan.dataset is not None
    if checksum is None:
        raise InputError(
            f"--data {plan.workload.data} is not what the resumed run had ({before}), and its "
            "record holds no checksum of the data; put them back, or start anew with "
            "--load-checkpoint"
        )
    if plan.dataset.checksum != checksum:
        raise InputError(
            f"--data {plan.workload.data} are not the data of the resumed run ({before}): their "
            f"checksum is {plan.dataset.checksum[:12]} and not {checksum[:12]}; give "
            "the same data, or start anew with --load-checkpoint"
        )


def _plan_synthetic(given: Dict[str, Any]) -> Plan:
    given["feed"] = "memory"
    steps = given.get("steps_per_epoch") or SYNTHETIC_STEPS_PER_EPOCH
    given.setdefault("val_batch_size", given.get("batch_size", Workload().batch_size))
    workload = validated(Workload, {**given, "steps_per_epoch": steps})
    train, val = workload.batch_size, workload.val_batch_size
    return Plan(workload, SYNTHETIC_BATCHES * train, SYNTHETIC_BATCHES * val, steps)


def _plan_dataset(
    given: Dict[str, Any], workload: Workload, on_progress: Optional[Progress]
) -> Plan:
    embedded = workload.data == EMBEDDED_DATA
    folder = default_dataset_path() if embedded else Path(workload.data).absolute()
    given["data"] = workload.data if embedded else str(folder)
    with raise_as_input(DataError):
        dataset = validate_dataset(
            folder,
            num_classes=given.get("num_classes"),
            image_size=workload.image_size,
            batch_size=workload.batch_size,
            val_batch_size=given.get("val_batch_size"),
            on_progress=on_progress,
        )
    train_samples, val_samples = dataset.train.num_samples, dataset.val.num_samples
    if workload.subset_percent < 100:
        counts = [train_samples] if dataset.multi_label else dataset.train.class_counts or ()
        train_samples = sum(count_subset(counts, workload.subset_percent))
        if train_samples < workload.batch_size:
            raise InputError(
                f"--subset-percent {workload.subset_percent:g} leaves {train_samples} images, less "
                f"than a batch of {workload.batch_size}; give more, or a smaller --batch-size"
            )
    check_part_files(dataset, workload)
    given["loss"] = choose_loss(workload, dataset, "loss" in given)
    given.setdefault("num_classes", max(2, len(dataset.classes)))
    if given.get("val_batch_size") is None:
        most = min(Workload().val_batch_size, val_samples)
        given["val_batch_size"] = choose_val_batch_size(most, workload.readers)
    steps = workload.steps_per_epoch or train_samples // workload.batch_size
    return Plan(validated(Workload, given), train_samples, val_samples, steps, dataset=dataset)


def split_flags(flags: Dict[str, Any]) -> Tuple[Dict[str, Any], Measuring, Dict[str, Any]]:
    """Flags of a run by what they configure: the workload's, how to measure, and the contenders'.

    Where to write and how to print (`out`, `as_json`) is none of these. None means "not given".
    Raises InputError for a value that one of them does not take.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    measuring = {name: given.pop(name) for name in Measuring.model_fields if name in given}
    sides = set(Contender.model_fields) - set(Workload.model_fields)
    side = read_side({name: given.pop(name) for name in sorted(sides) if name in given})
    workload = {name: value for name, value in given.items() if name not in ("out", "as_json")}
    return workload, validated(Measuring, measuring), side
