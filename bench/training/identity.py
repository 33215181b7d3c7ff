"""The rank of a process, read from the environment as OneFlow does, and digests over ranks.

Imports no OneFlow, because the controller needs both.
"""

from __future__ import annotations

import hashlib
from typing import Mapping, NamedTuple, Sequence


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


def join_digests(digests: Sequence[str]) -> str:
    """The digest of a batch from those of its readers, in their order; one reader's is the batch's.

    A process that holds the whole batch and the ranks that hold a part each get the same digest.
    """
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()
