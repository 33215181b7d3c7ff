"""AlexNet and its siblings as OneFlow modules. Importing this package imports no OneFlow.

`from oneflow_bench.models import alexnet` gives the factory of that model, as for every model.
"""

import sys
from types import ModuleType
from typing import Any

from .registry import (
    ModelSpec,
    OwnCodeError,
    UnknownModelError,
    create_model,
    find_factory,
    get_model_spec,
    list_arguments,
    list_models,
    register_model,
)

__all__ = [
    "OwnCodeError",
    "ModelSpec",
    "UnknownModelError",
    "create_model",
    "get_model_spec",
    "list_arguments",
    "list_models",
    "register_model",
]


class _Models(ModuleType):
    """A package whose attribute `alexnet` is the model, not the module `alexnet.py`."""

    def __getattr__(self, name: str) -> Any:
        if name in list_models():
            return find_factory(name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in list_models()):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Models
