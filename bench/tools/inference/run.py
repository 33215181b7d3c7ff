"""Classification of pictures in one or both modes: what is asked of the workers, and the answer."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ....data import DataError, InputScale, imagenet_names, read_picture
from ....models import UnknownModelError, get_model_spec
from ...config import Contender, Workload
from ...errors import InputError
from ...measure.order import generate_orders
from ...plan.checks import validated
from ...record.checkpoint import find_checkpoint, read_about
from ...verdict.statistics import summarize
from .result import InferenceResult, ModeTimes, compare_logits, predict

IMAGENET_CLASSES = 1000
_TURNS = 4  # that the steady passes are taken in, so that drift meets both modes alike
# 0..255, per channel: the scale of torchvision's pretrained weights
TORCHVISION_MEAN = (123.675, 116.28, 103.53)
TORCHVISION_STD = (58.395, 57.12, 57.375)
TORCHVISION_RESIZE = 256 / 224

Observer = Callable[[str, int, int], None]


@dataclass(frozen=True)
class InferencePlan:
    """A checked request: the workload says model, checkpoint and batch."""

    workload: Workload
    scale: InputScale
    names: Tuple[str, ...]


def create_inference_plan(
    flags: Dict[str, Any], labels: Optional[Tuple[str, ...]]
) -> InferencePlan:
    """Resolve flags; what is not given is what the checkpoint says of itself, then the model.

    Raises InputError for an unknown model, a missing checkpoint, sizes and labels that do not fit.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    about = read_about(find_checkpoint(Path(given["load_checkpoint"])))
    model = str(given.get("model") or about.get("model") or "")
    if not model:
        raise InputError(
            f"the checkpoint {given['load_checkpoint']} does not say which model it is of; "
            "give --model"
        )
    try:
        spec = None if ":" in model else get_model_spec(model)
    except UnknownModelError as error:
        raise InputError(str(error)) from None
    from_spec = (
        {"num_classes": spec.num_classes, "image_size": spec.default_image_size}
        if (spec)
        else {"num_classes": IMAGENET_CLASSES, "image_size": 224}
    )
    for name, default in from_spec.items():
        given.setdefault(name, about.get(name, default))
    given.setdefault(
        "model_args", about.get("model_args", {}) if model == about.get("model") else {}
    )
    workload = validated(Workload, {**given, "model": model})
    if spec and workload.image_size < spec.min_image_size:
        raise InputError(
            f"--image-size {workload.image_size} is too small for {model}; "
            f"it needs at least {spec.min_image_size} pixels"
        )
    scale = InputScale(
        image_size=workload.image_size,
        mean=about.get("mean", TORCHVISION_MEAN),
        std=about.get("std", TORCHVISION_STD),
        resize_ratio=TORCHVISION_RESIZE if about.get("random_crop", True) else 1.0,
    )
    return InferencePlan(workload, scale, _name_classes(labels, about, workload.num_classes))


def _name_classes(
    labels: Optional[Tuple[str, ...]], about: Dict[str, Any], num_classes: int
) -> Tuple[str, ...]:
    if labels is not None:
        if len(labels) != num_classes:
            raise InputError(
                f"--labels has {len(labels)} names and the model {num_classes} classes; "
                "give a name for each, or --num-classes"
            )
        return labels
    stored = tuple(about.get("classes", ()))
    if len(stored) == num_classes:
        return stored
    if num_classes == IMAGENET_CLASSES:
        return imagenet_names()
    return tuple(f"class {number}" for number in range(num_classes))


def read_pictures(
    paths: Sequence[Path], scale: InputScale, observe: Observer
) -> Tuple[List[Path], np.ndarray, List[str]]:
    """(pictures that could be read, float32 (N, 3, S, S), a sentence for each that could not).

    Raises InputError where none could.
    """
    kept: List[Path] = []
    arrays: List[np.ndarray] = []
    skipped: List[str] = []
    for number, path in enumerate(paths):
        observe("reading the pictures", number, len(paths))
        try:
            arrays.append(read_picture(path, scale))
            kept.append(path)
        except DataError as error:
            skipped.append(str(error))
    if not kept:
        raise InputError(f"none of the {len(paths)} files is a picture; the first: {skipped[0]}")
    return kept, np.stack(arrays), skipped


def run_inference(
    plan: InferencePlan,
    paths: Sequence[Path],
    contenders: Sequence[Contender],
    launch: Callable[[Contender], Any],
    top: int,
    iterations: int,
    timeout_s: float,
    observe: Observer,
) -> InferenceResult:
    """Classify `paths` under each contender, in turns. Errors of the workers pass through."""
    kept, images, skipped = read_pictures(paths, plan.scale, observe)
    workers: Dict[str, Any] = {}
    try:
        with tempfile.TemporaryDirectory() as temporary:
            stored = Path(temporary) / "images.npy"
            np.save(stored, images, allow_pickle=False)
            times = []
            for contender in contenders:
                observe(f"{contender.name}: start, load, compile", 0, 0)
                workers[contender.name] = launch(contender)
                times.append(
                    workers[contender.name].ask(
                        "setup",
                        timeout_s,
                        workload=plan.workload.model_dump(),
                        contender=contender.model_dump(),
                        images=str(stored),
                    )
                )
            durations = _time_in_turns(workers, iterations, timeout_s, plan.workload.seed, observe)
            logits = {}
            for name, worker in workers.items():
                observe(f"{name}: classifying", 0, 0)
                output = Path(temporary) / f"{name}.npy"
                worker.ask("predict", timeout_s, path=str(output))
                logits[name] = np.load(output, allow_pickle=False)
                worker.ask("end", timeout_s)
    finally:
        for worker in workers.values():
            worker.close()
    return InferenceResult(
        model=plan.workload.model,
        checkpoint=str(plan.workload.load_checkpoint),
        batch_size=plan.workload.batch_size,
        times=[
            _describe_times(contender, answer, durations[contender.name])
            for contender, answer in zip(contenders, times)
        ],
        predictions=[
            predict(path, name, logits[name][row], plan.names, top)
            for row, path in enumerate(kept)
            for name in logits
        ],
        agreement=compare_logits(*logits.values()) if len(logits) == 2 else None,
        skipped=skipped,
    )


def _time_in_turns(
    workers: Dict[str, Any], iterations: int, timeout_s: float, seed: int, observe: Observer
) -> Dict[str, List[float]]:
    """Seconds of the first pass and then of `iterations` more, by worker."""
    orders = generate_orders(list(workers), seed)
    durations: Dict[str, List[float]] = {name: [] for name in workers}
    turns = [1] + [len(part) for part in np.array_split(range(iterations), _TURNS) if len(part)]
    for number, passes in enumerate(turns):
        for name in next(orders):
            observe(f"{name}: timing", number, len(turns))
            answer = workers[name].ask("time", timeout_s, iterations=passes)
            durations[name] += answer["durations_s"]
    return durations


def _describe_times(
    contender: Contender, answer: Dict[str, Any], durations: List[float]
) -> ModeTimes:
    parts = {key: answer[key] for key in ("import_s", "init_s", "load_s", "compile_s")}
    steady = summarize(durations[1:])
    return ModeTimes(mode=contender.name, first_s=durations[0], steady_s=steady, **parts)
