"""What both modes observed, tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence

from .tensors import Entry


@dataclass(frozen=True)
class Pair:
    """One tensor of both modes."""

    eager: Optional[Entry]
    graph: Optional[Entry]

    @property
    def entry(self) -> Entry:
        found = self.eager or self.graph
        assert found is not None
        return found

    @property
    def is_identical(self) -> bool:
        return (
            self.eager is not None
            and self.graph is not None
            and self.eager.digest == self.graph.digest
        )


def pair_entries(eager: Sequence[Entry], graph: Sequence[Entry]) -> List[Pair]:
    """Both sides' entries by level and name, in eager's order; what graph alone has comes last."""
    theirs = {entry.key: entry for entry in graph}
    known = {entry.key for entry in eager}
    pairs = [Pair(entry, theirs.get(entry.key)) for entry in eager]
    return pairs + [Pair(None, entry) for entry in graph if entry.key not in known]


def find_unrepeated(first: Sequence[Entry], second: Sequence[Entry]) -> Optional[Entry]:
    """The first tensor that a second run of the same mode did not repeat bit for bit."""
    digests = {entry.key: entry.digest for entry in second}
    return next((e for e in first if digests.get(e.key) != e.digest), None)
