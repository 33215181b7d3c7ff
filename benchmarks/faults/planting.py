"""A fault, and how it is planted in a job."""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Tuple


@dataclass(frozen=True)
class Fault:
    """One fault of a kind, at a place and of a size. `plant(fault, job)` changes the graph's job.

    The check must name one of `levels`, and a tensor that fits the wildcard `names`. A data or
    optimizer fault has no layer of its own; the check must name its stage.
    """

    kind: str
    model: str
    where: str  # module, parameter or option
    size: float
    levels: Tuple[str, ...]
    names: str
    plant: Callable[..., None]
    recipe: Dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.model}/{self.where or 'output'}/{self.size:g}"


def find_module(job: Any, path: str) -> Any:
    """A module of the student; the student itself for an empty path."""
    return dict(job.objective.named_modules())[f"model.{path}" if path else "model"]


def wrap_forward(module: Any, change: Callable[..., Any]) -> None:
    """Put `change(original, self, inputs...)` in the place of a module's forward."""
    original = module.forward.__func__

    def forward(self: Any, *inputs: Any) -> Any:
        return change(original, self, *inputs)

    object.__setattr__(module, "forward", types.MethodType(forward, module))


def wrap_layer(job: Any, path: str, change: Callable[..., Any]) -> None:
    """`wrap_forward` of the student's module at `path`."""
    wrap_forward(find_module(job, path), change)
