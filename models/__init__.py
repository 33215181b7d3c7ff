"""AlexNet and its siblings as OneFlow modules. Importing this package imports no OneFlow."""

from .registry import (
    ModelFactoryError,
    ModelSpec,
    UnknownModelError,
    create_model,
    get_model_spec,
    list_arguments,
    list_models,
    register_model,
)

__all__ = [
    "ModelFactoryError",
    "ModelSpec",
    "UnknownModelError",
    "create_model",
    "get_model_spec",
    "list_arguments",
    "list_models",
    "register_model",
]
