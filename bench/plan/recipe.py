"""Recipe files: a run's whole recipe as data.

A recipe is TOML or JSON with the fields of `Workload` as keys. The flat JSON of published
distillation code (`model_version`, `learning_rate`, `num_epochs`, ...) is read too. Its key
`model_version` tells it apart. An unknown key is refused by its name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Mapping, Optional

import tomli

from ..config import Workload
from ..errors import InputError
from .fields import SETTINGS, list_unused_fields
from .graph_options import suggest


def load_recipe(path: Path) -> Dict[str, Any]:
    """The fields that a recipe sets. Raises InputError for a bad file, key or value."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InputError(f"--config {path} cannot be read ({reason}); give a recipe file") from None
    is_json = path.suffix == ".json"
    try:
        recipe = json.loads(text) if is_json else tomli.loads(text)
    except (ValueError, RecursionError) as error:
        kind = "JSON" if is_json else "TOML"
        raise InputError(f"--config {path} is not {kind}: {error}") from None
    if not isinstance(recipe, dict):
        raise InputError(f"--config {path} holds no keys; see docs/recipes.md for an example")
    try:
        if "model_version" in recipe:
            return _translate(recipe)
        _check_keys(recipe, Workload.model_fields, ["model"])
        return _read_values(recipe, {name: name for name in Workload.model_fields})
    except InputError as error:
        raise InputError(f"--config {path}: {error}") from None


def override_recipe(recipe: Dict[str, Any], flags: Dict[str, Any]) -> Dict[str, Any]:
    """The recipe with flags over it.

    A flag that chooses another loss or schedule replaces the recipe's with all its arguments, as
    these would have no effect any more.
    """
    before = recipe.get("loss", SETTINGS["loss"].default)
    chosen = flags.get("loss", before)
    dropped = set() if chosen == before else list_unused_fields(chosen)
    if recipe.get("schedule") == "multistep" != flags.get("schedule", "multistep"):
        dropped.add("lr_milestones")
    return {**{name: value for name, value in recipe.items() if name not in dropped}, **flags}


def _check_keys(recipe: Dict[str, Any], known: Iterable[str], required: Iterable[str]) -> None:
    for key in recipe:
        if key not in known:
            hint = suggest(key, known, "see docs/recipes.md")
            raise InputError(f"the key '{key}' is unknown; {hint}")
    for key in required:
        if key not in recipe:
            raise InputError(f"the key '{key}' is missing; add it")


def _read_values(
    recipe: Dict[str, Any],
    fields: Mapping[str, str],
    convert: Optional[Callable[[str, Any], Any]] = None,
) -> Dict[str, Any]:
    """The values of the keys of `fields`, as their fields hold them."""
    values = {}
    for key, given in recipe.items():
        if key not in fields:
            continue
        setting = SETTINGS[fields[key]]
        try:
            if isinstance(given, bool) and setting.kind is not bool:
                raise ValueError(given)
            value = convert(key, given) if convert else given
            made = Workload.model_validate({setting.name: value})
        except (TypeError, ValueError):  # pydantic's ValidationError is a ValueError
            hint = "see docs/recipes.md" if convert else f"it takes {setting.describe_values()}"
            raise InputError(f"{key} = {given!r} cannot be used; {hint}") from None
        values[setting.name] = getattr(made, setting.name)
    return values


_SAME_WORDS = (
    "teacher", "alpha", "temperature", "reg_alpha", "reg_temperature", "multiplier", "batch_size",
    "num_classes", "subset_percent", "augmentation", "loss", "optimizer", "momentum",
    "weight_decay", "seed",
)  # fmt: skip
# key of the published code -> our field
_PUBLISHED = {
    "model_version": "model",
    "learning_rate": "lr",
    "num_epochs": "epochs",
    "dropout_rate": "dropout",
    "num_class": "num_classes",
    **dict(zip(_SAME_WORDS, _SAME_WORDS)),
}
# the published code always trains so; its files cannot change it, flags can
_PUBLISHED_TRAINING: Dict[str, Any] = {
    "scale_lr": True,
    "warmup_epochs": 1,
    "schedule": "multistep",
    "lr_milestones": [60, 120, 160],
    "lr_gamma": 0.2,
}
# keys about the other program, not about the training
_WITHOUT_MEANING = ("num_workers", "save_summary_steps")
_NUM_CHANNELS = 32  # of the plain cnn; the only width it has here
_ADAM_MODELS = ("cnn",)  # the published code trains these with Adam, all others with SGD
_REQUIRED = ["model_version", "learning_rate", "batch_size", "num_epochs"]
# names there of the 32-pixel variants here
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


def _find_model(version: str) -> str:
    name = version.replace("base_", "", 1) if version.startswith("base_") else version
    for suffix in ("_distill", "_self", "_teacher", "_student"):
        name = name[: -len(suffix)] if name.endswith(suffix) else name
    return _CIFAR_NAMES.get(name, name)


def _translate(recipe: Dict[str, Any]) -> Dict[str, Any]:
    _check_keys(recipe, [*_PUBLISHED, *_WITHOUT_MEANING, "num_channels"], _REQUIRED)
    if recipe.get("num_channels", _NUM_CHANNELS) != _NUM_CHANNELS:
        raise InputError(
            f"num_channels {recipe['num_channels']} cannot be used; the cnn here "
            f"has {_NUM_CHANNELS}"
        )
    if str(recipe.get("teacher", "")).lower() in ("none", ""):
        recipe = {key: value for key, value in recipe.items() if key != "teacher"}
    fields = _read_values(recipe, _PUBLISHED, _convert)
    fields.setdefault("loss", _infer_loss(fields))
    fields.setdefault("optimizer", "adam" if fields["model"] in _ADAM_MODELS else "sgd")
    unused = list_unused_fields(fields["loss"])  # published files list the arguments of all losses
    fields = {name: value for name, value in fields.items() if name not in unused}
    return {**_PUBLISHED_TRAINING, **fields}


def _convert(key: str, value: Any) -> Any:
    """A published value in our words and units."""
    if key in ("model_version", "teacher"):
        return _find_model(str(value))
    if key == "subset_percent":
        return 100 * float(value)  # a share there
    return str(value).lower() if key == "optimizer" else value


def _infer_loss(fields: Dict[str, Any]) -> str:
    """The loss that the keys of a published file imply; that code chooses by its flags."""
    if "teacher" in fields:
        is_self = fields["teacher"] == fields["model"] and "multiplier" in fields
        return "self_distillation" if is_self else "distillation"
    return "teacher_free" if "reg_alpha" in fields else "cross_entropy"
