"""Recipe files: a run's whole recipe as data.

TOML, or JSON, with the fields of `Workload` as keys; or the flat JSON that published distillation
code uses (`model_version`, `learning_rate`, `num_epochs`, ...), recognised by its `model_version`.
Every key is known or refused by name.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Tuple

import tomli

from ..config import LOSS_ARGUMENTS, LOSS_FIELDS, TEACHER_LOSSES, Workload
from ..errors import InputError

_TURNED_ON = {"yes": True, "no": False, True: True, False: False}


def load_recipe(path: Path) -> Dict[str, Any]:
    """The workload fields that a recipe sets. Values are checked with the workload itself.

    Raises InputError for a file that cannot be read, an unknown key, or a missing one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InputError(f"--config {path} cannot be read ({reason}); give a recipe file") from None
    parse: Callable[[str], Any] = json.loads if path.suffix == ".json" else tomli.loads
    try:
        recipe = parse(text)
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise InputError(f"--config {path} is not {kind}: {error}") from None
    if not isinstance(recipe, dict):
        raise InputError(f"--config {path} holds no keys; see docs/recipes.md for an example")
    if "model_version" in recipe:
        return _translate(recipe, path)
    _refuse_unknown(recipe, Workload.model_fields, path)
    _require(recipe, ["model"], path)
    return recipe


def override_recipe(recipe: Dict[str, Any], flags: Dict[str, Any]) -> Dict[str, Any]:
    """The recipe with flags over it.

    A flag that chooses another loss or schedule takes the place of the recipe's with all its
    arguments: these would have no effect any more.
    """
    kept = dict(recipe)
    before = recipe.get("loss", Workload.model_fields["loss"].default)
    if flags.get("loss", before) != before:
        arguments = set(LOSS_FIELDS) - set(LOSS_ARGUMENTS.get(flags["loss"], {}))
        if flags["loss"] not in TEACHER_LOSSES:
            arguments |= {"teacher", "teacher_checkpoint"}
        kept = {name: value for name, value in kept.items() if name not in arguments}
    if recipe.get("schedule") == "multistep" != flags.get("schedule", "multistep"):
        kept.pop("lr_milestones", None)
    return {**kept, **flags}


def _refuse_unknown(recipe: Iterable[str], known: Iterable[str], path: Path) -> None:
    names = list(known)
    for key in recipe:
        if key not in names:
            close = difflib.get_close_matches(key, names, n=2, cutoff=0.5)
            hint = f"did you mean {' or '.join(close)}?" if close else "see docs/recipes.md"
            raise InputError(f"--config {path}: the key '{key}' is unknown; {hint}")


def _require(recipe: Dict[str, Any], keys: List[str], path: Path) -> None:
    for key in keys:
        if key not in recipe:
            raise InputError(f"--config {path}: the key '{key}' is missing; add it")


# key of the published code -> (our field, conversion)
_PUBLISHED: Dict[str, Tuple[str, Callable[[Any], Any]]] = {
    "model_version": ("model", lambda value: _find_model(str(value))),
    "teacher": ("teacher", lambda value: _find_model(str(value))),
    "alpha": ("alpha", float),
    "temperature": ("temperature", float),
    "reg_alpha": ("reg_alpha", float),
    "reg_temperature": ("reg_temperature", float),
    "multiplier": ("multiplier", float),
    "learning_rate": ("lr", float),
    "batch_size": ("batch_size", lambda value: _whole(value)),
    "num_epochs": ("epochs", lambda value: _whole(value)),
    "dropout_rate": ("dropout", float),
    "num_class": ("num_classes", lambda value: _whole(value)),
    "num_classes": ("num_classes", lambda value: _whole(value)),
    "subset_percent": ("subset_percent", lambda value: 100.0 * float(value)),  # a share there
    "augmentation": ("augmentation", lambda value: _TURNED_ON[value]),
    "loss": ("loss", str),
    "optimizer": ("optimizer", lambda value: str(value).lower()),
    "momentum": ("momentum", float),
    "weight_decay": ("weight_decay", float),
    "seed": ("seed", lambda value: _whole(value)),
}
# the published code trains so, whatever its file says; flags override it
_PUBLISHED_TRAINING: Dict[str, Any] = {
    "scale_lr": True,
    "warmup_epochs": 1,
    "schedule": "multistep",
    "lr_milestones": [60, 120, 160],
    "lr_gamma": 0.2,
}
# say something about the other program, and nothing about the training
_WITHOUT_MEANING = ("num_workers", "save_summary_steps")
_NUM_CHANNELS = 32  # of the plain cnn; the only width it has here
_ADAM_MODELS = ("cnn",)  # the published code trains these with Adam, all others with SGD
_REQUIRED = ["model_version", "learning_rate", "batch_size", "num_epochs"]
# names there that mean the 32-pixel variant here
_CIFAR_NAMES = {
    "alexnet": "alexnet_cifar",
    "densenet121": "densenet121_cifar",
    "googlenet": "googlenet_cifar",
    "mobilenet_v2": "mobilenet_v2_cifar",
    "resnext29": "resnext29_8x64d",
    "shufflenet_v2": "shufflenet_v2_cifar",
    "shufflenetv2": "shufflenet_v2_cifar",
    **{f"resnet{depth}": f"resnet{depth}_cifar" for depth in (18, 34, 50, 101, 152)},
}


def _whole(value: Any) -> int:
    if isinstance(value, bool) or int(value) != float(value):
        raise ValueError(value)
    return int(value)


def _find_model(version: str) -> str:
    name = version.replace("base_", "", 1) if version.startswith("base_") else version
    for suffix in ("_distill", "_self", "_teacher", "_student"):
        name = name[: -len(suffix)] if name.endswith(suffix) else name
    return _CIFAR_NAMES.get(name, name)


def _translate(recipe: Dict[str, Any], path: Path) -> Dict[str, Any]:
    _refuse_unknown(recipe, [*_PUBLISHED, *_WITHOUT_MEANING, "num_channels"], path)
    _require(recipe, _REQUIRED, path)
    if recipe.get("num_channels", _NUM_CHANNELS) != _NUM_CHANNELS:
        raise InputError(
            f"--config {path}: num_channels {recipe['num_channels']} cannot be used; the cnn here "
            f"has {_NUM_CHANNELS}"
        )
    fields: Dict[str, Any] = {}
    for key, value in recipe.items():
        if key not in _PUBLISHED or (key == "teacher" and str(value).lower() in ("none", "")):
            continue
        field, convert = _PUBLISHED[key]
        try:
            fields[field] = convert(value)
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"--config {path}: {key} = {value!r} cannot be used; docs/recipes.md has an example"
            ) from None
    fields.setdefault("loss", _infer_loss(fields))
    fields.setdefault("optimizer", "adam" if fields["model"] in _ADAM_MODELS else "sgd")
    return _drop_unused({**_PUBLISHED_TRAINING, **fields})


def _infer_loss(fields: Dict[str, Any]) -> str:
    """The published code chooses by flags; here by which keys are there."""
    if "teacher" in fields:
        is_self = fields["teacher"] == fields["model"] and "multiplier" in fields
        return "self_distillation" if is_self else "distillation"
    return "teacher_free" if "reg_alpha" in fields else "cross_entropy"


def _drop_unused(fields: Dict[str, Any]) -> Dict[str, Any]:
    """Without the arguments of other losses: published files list those of all."""
    used = LOSS_ARGUMENTS.get(fields["loss"], {})
    others = set(LOSS_FIELDS) - set(used)
    if fields["loss"] not in TEACHER_LOSSES:
        others.add("teacher")
    return {name: value for name, value in fields.items() if name not in others}
