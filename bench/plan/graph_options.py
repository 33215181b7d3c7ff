"""The switches of a graph's `config`: which there are, what each takes, and setting them.

They are methods of OneFlow's `GraphConfig`, so which there are depends on the OneFlow that a
contender runs on; nothing here imports it, the class is taken from the graph at hand.
"""

from __future__ import annotations

import difflib
import inspect
import math
from typing import Any, Dict, Iterable, Mapping, Optional, Union

from ..errors import InputError

OptionValue = Union[bool, int, float, str]

# public methods that are no switches of a contender
_ACCUMULATION = "set_gradient_accumulation_steps"
_REPLACED = "set_zero_redundancy_optimizer_mode"  # raises, and says that enable_zero took its place
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


def list_graph_options(config: type) -> Dict[str, Optional[type]]:
    """Names of the switches of a `GraphConfig` class and the type each takes; None: a number."""
    return {
        name: _find_type(method)
        for name, method in inspect.getmembers(config, inspect.isfunction)
        if not name.startswith("_") and name not in (_ACCUMULATION, _REPLACED)
    }


def check_graph_options(
    options: Mapping[str, OptionValue], known: Mapping[str, Optional[type]]
) -> None:
    """Raise InputError for the first option that is not known or of another type."""
    for name, value in options.items():
        if name == _ACCUMULATION:
            raise InputError(
                f"graph option {name} splits the batch, which is a part of the workload and not of "
                "a contender; give --accumulation-steps instead"
            )
        if name not in known:
            raise InputError(f"unknown graph option '{name}'; {suggest(name, list(known))}")
        if not _fits(value, known[name]):
            wanted = _WORDS[known[name] or float]
            raise InputError(
                f"graph option {name}={format_option(value)} cannot be used; it takes {wanted}"
            )


def apply_graph_options(graph: Any, options: Optional[Mapping[str, OptionValue]]) -> None:
    """Set them before compiling. Raises InputError for an unknown switch or a refused value."""
    if not options:
        return
    check_graph_options(options, list_graph_options(type(graph.config)))
    for name, value in options.items():
        try:
            getattr(graph.config, name)(value)
        except (AssertionError, TypeError, ValueError, RuntimeError) as error:
            said = f" ({error})" if str(error) else ""
            raise InputError(
                f"graph option {name}={format_option(value)} was refused by OneFlow{said}; see the "
                f"documentation of GraphConfig.{name} for what it takes"
            ) from None


def parse_option(text: str) -> OptionValue:
    """A value as it is typed: a number, true or false where it looks like one, else the text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else text
    return text


def format_option(value: OptionValue) -> str:
    """As it is typed: true and false in small letters."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def suggest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """A sentence part that names the nearest known words; `otherwise`, or all, if none is near."""
    words = sorted(known)
    close = difflib.get_close_matches(name, words, n=2, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return otherwise or f"known are {', '.join(words)}"


def _find_type(method: Any) -> Optional[type]:
    """Of the first argument, by its annotation, which may be text; None where there is none."""
    first = list(inspect.signature(method).parameters.values())[1]
    words = {"bool": bool, "int": int, "str": str}
    kind = first.annotation
    return words.get(kind if isinstance(kind, str) else getattr(kind, "__name__", ""))


def _fits(value: OptionValue, kind: Optional[type]) -> bool:
    if kind is bool or kind is str:
        return isinstance(value, kind)
    numbers = (int,) if kind is int else (int, float)
    return isinstance(value, numbers) and not isinstance(value, bool)
