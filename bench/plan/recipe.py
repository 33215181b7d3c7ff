"""Recipe files: a run's whole recipe as data.

A recipe is TOML or JSON with the fields of `Workload` as keys. The flat JSON of published
distillation code (`model_version`, `learning_rate`, `num_epochs`, ...) is read too. Its key
`model_version` tells it apart. An unknown key is refused by its name.

A file may come from anyone. So it names registered models, losses and optimizers only.
Code and trust need the flag on the command line of the run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, NoReturn, Optional, Tuple

import tomli

from ...data.files import read_regular
from ..config import CODE_FIELDS, Workload
from ..errors import InputError
from .fields import SETTINGS, flag_of, list_unread
from .graph_options import suggest

_MOST_BYTES = 1 << 20
_MOST_LETTERS = 4096  # of a name or a path


def load_recipe(
    path: Path,
    given: Iterable[str] = (),
    on_note: Callable[[str], None] = lambda sentence: None,
    loss: Optional[str] = None,
) -> Dict[str, Any]:
    """The fields that a recipe sets.

    `given` are the fields that flags set, and `loss` is the one that a flag chooses. `on_note` gets
    a sentence about each key that has another meaning here, or none. Raises InputError for a bad
    file, key or value.
    """
    try:
        text = read_regular(path, _MOST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InputError(f"--config {path} cannot be read ({reason}); give a recipe file") from None
    is_json = path.suffix == ".json"
    try:
        recipe = _read_json(text) if is_json else tomli.loads(text)
    except (ValueError, RecursionError) as error:
        kind = "JSON" if is_json else "TOML"
        advice = "; use sys."  # Python's own, on a number of thousands of digits
        nested = isinstance(error, RecursionError)
        reason = "it is nested too deeply" if nested else str(error).partition(advice)[0]
        raise InputError(f"--config {path} is not {kind}: {reason}") from None
    if not isinstance(recipe, dict):
        raise InputError(f"--config {path} holds no keys; see docs/recipes.md for an example")
    try:
        if "model_version" in recipe:
            translated = _translate(recipe, lambda note: on_note(f"--config {path}: {note}"), loss)
            return refuse_code(translated, given)
        _check_keys(recipe, Workload.model_fields, ["model"])
        values = _read_values(recipe, {name: name for name in Workload.model_fields})
        if values.get("trust_checkpoint") and "trust_checkpoint" not in given:
            raise InputError("trust_checkpoint is nothing that a file may set; give the flag")
        return refuse_code(values, given)
    except InputError as error:
        raise InputError(f"--config {path}: {error}") from None


def refuse_code(stored: Mapping[str, Any], given: Iterable[str]) -> Dict[str, Any]:
    """What a file sets, without trust. Raises InputError for code that no flag of `given` names."""
    for name in CODE_FIELDS:
        if ":" in str(stored.get(name)) and name not in given:
            raise InputError(
                f"{name} = {stored[name]} would run code, and a file may only name what is "
                f"registered; say {flag_of(name)} {stored[name]} if you trust it"
            )
    return {name: value for name, value in stored.items() if name != "trust_checkpoint"}


def _read_json(text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no number that JSON has")

    def collect(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
        found: Dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"the key '{key}' is there twice")
            found[key] = value
        return found

    return json.loads(text, object_pairs_hook=collect, parse_constant=refuse)


def override_recipe(
    recipe: Mapping[str, Any], flags: Mapping[str, Any], on_note: Callable[[str], None]
) -> Dict[str, Any]:
    """The recipe with flags over it, and without its fields that nothing reads then.

    A file may list the arguments of all losses and optimizers. `on_note` gets a sentence about
    those that it lists in vain.
    """
    both = {**recipe, **flags}
    unread = [name for name in list_unread(both) if name in recipe and name not in flags]
    if unread:
        on_note(f"keys of the recipe without effect on this training: {', '.join(unread)}")
    return {name: value for name, value in both.items() if name not in unread}


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
            if isinstance(given, str) and len(given) > _MOST_LETTERS:
                raise ValueError(given)
            value = convert(key, given) if convert else given
            made = Workload.model_validate({setting.name: value})
        except (TypeError, ValueError, OverflowError):  # pydantic's ValidationError is a ValueError
            hint = "see docs/recipes.md" if convert else f"it takes {setting.describe_values()}"
            raise InputError(f"{key} = {given!r:.200} cannot be used; {hint}") from None
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
    "image_size": 32,
}
_ADAM_TRAINING = {"optimizer": "adam", "weight_decay": 0.0}  # of its plain cnn
# argument of a loss that a file lists -> the flag that chooses this loss, there and here
_CHOOSING_FLAGS = {"reg_alpha": "--regularization", "multiplier": "--self-training"}
# keys that the published code never reads, or that are about the program and not the training
_WITHOUT_MEANING = ("num_workers", "save_summary_steps", "anchor_num", "batch_mean")
_CNN_KEYS = ("num_channels", "dropout_rate")  # that code reads them for its plain cnn alone
_NUM_CHANNELS = 32  # of the plain cnn; the only width it has here
_DATASET_CLASSES = {"cifar10": 10, "cifar100": 100, "tiny_imagenet": 200}
_REQUIRED = ["model_version", "learning_rate", "batch_size", "num_epochs"]
# names there of the 32-pixel variants here
_CIFAR_NAMES = {
    "alexnet": "alexnet_cifar",
    "densenet": "densenet121_cifar",
    "densenet121": "densenet121_cifar",
    "googlenet": "googlenet_cifar",
    "mobilenet_v2": "mobilenet_v2_cifar",
    "resnext29": "resnext29_8x64d",
    "resnext101": "resnext101_8x64d",
    "shufflenet_v2": "shufflenet_v2_cifar",
    "shufflenetv2": "shufflenet_v2_cifar",
    "vgg19": "vgg19_bn",
    "wideresnet": "wide_resnet_cifar",
    **{f"resnet{depth}": f"resnet{depth}_cifar" for depth in (18, 34, 50, 101, 152)},
}


def _find_model(version: str) -> str:
    name = version.replace("base_", "", 1) if version.startswith("base_") else version
    for suffix in ("_distill", "_self", "_teacher", "_student"):
        name = name[: -len(suffix)] if name.endswith(suffix) else name
    return _CIFAR_NAMES.get(name, name)


def _translate(
    recipe: Dict[str, Any], on_note: Callable[[str], None], loss: Optional[str]
) -> Dict[str, Any]:
    _check_keys(recipe, [*_PUBLISHED, *_WITHOUT_MEANING, "num_channels", "dataset"], _REQUIRED)
    is_cnn = _find_model(str(recipe["model_version"])) == "cnn"
    if is_cnn and recipe.get("num_channels", _NUM_CHANNELS) != _NUM_CHANNELS:
        raise InputError(
            f"num_channels {recipe['num_channels']} cannot be used; the cnn here "
            f"has {_NUM_CHANNELS}"
        )
    ignored = [key for key in recipe if key in _WITHOUT_MEANING]
    ignored += [key for key in _CNN_KEYS if key in recipe and not is_cnn]
    recipe = {key: value for key, value in recipe.items() if key not in ignored}
    if str(recipe.get("teacher", "")).lower() in ("none", ""):
        recipe.pop("teacher", None)
    if "dataset" in recipe:
        classes = _DATASET_CLASSES.get(str(recipe["dataset"]))
        if classes is not None:
            recipe.setdefault("num_class", classes)
        on_note(
            f"dataset = {recipe['dataset']} sets the number of classes, "
            f"{recipe.get('num_class', 'here unknown')}; --data gives the images"
        )
    fields = _read_values(recipe, _PUBLISHED, _convert)
    fields.setdefault("loss", "distillation" if "teacher" in fields else "cross_entropy")
    chosen = {"loss": loss or fields["loss"]}  # files list the arguments of all losses
    unused = [name for name, decisive in list_unread(chosen).items() if decisive == "loss"]
    ignored += [name for name in fields if name in unused]
    if ignored:
        on_note(f"without effect on this training: {', '.join(ignored)}")
    for name, flag in _CHOOSING_FLAGS.items():
        # the multiplier is of both losses, and self-training has the student's kind as teacher
        is_its_own = name == "reg_alpha" or fields.get("teacher") == fields["model"]
        if loss is None and name in fields and name in unused and is_its_own:
            on_note(f"{name} counts with {flag} alone, as for the code that the file is from")
    fields = {name: value for name, value in fields.items() if name not in unused}
    training = {**_PUBLISHED_TRAINING, **(_ADAM_TRAINING if is_cnn else {"optimizer": "sgd"})}
    return {**training, **fields}


def _convert(key: str, value: Any) -> Any:
    """A published value in our words and units."""
    if key in ("model_version", "teacher"):
        return _find_model(str(value))
    if key == "subset_percent":
        return 100 * float(value)  # a share there
    return str(value).lower() if key == "optimizer" else value
