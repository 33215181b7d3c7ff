"""Which rank a process is, read where OneFlow reads it: from the environment."""

from __future__ import annotations

from typing import Mapping, NamedTuple


class Identity(NamedTuple):
    """The place of a process in its group."""

    rank: int  # from 0
    ranks: int  # processes that train together; 1: this one alone


ALONE = Identity(0, 1)


def read_identity(environment: Mapping[str, str]) -> Identity:
    """From RANK and WORLD_SIZE, OneFlow's own variables; without them rank 0 of 1.

    A process alone is rank 0 too where OneFlow, once imported, has set RANK to -1.
    """
    ranks = int(environment.get("WORLD_SIZE", "1"))
    return ALONE if ranks == 1 else Identity(int(environment.get("RANK", "0")), ranks)
