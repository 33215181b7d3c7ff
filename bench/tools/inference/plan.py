"""A checked request to classify pictures, from flags and what the checkpoint says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

from ....data import InputScale, imagenet_names
from ...config import Workload
from ...errors import InputError
from ...plan.checks import check_image_size, validated
from ...plan.plan import find_spec
from ...plan.recipe import refuse_code
from ...record.checkpoint import find_checkpoint, read_about

IMAGENET_CLASSES = 1000
# 0..255, per channel: the scale of torchvision's pretrained weights
TORCHVISION_MEAN = (123.675, 116.28, 103.53)
TORCHVISION_STD = (58.395, 57.12, 57.375)
TORCHVISION_RESIZE = 256 / 224

Labels = Optional[Tuple[str, ...]]  # a name for each class


class InferencePlan(NamedTuple):
    """A checked request; the workload holds model, checkpoint and batch size."""

    workload: Workload
    scale: InputScale
    names: Tuple[str, ...]
    top: int  # classes shown for each picture
    iterations: int  # timed passes after the first
    timeout_s: float


def create_inference_plan(flags: Dict[str, Any], labels: Labels) -> InferencePlan:
    """Complete the workload's flags by the checkpoint's values, then by the model's own.

    The file may name a registered model only. Raises InputError for an unknown model, a missing
    checkpoint, sizes and labels that do not fit.
    """
    given = {k: v for k, v in flags.items() if k in Workload.model_fields and v is not None}
    about = read_about(find_checkpoint(Path(given["load_checkpoint"])))
    refuse_code({"model": about.get("model")}, given)
    if about.get("multi_label"):
        raise InputError(
            f"the model of {given['load_checkpoint']} gives several labels a picture, and "
            "bench infer names one class; call the model in Python and take logits above 0"
        )
    model = str(given.get("model") or about.get("model") or "")
    if not model:
        path = given["load_checkpoint"]
        raise InputError(f"the checkpoint {path} does not name its model; give --model")
    spec = find_spec(model)
    size, classes = (spec.default_image_size, spec.num_classes) if spec else (224, IMAGENET_CLASSES)
    stored: Dict[str, Any] = {"image_size": size, "num_classes": classes}
    stored.update({name: about[name] for name in stored if name in about})
    if model == about.get("model"):
        stored["model_args"] = about.get("model_args", {})
    workload = validated(Workload, {**stored, **given, "model": model})
    check_image_size(workload, spec)
    scale = InputScale(
        image_size=workload.image_size,
        mean=_read_scale(about, "mean", TORCHVISION_MEAN),
        std=_read_scale(about, "std", TORCHVISION_STD),
        resize_ratio=TORCHVISION_RESIZE if about.get("random_crop", True) else 1.0,
    )
    names = _name_classes(labels, about, workload.num_classes)
    top = min(flags["top"], len(names))
    return InferencePlan(workload, scale, names, top, flags["iterations"], flags["timeout_s"])


def _read_scale(about: Dict[str, Any], name: str, default: Sequence[float]) -> Sequence[float]:
    values = about.get(name, default)
    try:
        red, green, blue = map(float, values)
        if name == "mean" or min(red, green, blue) > 0:
            return red, green, blue
    except (TypeError, ValueError):
        pass
    raise InputError(f"the checkpoint's {name} {values} is not one number for each of R, G, B")


def _name_classes(labels: Labels, about: Dict[str, Any], num_classes: int) -> Tuple[str, ...]:
    if labels is not None and len(labels) != num_classes:
        raise InputError(
            f"--labels has {len(labels)} names and the model {num_classes} classes; "
            "give a name for each, or --num-classes"
        )
    stored = about.get("classes")
    names = labels or tuple(map(str, stored if isinstance(stored, list) else ()))
    if len(names) != num_classes == IMAGENET_CLASSES:
        return imagenet_names()
    numbered = tuple(f"class {number}" for number in range(num_classes))
    return names if len(names) == num_classes else numbered
