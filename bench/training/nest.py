"""Nests of tensors: tuples, lists, dicts and named tuples, in one another, with tensors as leaves.

A graph takes and compiles tensors alone, so a batch is taken apart for it and put together inside.
"""

from __future__ import annotations

import copy
from typing import Any, Callable, List, Sequence, Tuple

import oneflow as flow

from ..errors import describe_type

Rebuild = Callable[[Sequence[flow.Tensor]], Any]


def map_tensors(function: Callable[[Any], Any], nest: Any, kind: type = flow.Tensor) -> Any:
    """The same nest with `function(leaf)` for each leaf of a kind; other leaves stay."""
    if isinstance(nest, kind):
        return function(nest)
    if isinstance(nest, dict):
        mapped = copy.copy(nest)  # of its class, with its order
        mapped.update({key: map_tensors(function, part, kind) for key, part in nest.items()})
        return mapped
    if isinstance(nest, (tuple, list)):
        parts = [map_tensors(function, part, kind) for part in nest]
        return type(nest)(*parts) if hasattr(nest, "_fields") else type(nest)(parts)
    return nest


def flatten(nest: Any) -> Tuple[List[flow.Tensor], Rebuild]:
    """The tensors of a nest, and a function from as many tensors to the same nest of those."""
    tensors: List[flow.Tensor] = []
    map_tensors(tensors.append, nest)

    def rebuild(others: Sequence[flow.Tensor]) -> Any:
        left = iter(others)
        return map_tensors(lambda _: next(left), nest)

    return tensors, rebuild


def list_leaves(nest: Any, place: str, spell: Callable[[Any], str] = repr) -> List[Tuple[str, Any]]:
    """Each leaf of a nest that is called `place`, by its place as Python writes it.

    `spell` gives the text of a key.
    """
    if isinstance(nest, dict):
        parts = list(nest.items())
    elif isinstance(nest, (tuple, list)):
        parts = list(enumerate(nest))
    else:
        return [(place, nest)]
    leaves = (list_leaves(part, f"{place}[{spell(key)}]", spell) for key, part in parts)
    return [leaf for part in leaves for leaf in part]


def describe_leaf(value: Any) -> str:
    """Such as `a float (0.5)` and `a Tensor of shape (3,)`."""
    shape = getattr(value, "shape", None)
    shown = repr(value)
    told = f" of shape {tuple(shape)}" if shape is not None else f" ({shown})" * (len(shown) < 40)
    return f"{describe_type(value)}{told}"


def apply(function: Callable[..., Any], inputs: Any) -> Any:
    """`function(*inputs)` for a tuple, `function(**inputs)` for a dict, else `function(inputs)`.

    A named tuple is one argument.
    """
    if isinstance(inputs, dict):
        return function(**inputs)
    if isinstance(inputs, tuple) and not hasattr(inputs, "_fields"):
        return function(*inputs)
    return function(inputs)
