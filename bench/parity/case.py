"""One check's case: both modes' tensors, judged again as evidence comes in, and the conclusion."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from .judge import Evidence, judge_levels, list_inexact
from .known import KnownDifference, KnownTally
from .pairs import Pair
from .result import LEVELS, KnownHit, LevelResult
from .tensors import Entry

DECISIVE_RATIO = 1000.0  # an error_ratio that no witness has come near


class Case:
    """The tensors of both modes and what is known to differ; judged again as evidence comes in."""

    def __init__(
        self, pairs: List[Pair], known: Sequence[KnownDifference], oneflow: Optional[str]
    ) -> None:
        self.pairs = pairs
        self.levels: List[LevelResult] = []
        self.hits: List[KnownHit] = []
        self._known = known
        self._oneflow = oneflow

    def list_inexact(self) -> Dict[str, List[str]]:
        return list_inexact(self.pairs, KnownTally(self._known, self._oneflow))

    def keep_levels_before(self, unrepeated: Optional[Tuple[str, Entry]]) -> None:
        """Leave out what comes after a mode stopped repeating itself: it says nothing."""
        if unrepeated is not None:
            limit = LEVELS.index(unrepeated[1].level)
            self.pairs = [p for p in self.pairs if LEVELS.index(p.entry.level) < limit]

    def judge(
        self,
        evidence: Optional[Evidence],
        convicted: Optional[Mapping[Tuple[str, str], str]] = None,
    ) -> None:
        tally = KnownTally(self._known, self._oneflow)
        self.levels = judge_levels(self.pairs, evidence, tally, convicted)
        self.hits = tally.hits()

    def find_reason(self, level: str, name: str) -> Optional[str]:
        """Why a buffer is known to differ."""
        explaining = (e for e in self._known if e.explains(level, name, "buffer", self._oneflow))
        return next((entry.reason for entry in explaining), None)


def may_be_rounding(levels: Sequence[LevelResult]) -> bool:
    """True where a level is different and witnesses might yet explain it."""
    first = next((level.first_different for level in levels if level.first_different), None)
    return (
        first is not None and first.error_ratio is not None and (first.error_ratio < DECISIVE_RATIO)
    )


def conclude(
    levels: Sequence[LevelResult], unrepeated: Optional[Tuple[str, Entry]]
) -> Tuple[Any, str]:
    """The verdict on a model and its reason in a sentence part."""
    different = [level for level in levels if level.verdict == "different"]
    if different:
        return "different", f"{different[0].level}: {different[0].reason}"
    if unrepeated is not None:
        mode, entry = unrepeated
        return "inconclusive", (
            f"{mode} mode does not repeat itself: {entry.name} at the level '{entry.level}' "
            "differed between two runs"
        )
    inexact = [level for level in levels if level.verdict == "equal within rounding"]
    if inexact:
        return "equal within rounding", f"from {inexact[0].level} on: {inexact[0].reason}"
    return "identical", f"all {sum(level.tensors for level in levels)} tensors are bitwise equal"
