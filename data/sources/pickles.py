"""Checks a pickle before it is loaded: a small one can unfold to a huge value."""

from __future__ import annotations

import pickletools
from typing import Set

_MAX_SHARED_TUPLES = 40  # more could be nested so that their hash takes for ever
_MAX_TUPLES = 30_000  # more could be nested so that their hash ends the process


class GrowthError(ValueError):
    """A pickle that would take far more time or memory than it has bytes."""


def check_growth(data: bytes) -> None:
    """Raise GrowthError for a pickle that would take far more time or memory than it has bytes."""
    tuples: Set[int] = set()
    memoized, made, shared, before = 0, 0, 0, ""
    for opcode, argument, _ in pickletools.genops(data):
        made += opcode.name.startswith("TUPLE")
        if opcode.name == "MEMOIZE" or opcode.name.endswith("PUT"):
            index = memoized if argument is None else int(argument)
            if index > len(data):
                raise GrowthError(f"it numbers a value {index}")
            memoized += 1
            if before.startswith("TUPLE"):
                tuples.add(index)
        elif opcode.name == "DUP" or (opcode.name.endswith("GET") and int(argument or 0) in tuples):
            shared += 1
        before = opcode.name
    if made > _MAX_TUPLES:
        raise GrowthError(f"it makes {made} tuples")
    if shared > _MAX_SHARED_TUPLES:
        raise GrowthError(f"it shares tuples {shared} times")
