"""Which rank a process is, and the digest of what all ranks read. OneFlow is not imported here."""

from __future__ import annotations

import hashlib
from typing import Mapping, NamedTuple, Sequence


class Identity(NamedTuple):
    rank: int  # from 0
    ranks: int  # processes that train together; 1: this one alone


ALONE = Identity(0, 1)


def read_identity(environment: Mapping[str, str]) -> Identity:
    """From RANK and WORLD_SIZE, OneFlow's own variables; without them rank 0 of 1.

    A process alone is rank 0 too where OneFlow, once imported, has set RANK to -1.
    """
    ranks = int(environment.get("WORLD_SIZE", "1"))
    return ALONE if ranks == 1 else Identity(int(environment.get("RANK", "0")), ranks)


def join_digests(digests: Sequence[str]) -> str:
    """The digest of the readers' own ones in their order; of one reader it is its own.

    A process that holds the whole batch and the ranks that hold a part each come to the same.
    """
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()
