"""AlexNet and its siblings as OneFlow modules. Importing this package imports no OneFlow."""

from .registry import (
    ModelSpec,
    OwnCodeError,
    UnknownModelError,
    create_model,
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
