"""The judge: every level's tensors, from digests alone or with values where they differ.

Pure functions over what workers observed. A tensor is *identical* by its digest; what becomes of
one that is not is said in `difference.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from .difference import describe_error, measure_difference, note_difference
from .known import KnownTally
from .pairs import Pair
from .result import BATCHES, LEVELS, LevelResult, TensorDifference, Verdict
from .tensors import MISSING_DIGEST, load_values


@dataclass(frozen=True)
class Evidence:
    """Folders with the values of the tensors that are not identical."""

    eager: Path
    graph: Path
    reference: Path
    witnesses: Sequence[Path] = ()


def list_inexact(pairs: Sequence[Pair], tally: KnownTally) -> Dict[str, List[str]]:
    """Level -> names of the tensors that are neither identical nor known to differ."""
    wanted: Dict[str, List[str]] = {}
    for pair in pairs:
        entry = pair.entry
        known = tally.note(entry.level, entry.name, entry.kind, not pair.is_identical)
        if not known and not pair.is_identical:
            wanted.setdefault(entry.level, []).append(entry.name)
    return wanted


def judge_levels(
    pairs: Sequence[Pair],
    evidence: Optional[Evidence],
    tally: KnownTally,
    convicted: Optional[Mapping[Tuple[str, str], str]] = None,
) -> List[LevelResult]:
    """One result for each level that was observed. `evidence` is None where all are identical.

    `convicted` has tensors by level and name that are different on other grounds, and the grounds.
    """
    results = []
    for level in LEVELS:
        ours = [pair for pair in pairs if pair.entry.level == level]
        if ours:
            results.append(_judge_level(level, ours, evidence, tally, convicted or {}))
    return results


def _judge_level(
    level: str,
    pairs: Sequence[Pair],
    evidence: Optional[Evidence],
    tally: KnownTally,
    convicted: Mapping[Tuple[str, str], str],
) -> LevelResult:
    inexact: List[Pair] = []
    known = 0
    for pair in pairs:
        entry = pair.entry
        if tally.note(level, entry.name, entry.kind, not pair.is_identical):
            known += 1
        elif not pair.is_identical:
            inexact.append(pair)
    found = [
        _convict(judge_tensor(pair, evidence), convicted.get(pair.entry.key)) for pair in inexact
    ]
    different = [d for d in found if d.verdict == "different"]
    worst = max(found, key=_badness, default=None)
    verdict: Verdict = (
        "different" if different else "equal within rounding" if inexact else "identical"
    )
    return LevelResult(
        level=level,
        verdict=verdict,
        reason=_describe_level(len(pairs), known, found, different, worst),
        tensors=len(pairs),
        identical=len(pairs) - len(inexact) - known,
        within_rounding=len(inexact) - len(different),
        different=len(different),
        known=known,
        first_inexact=inexact[0].entry.name if inexact else None,
        first_different=different[0] if different else None,
        worst=worst,
    )


def _convict(difference: TensorDifference, grounds: Optional[str]) -> TensorDifference:
    if grounds is None:
        return difference
    return difference.model_copy(update={"verdict": "different", "note": grounds})


def _badness(difference: TensorDifference) -> float:
    return math.inf if difference.error_ratio is None else difference.error_ratio


def _describe_level(
    count: int,
    known: int,
    found: Sequence[TensorDifference],
    different: Sequence[TensorDifference],
    worst: Optional[TensorDifference],
) -> str:
    if not found or worst is None:
        all_equal = "1 tensor is" if count == 1 else f"all {count} tensors are"
        return f"{all_equal} bitwise equal" + (f", {known} known differences apart" * bool(known))
    if different:
        first = different[0]
        others = len(different) - 1
        return f"{first.name} differs, {first.note or describe_error(first)}" + (
            f"; so do {others} of the {count - 1} others" * bool(others)
        )
    return (
        f"{len(found)} of {count} tensors differ in their last bits; the largest error is "
        f"{worst.error_ratio:.2g} of what rounding explains, in {worst.name}"
    )


def judge_tensor(pair: Pair, evidence: Optional[Evidence]) -> TensorDifference:
    """A tensor that is not identical. Without values it is different, and the note says why."""
    entry = pair.entry
    note = _find_mismatch(pair)
    if note is None and evidence is not None and entry.level != BATCHES:
        sides = [
            load_values(folder, entry.level, entry.name)
            for folder in (evidence.eager, evidence.graph, evidence.reference)
        ]
        if sides[0] is not None and sides[1] is not None:
            witnesses = [load_values(f, entry.level, entry.name) for f in evidence.witnesses]
            return measure_difference(
                entry, sides[0], sides[1], sides[2], [w for w in witnesses if w is not None]
            )
        note = "the second run of a mode did not give it"
    return note_difference(entry, note or "other bits")


def _find_mismatch(pair: Pair) -> Optional[str]:
    if pair.graph is None or pair.graph.digest == MISSING_DIGEST:
        return "missing in graph mode"
    if pair.eager is None or pair.eager.digest == MISSING_DIGEST:
        return "missing in eager mode"
    if pair.eager.shape != pair.graph.shape:
        return f"shape {pair.eager.shape} in eager and {pair.graph.shape} in graph mode"
    return None
