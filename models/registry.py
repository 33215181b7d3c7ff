"""Which models there are. Listing needs no OneFlow; an architecture is imported when created.

A model is one row of `_TABLE`; its module holds a factory of the same name, decorated with
`@register_model`, which checks that the row exists. See docs/adding-a-model.md.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, TypeVar

from oneflow_bench.models.own_code import OwnCodeError, import_attribute

Factory = TypeVar("Factory", bound=Callable[..., Any])


class UnknownModelError(ValueError):
    """No model of that name; the message lists close matches."""


class ModelFactoryError(ValueError):
    """A `package.module:factory` that cannot be used."""


@dataclass(frozen=True)
class ModelSpec:
    """A registered model. Sizes in pixels; `num_params` at `num_classes` outputs."""

    name: str
    family: str  # also the module in this package
    stem: str  # imagenet: for 224 px and the like; cifar: for 32 px
    num_params: int
    num_classes: int
    default_image_size: int
    min_image_size: int
    paper: str


_ALEXNET = "Krizhevsky 2014, arXiv:1404.5997"
_VGG = "Simonyan and Zisserman 2014, arXiv:1409.1556"
_RESNET = "He et al. 2015, arXiv:1512.03385"

_TABLE = [
    ModelSpec("lenet", "lenet", "cifar", 62_006, 10, 32, 32, "LeCun et al. 1998"),
    ModelSpec("alexnet", "alexnet", "imagenet", 61_100_840, 1000, 224, 63, _ALEXNET),
    ModelSpec("alexnet_cifar", "alexnet", "cifar", 2_472_266, 10, 32, 29, _ALEXNET),
    ModelSpec("vgg11", "vgg", "imagenet", 132_863_336, 1000, 224, 32, _VGG),
    ModelSpec("vgg11_bn", "vgg", "imagenet", 132_868_840, 1000, 224, 32, _VGG),
    ModelSpec("vgg13", "vgg", "imagenet", 133_047_848, 1000, 224, 32, _VGG),
    ModelSpec("vgg13_bn", "vgg", "imagenet", 133_053_736, 1000, 224, 32, _VGG),
    ModelSpec("vgg16", "vgg", "imagenet", 138_357_544, 1000, 224, 32, _VGG),
    ModelSpec("vgg16_bn", "vgg", "imagenet", 138_365_992, 1000, 224, 32, _VGG),
    ModelSpec("vgg19", "vgg", "imagenet", 143_667_240, 1000, 224, 32, _VGG),
    ModelSpec("vgg19_bn", "vgg", "imagenet", 143_678_248, 1000, 224, 32, _VGG),
    ModelSpec("resnet18", "resnet", "imagenet", 11_689_512, 1000, 224, 32, _RESNET),
    ModelSpec("resnet34", "resnet", "imagenet", 21_797_672, 1000, 224, 32, _RESNET),
    ModelSpec("resnet50", "resnet", "imagenet", 25_557_032, 1000, 224, 32, _RESNET),
    ModelSpec("resnet101", "resnet", "imagenet", 44_549_160, 1000, 224, 32, _RESNET),
    ModelSpec("resnet152", "resnet", "imagenet", 60_192_808, 1000, 224, 32, _RESNET),
]
_SPECS: Dict[str, ModelSpec] = {spec.name: spec for spec in _TABLE}
_FACTORIES: Dict[str, Callable[..., Any]] = {}


def register_model(factory: Factory) -> Factory:
    """Decorator: make `factory` the way to create the model of its name."""
    name = factory.__name__
    if name not in _SPECS:
        raise ValueError(f"{name} has no row in the model table of {__name__}; add one")
    if name in _FACTORIES:
        raise ValueError(f"{name} is registered twice")
    _FACTORIES[name] = factory
    return factory


def list_models(pattern: str = "*") -> List[str]:
    """Names that fit a wildcard pattern such as 'resnet*', in the order of the table."""
    return [name for name in _SPECS if fnmatch.fnmatchcase(name, pattern)]


def get_model_spec(name: str) -> ModelSpec:
    """The row of a registered model. Raises UnknownModelError with close matches."""
    if name in _SPECS:
        return _SPECS[name]
    close = difflib.get_close_matches(name, _SPECS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "bench models lists them all"
    raise UnknownModelError(
        f"unknown model '{name}'; {hint} (a model of your own is package.module:factory)"
    )


def create_model(name: str, num_classes: int = 1000, **arguments: Any) -> Any:
    """A new `oneflow.nn.Module` with `num_classes` outputs.

    `name` is registered, or `package.module:factory`, looked for in the current folder too; the
    factory is called with `num_classes` and `arguments`. Raises UnknownModelError and
    ModelFactoryError.
    """
    if ":" in name:
        return _create_own_model(name, num_classes, arguments)
    spec = get_model_spec(name)
    importlib.import_module(f"{__package__}.{spec.family}")
    return _FACTORIES[name](num_classes=num_classes, **arguments)


def _create_own_model(name: str, num_classes: int, arguments: Dict[str, Any]) -> Any:
    from oneflow import nn

    try:
        factory = import_attribute(name, "--model")
    except OwnCodeError as error:
        raise ModelFactoryError(str(error)) from error
    try:
        model = factory(num_classes=num_classes, **arguments)
    except Exception as error:
        raise ModelFactoryError(
            f"--model {name}: calling it with num_classes={num_classes} raised "
            f"{type(error).__name__}: {error}; it must take num_classes"
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelFactoryError(
            f"--model {name} returned a {type(model).__name__}; it must return an oneflow.nn.Module"
        )
    return model
