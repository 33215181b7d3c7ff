"""The batches of a training step of the user's own, each checked against the first."""

from __future__ import annotations

import numbers
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np
import oneflow as flow

from ....models.registry import find_own_line
from ...errors import InputError, describe_type
from ..feeds import Batch, Feed
from ..hooks import list_tensors
from ..nest import list_leaves, map_tensors
from ..oneflow_compat import seed_loaders

_END = object()
Layout = List[Tuple[str, str, Tuple[int, ...]]]  # place in the batch, type, shape


def call_own(name: str, what: str, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """What a function of the user's gives; InputError with its line for whatever it raises."""
    try:
        return function(*given, **named)
    except InputError:
        raise
    except Exception as error:
        at = find_own_line(error)
        where = f" at {at.filename}:{at.lineno}: `{at.line}`" if at else ""
        text = next(iter(str(error).strip().splitlines()), "no message")
        remedy = "" if isinstance(error, ImportError) else "; mend that line"
        raise InputError(
            f"{name}: {what} raised {type(error).__name__}{where} ({text}){remedy}"
        ) from error


class Batches:
    """Batches without end, each checked against the layout of the first."""

    def __init__(
        self, title: str, create: Callable[[int], Iterator[Any]], seed: int, device: str
    ) -> None:
        self._title, self._create, self._seed, self._device = title, create, seed, device
        self._iterator, self._taken = self._begin_pass(), 0
        self.first = self._take()
        self.layout: Layout = read_layout(self.first)
        if not self.layout:
            raise InputError(
                f"{title}: a batch is {describe_type(self.first)} without a tensor; give "
                "tensors or NumPy arrays, alone or in tuples, lists and dicts"
            )
        if 0 in self.layout[0][2]:
            raise InputError(
                f"{title}: {describe_layout(self.layout[:1])} has no element; give batches with at "
                "least one row"
            )
        self._numbers = read_numbers(self.first)
        self._waiting = [self.first]  # not given yet

    def as_feed(self, steps_per_pass: int) -> Feed:
        rows = self.layout[0][2][0] if self.layout[0][2] else 1
        return Feed(
            self.next_batch, rows, [rows * steps_per_pass], steps_per_pass,
            create_example=lambda: (self.first, ()),
        )  # fmt: skip

    def next_batch(self) -> Batch:
        batch = self._waiting.pop() if self._waiting else self._take()
        self._taken += 1
        layout = read_layout(batch)
        if layout != self.layout:
            raise InputError(
                f"{self._title}: {explain_layout(layout, self.layout)} in batch {self._taken}; "
                "give all batches the shapes and types of the first, and drop a last partial one"
            )
        found = read_numbers(batch)
        for place in {**self._numbers, **found}:
            was, given = (of.get(place, "nothing") for of in (self._numbers, found))
            if was != given:
                raise InputError(
                    f"{self._title}: {place} was {was} in the first batch and is {given} in batch "
                    f"{self._taken}; a graph keeps the first value, so give it as a tensor or a "
                    "NumPy array"
                )
        return batch, ()

    def _take(self) -> Any:
        for _ in range(2):
            batch = call_own(self._title, "create_batches", next, self._iterator, _END)
            if batch is not _END:
                batch = map_tensors(self._convert, map_tensors(_copy, batch), np.ndarray)
                return batch if self._device == "cpu" else map_tensors(self._place, batch)
            self._seed += 1
            self._iterator = self._begin_pass()
        raise InputError(
            f"{self._title}: create_batches gave no batch; give at least one, and a new iterable "
            "for each call"
        )

    def _begin_pass(self) -> Iterator[Any]:
        seed_loaders(self._seed)
        return self._create(self._seed)

    def _convert(self, array: np.ndarray) -> flow.Tensor:
        try:
            return flow.tensor(array)
        except Exception:  # of OneFlow's own classes
            raise InputError(
                f"{self._title}: a batch has an array of type {array.dtype} and shape "
                f"{array.shape}, and OneFlow {flow.__version__} has no such type; convert it, such "
                "as by .astype(np.int64) or .astype(np.float32)"
            ) from None

    def _place(self, tensor: flow.Tensor) -> flow.Tensor:
        return tensor.to(self._device)


def _copy(tensor: flow.Tensor) -> flow.Tensor:
    """A tensor of its own, since an iterable may fill one tensor again for each batch."""
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def read_layout(batch: Any) -> Layout:
    """The place, type and shape of each tensor of a batch."""
    return [
        (f"batch{place}", str(t.dtype).replace("oneflow.", ""), tuple(t.shape))
        for place, t in list_tensors(batch)
    ]


def read_numbers(batch: Any) -> Dict[str, str]:
    """The text of each number of Python or NumPy in a batch, by its place."""
    kinds = (numbers.Number, np.generic)
    return {place: str(v) for place, v in list_leaves(batch, "batch") if isinstance(v, kinds)}


def describe_layout(layout: Layout) -> str:
    """Such as `batch['ids'] int64 (4, 32)`."""
    return ", ".join(f"{place} {dtype} {shape}" for place, dtype, shape in layout)


def explain_layout(found: Layout, first: Layout) -> str:
    """The first tensor of a batch that does not fit, and what it was in the first batch."""
    for ours, theirs in zip(found, first):
        if ours != theirs:
            return f"{describe_layout([ours])} was given and was {describe_layout([theirs])}"
    return f"{len(found)} tensors were given and the first batch had {len(first)}"
