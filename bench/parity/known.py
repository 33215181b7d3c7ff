"""Differences of OneFlow that are known, explained and do not fail a check: one data file."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Tuple

from pydantic import BaseModel, ConfigDict, TypeAdapter

from .result import KnownHit

PATH = Path(__file__).with_name("known_differences.json")


class KnownDifference(BaseModel):
    """One entry: which tensors, at which levels, in which versions of OneFlow, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    kind: str  # wildcard: buffer, parameter, gradient, a module's class
    name: str  # wildcard over tensor names; at the level of ranks over strategies
    levels: List[str]
    oneflow: List[str]
    reason: str
    link: str

    def explains(self, level: str, name: str, kind: str, oneflow: Optional[str]) -> bool:
        """True where a difference of this tensor, or of ranks by this module, is expected."""
        return (
            oneflow in self.oneflow
            and level in self.levels
            and fnmatch.fnmatchcase(kind, self.kind)
            and fnmatch.fnmatchcase(name, self.name)
        )


def load_known_differences(path: Path = PATH) -> List[KnownDifference]:
    """All entries of the data file."""
    return TypeAdapter(List[KnownDifference]).validate_python(
        json.loads(path.read_text(encoding="utf-8"))
    )


class KnownTally:
    """Which entries a check met: tensors that differ as expected, and those that do no more."""

    def __init__(self, known: Iterable[KnownDifference], oneflow: Optional[str]) -> None:
        self._known = list(known)
        self._oneflow = oneflow
        self._seen: Dict[str, Tuple[int, int]] = {}  # id -> (differing, present)

    def note(self, level: str, name: str, kind: str, differs: bool) -> bool:
        """Count a tensor; True where it differs and that is known."""
        found = False
        for entry in self._known:
            if entry.explains(level, name, kind, self._oneflow):
                differing, present = self._seen.get(entry.id, (0, 0))
                self._seen[entry.id] = (differing + differs, present + 1)
                found = differs
        return found

    def hits(self) -> List[KnownHit]:
        """The entries whose tensors were there; outdated where none of them differed."""
        return [
            KnownHit(
                id=entry.id,
                reason=entry.reason,
                link=entry.link,
                tensors=self._seen[entry.id][0],
                outdated=self._seen[entry.id][0] == 0,
            )
            for entry in self._known
            if entry.id in self._seen
        ]
