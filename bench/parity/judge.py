"""The judge: a verdict on each level, from digests alone or with values where these differ.

A tensor is *identical* if its digests are equal. `difference.py` judges a tensor that is not.
Differences of OneFlow that are known and explained do not count: `known_differences.json`.
"""

from __future__ import annotations

import fnmatch
import math
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from pydantic import BaseModel, ConfigDict, TypeAdapter

from .causes import describe_infinite
from .difference import Evidence, describe_error, judge_tensor
from .result import LEVELS, VALIDATION, KnownHit, LevelResult, TensorDifference, Verdict
from .tensors import (
    EAGER,
    GRAPH,
    MISSING_DIGEST,
    MODES,
    OUTPUT,
    Entry,
    Pair,
    Sides,
    Wanted,
    pair_entries,
    split_name,
)

PATH = Path(__file__).with_name("known_differences.json")
DECISIVE_RATIO = 1000.0  # an error_ratio that no perturbed run has come near

# the runs of a comparison, by name; seeds of the perturbed ones
REFERENCE = "reference"  # eager mode in float64
AGAIN = "-again"  # behind a mode's name: its second run, with values
PERTURBED_SEEDS = {f"perturbed-{seed}": seed for seed in range(1, 9)}
FEW_PERTURBED = 2  # of them, unless a metric that counts differs

# names of runs, level -> names of the tensors whose values are wanted: the entries of each run
RunSides = Callable[[Sequence[str], Wanted], List[List[Entry]]]


class KnownDifference(BaseModel):
    """One known difference: its tensors, levels and versions of OneFlow, and the reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    kind: str  # wildcard: buffer, parameter, gradient, a module's class
    name: str  # wildcard over tensor names; at the level of ranks over strategies
    owner: str = "*"  # wildcard: the OneFlow class of the module that holds a buffer
    levels: List[str]
    oneflow: List[str]
    reason: str
    link: str

    def explains(
        self, level: str, name: str, kind: str, oneflow: Optional[str], owner: str = ""
    ) -> bool:
        """True if a difference of this tensor, or of ranks by this module, is expected."""
        return (
            oneflow in self.oneflow
            and level in self.levels
            and fnmatch.fnmatchcase(kind, self.kind)
            and fnmatch.fnmatchcase(name, self.name)
            and fnmatch.fnmatchcase(owner, self.owner)
        )


def load_known_differences() -> List[KnownDifference]:
    """All entries of the data file."""
    return TypeAdapter(List[KnownDifference]).validate_json(PATH.read_bytes())


class KnownTally:
    """Counts the tensors of known differences: those that differ, and those that no longer do."""

    def __init__(self, known: Iterable[KnownDifference], oneflow: Optional[str]) -> None:
        self._known = list(known)
        self._oneflow = oneflow
        self._differing: Counter[str] = Counter()  # by id, of the entries whose tensors exist

    def split(self, pairs: Sequence[Pair]) -> Tuple[List[Pair], int]:
        """(the pairs that differ for no known reason, the number of those with a known reason)."""
        inexact, known = [], 0
        for pair in pairs:
            at, differs = pair.eager, not pair.is_identical
            facts = at.level, at.name, at.kind, self._oneflow, at.owner
            reasons = [e for e in self._known if e.explains(*facts)]
            for entry in reasons:
                self._differing[entry.id] += differs
            if differs and reasons:
                known += 1
            elif differs:
                inexact.append(pair)
        return inexact, known

    def hits(self) -> List[KnownHit]:
        """The entries whose tensors exist; outdated if none of these differs."""
        found = [(e, self._differing[e.id]) for e in self._known if e.id in self._differing]
        return [
            KnownHit(id=e.id, reason=e.reason, link=e.link, tensors=count, outdated=count == 0)
            for e, count in found
        ]


class Comparison:
    """The tensors of both modes, which ran on the version `oneflow`, and the verdict."""

    def __init__(
        self,
        eager: Sequence[Entry],
        graph: Sequence[Entry],
        oneflow: Optional[str],
        known: Optional[Sequence[KnownDifference]] = None,
        sides: Sides = MODES,
    ) -> None:
        self.sides = sides
        self.pairs = pair_entries(eager, graph)
        self._owners = {pair.eager.key: pair.eager.owner for pair in self.pairs}
        self.levels: List[LevelResult] = []
        self.hits: List[KnownHit] = []
        self._known = load_known_differences() if known is None else known
        self._oneflow = oneflow
        self._unrepeated: Optional[Tuple[str, Entry]] = None
        self.reproducible: Optional[bool] = None  # each mode repeats itself; None: not tested

    def settle(self, run: RunSides, folder: Path) -> Optional[Evidence]:
        """Judge, with as many more runs as that takes; returns the evidence that they gave.

        No more runs if all tensors are identical. If not, both modes again, which shows whether
        they repeat themselves, and the reference; and perturbed runs if these may explain a
        difference. A run writes its values to the folder in `folder` that has its name.
        """
        wanted: Dict[str, List[str]] = {}
        for pair in KnownTally(self._known, self._oneflow).split(self.pairs)[0]:
            wanted.setdefault(pair.eager.level, []).append(pair.eager.name)
        if not wanted:
            self.judge()
            return None
        names = [EAGER + AGAIN, GRAPH + AGAIN, REFERENCE]
        eager, graph, _ = run(names, wanted)
        self._drop_unrepeated(eager, graph)
        evidence = [folder / name for name in names]
        self.judge(evidence)
        done = 0
        while names := self._list_useful(done):
            run(names, wanted)
            evidence += [folder / name for name in names]
            done += len(names)
            self.judge(evidence)
        return evidence

    def _list_useful(self, done: int) -> List[str]:
        """The perturbed runs that might still explain the first difference, after so many.

        A metric that counts, such as an accuracy, has no error until a near tie flips. So few runs
        seldom show that it may.
        """
        first, names = self.first_different, list(PERTURBED_SEEDS)
        if first is not None and first.level == VALIDATION and first.eager_error == 0.0:
            return names[done:]
        ratio = None if first is None else first.error_ratio
        return names[done:FEW_PERTURBED] if ratio is not None and ratio < DECISIVE_RATIO else []

    def _drop_unrepeated(self, eager: Sequence[Entry], graph: Sequence[Entry]) -> None:
        """Find the first tensor that a mode's second run did not repeat; drop its level and later.

        After it a comparison of the modes tells nothing.
        """
        for mode, second in ((EAGER, eager), (GRAPH, graph)):
            digests = {entry.key: entry.digest for entry in second}
            first = [getattr(pair, mode) for pair in self.pairs]
            changed = (e for e in first if digests.get(e.key, MISSING_DIGEST) != e.digest)
            unrepeated = next(changed, None)
            if unrepeated is not None:
                limit = LEVELS.index(unrepeated.level)
                self.pairs = [p for p in self.pairs if LEVELS.index(p.eager.level) < limit]
                self._unrepeated = mode, unrepeated
                break
        self.reproducible = self._unrepeated is None

    def judge(
        self,
        evidence: Optional[Evidence] = None,
        flagged: Optional[Mapping[Tuple[str, str], str]] = None,
    ) -> None:
        """Set `levels`, a result for each observed level. Identical tensors need no `evidence`.

        `flagged` has tensors, by level and name, that are different for another reason, with the
        reason.
        """
        tally = KnownTally(self._known, self._oneflow)
        self.levels = []
        for level in LEVELS:
            pairs = [pair for pair in self.pairs if pair.eager.level == level]
            if pairs:
                inexact, known = tally.split(pairs)
                reasons = [(flagged or {}).get(pair.eager.key) for pair in inexact]
                judged = zip(inexact, reasons)
                found = [judge_tensor(pair, evidence, r, self.sides) for pair, r in judged]
                self.levels.append(_summarize(level, len(pairs), known, found, self.sides))
        self.hits = tally.hits()

    @property
    def first_different(self) -> Optional[TensorDifference]:
        """The first tensor of all that is different."""
        return next((lev.first_different for lev in self.levels if lev.first_different), None)

    @property
    def unrepeated(self) -> Optional[Entry]:
        """The first tensor that a mode's second run did not repeat."""
        return None if self._unrepeated is None else self._unrepeated[1]

    def find_known_reason(self, level: str, name: str) -> Optional[str]:
        """The reason why a buffer is known to differ; its name begins with a hooked layer's."""
        layer, _, buffer = name.rpartition(".")
        path = split_name(layer)[0]
        own = buffer if path in ("", OUTPUT) else f"{path}.{buffer}"
        facts = level, name, "buffer", self._oneflow, self._owners.get((level, own), "")
        return next((e.reason for e in self._known if e.explains(*facts)), None)

    def conclude(self) -> Tuple[Verdict, str]:
        """The verdict on the model, and its reason as a sentence without a full stop."""
        first = {level.verdict: level for level in reversed(self.levels)}
        if "different" in first:
            return "different", f"{first['different'].level}: {first['different'].reason}"
        if self._unrepeated is not None:
            mode, entry = self._unrepeated
            place = f"{entry.name} at the level '{entry.level}' differed between two runs"
            return "inconclusive", f"{self.sides.describe(mode)} does not repeat itself: {place}"
        if (infinite := describe_infinite(self.pairs)) is not None:
            return "inconclusive", infinite
        if "equal within rounding" in first:
            inexact = first["equal within rounding"]
            return "equal within rounding", f"from {inexact.level} on: {inexact.reason}"
        tensors = sum(level.tensors for level in self.levels)
        return "identical", f"all {tensors} tensors are bitwise equal"


def _summarize(
    level: str, tensors: int, known: int, inexact: Sequence[TensorDifference], sides: Sides
) -> LevelResult:
    different = [d for d in inexact if d.verdict == "different"]
    verdict: Verdict = "equal within rounding" if inexact else "identical"
    result = LevelResult(
        level=level,
        verdict="different" if different else verdict,
        reason="",
        tensors=tensors,
        identical=tensors - len(inexact) - known,
        within_rounding=len(inexact) - len(different),
        different=len(different),
        known=known,
        first_inexact=inexact[0].name if inexact else None,
        first_different=different[0] if different else None,
        worst=max(inexact, key=_rank, default=None),
    )
    result.reason = _describe_level(result, sides)
    return result


def _rank(difference: TensorDifference) -> float:
    """The error ratio; a difference without one is beyond all that have one."""
    missing = math.inf if difference.verdict == "different" else 0.0
    return missing if difference.error_ratio is None else difference.error_ratio


def _describe_level(level: LevelResult, sides: Sides) -> str:
    first, worst, count = level.first_different, level.worst, level.tensors
    if worst is None:
        all_equal = "1 tensor is" if count == 1 else f"all {count} tensors are"
        known = f", {level.known} known differences apart" * bool(level.known)
        return f"{all_equal} bitwise equal{known}"
    if first is None:
        return (
            f"{level.within_rounding} of {count} tensors differ in their last bits; the largest "
            f"error is {_rank(worst):.2g} of the rounding limit, in {worst.name}"
        )
    others = level.different - 1
    return f"{first.name} differs: {first.note or describe_error(first, sides)}" + (
        f"; {others} of the other {count - 1} tensors differ too" * bool(others)
    )
