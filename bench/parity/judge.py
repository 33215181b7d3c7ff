"""The judge: eager, graph and eager in float64 set beside each other, tensor by tensor.

Pure functions over what workers observed (`tensors.py`). A tensor is *identical* by its digest.
Where it is not, with r the float64 reference and RMS over the tensor's elements,

    eager error  e = RMS(eager - r)        graph error  g = RMS(graph - r)
    explained    x = MULTIPLIER * max(e, w) + FLOOR * 2^-23 * RMS(r)

it is *equal within rounding* where g <= x and *different* where not; `error_ratio` is g / x. w is
0, or, where a first judgement found something different, the largest RMS(witness - eager) over some
witnesses (`witness.py`): eager runs that differ by no more than rounding may, which show what
rounding grows to in a chaotic training run. Setting the compiled model's error beside eager's own,
from a wider reference, is the idea of PyTorch's benchmark runner (torchdynamo `same`); the
thresholds come from the zoo, see docs/check.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from oneflow_bench.parity.known import KnownTally
from oneflow_bench.parity.measures import (
    cosine,
    find_largest,
    max_ulp_distance,
    rms,
    rms_difference,
)
from oneflow_bench.parity.result import (
    BATCHES,
    INITIAL_WEIGHTS,
    LEVELS,
    LevelResult,
    TensorDifference,
    Verdict,
)
from oneflow_bench.parity.tensors import MISSING_DIGEST, Entry, load_values

MULTIPLIER = 2.0
FLOOR = 2.0
EXACT_LEVELS = (INITIAL_WEIGHTS, BATCHES)  # no rounding lies before these
_EPS = 2.0**-23  # of float32


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


@dataclass(frozen=True)
class Evidence:
    """Folders with the values of the tensors that are not identical."""

    eager: Path
    graph: Path
    reference: Path
    witnesses: Sequence[Path] = ()


def pair_entries(eager: Sequence[Entry], graph: Sequence[Entry]) -> List[Pair]:
    """Both sides' entries by level and name, in eager's order; what graph alone has comes last."""
    theirs = {entry.key: entry for entry in graph}
    known = {entry.key for entry in eager}
    pairs = [Pair(entry, theirs.get(entry.key)) for entry in eager]
    return pairs + [Pair(None, entry) for entry in graph if entry.key not in known]


def list_inexact(pairs: Sequence[Pair], tally: KnownTally) -> Dict[str, List[str]]:
    """Level -> names of the tensors that are neither identical nor known to differ."""
    wanted: Dict[str, List[str]] = {}
    for pair in pairs:
        entry = pair.entry
        known = tally.note(entry.level, entry.name, entry.kind, not pair.is_identical)
        if not known and not pair.is_identical:
            wanted.setdefault(entry.level, []).append(entry.name)
    return wanted


def find_unrepeated(first: Sequence[Entry], second: Sequence[Entry]) -> Optional[Entry]:
    """The first tensor that a second run of the same mode did not repeat bit for bit."""
    digests = {entry.key: entry.digest for entry in second}
    return next((e for e in first if digests.get(e.key) != e.digest), None)


def judge_levels(
    pairs: Sequence[Pair], evidence: Optional[Evidence], tally: KnownTally
) -> List[LevelResult]:
    """One result for each level that was observed. `evidence` is None where all are identical."""
    results = []
    for level in LEVELS:
        ours = [pair for pair in pairs if pair.entry.level == level]
        if ours:
            results.append(_judge_level(level, ours, evidence, tally))
    return results


def _judge_level(
    level: str, pairs: Sequence[Pair], evidence: Optional[Evidence], tally: KnownTally
) -> LevelResult:
    inexact: List[Pair] = []
    known = 0
    for pair in pairs:
        entry = pair.entry
        if tally.note(level, entry.name, entry.kind, not pair.is_identical):
            known += 1
        elif not pair.is_identical:
            inexact.append(pair)
    found = [judge_tensor(pair, evidence) for pair in inexact]
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


def describe_error(difference: TensorDifference) -> str:
    """The graph's error beside eager's, in a sentence part."""
    ours, theirs = difference.eager_error, difference.graph_error
    if ours is None or theirs is None:
        return "a value that is not finite"
    return (
        f"error {theirs:.2e} where eager's is {ours:.2e}, values of {difference.reference_rms:.2e}"
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
    return _noted(entry, note or "other bits")


def _find_mismatch(pair: Pair) -> Optional[str]:
    if pair.graph is None or pair.graph.digest == MISSING_DIGEST:
        return "missing in graph mode"
    if pair.eager is None or pair.eager.digest == MISSING_DIGEST:
        return "missing in eager mode"
    if pair.eager.shape != pair.graph.shape:
        return f"shape {pair.eager.shape} in eager and {pair.graph.shape} in graph mode"
    return None


def _noted(entry: Entry, note: str) -> TensorDifference:
    return TensorDifference(
        level=entry.level,
        name=entry.name,
        kind=entry.kind,
        shape=entry.shape,
        verdict="different",
        reference_rms=None,
        eager_error=None,
        graph_error=None,
        difference_rms=None,
        error_ratio=None,
        max_abs=None,
        max_ulp=None,
        cosine=None,
        largest_at=[],
        eager_value=None,
        graph_value=None,
        reference_value=None,
        note=note,
    )


def measure_difference(
    entry: Entry,
    eager: np.ndarray,
    graph: np.ndarray,
    reference: Optional[np.ndarray],
    witnesses: Sequence[np.ndarray] = (),
) -> TensorDifference:
    """All measures of one tensor whose values are at hand, and its verdict."""
    if eager.size == 0 or eager.dtype.kind != "f" or graph.dtype != eager.dtype:
        return _noted(
            entry, f"{eager.dtype} in eager and {graph.dtype} in graph mode, other values"
        )
    note = _find_infinite(eager, graph)
    eager, graph, reference = _mask_infinite(eager, graph, reference)
    largest = find_largest(eager, graph)
    scale = rms(eager if reference is None else reference)
    eager_error = 0.0 if reference is None else rms_difference(eager, reference)
    graph_error = rms_difference(graph, eager if reference is None else reference)
    ratio, verdict = _judge(
        entry,
        scale,
        max([eager_error, *(rms_difference(witness, eager) for witness in witnesses)]),
        graph_error,
    )
    return TensorDifference(
        level=entry.level,
        name=entry.name,
        kind=entry.kind,
        shape=entry.shape,
        verdict="different" if note else verdict,
        reference_rms=_finite(scale),
        eager_error=_finite(eager_error),
        graph_error=_finite(graph_error),
        difference_rms=_finite(rms_difference(graph, eager)),
        error_ratio=ratio,
        max_abs=_finite(largest.difference),
        max_ulp=max_ulp_distance(eager, graph),
        cosine=cosine(eager, graph),
        largest_at=largest.index,
        eager_value=_finite(largest.left),
        graph_value=_finite(largest.right),
        reference_value=(
            None if reference is None else _finite(float(reference[tuple(largest.index)]))
        ),
        note=note,
    )


def _judge(
    entry: Entry, scale: float, explained_error: float, graph_error: float
) -> Tuple[Optional[float], Verdict]:
    """(error_ratio, verdict); a ratio that is not finite is None."""
    if entry.level in EXACT_LEVELS:
        return None, "different"
    explained = MULTIPLIER * explained_error + FLOOR * _EPS * scale
    if explained == 0 or not math.isfinite(explained):
        return None, "equal within rounding" if graph_error == 0 else "different"
    ratio = graph_error / explained
    return ratio, "equal within rounding" if ratio <= 1 else "different"


def _find_infinite(eager: np.ndarray, graph: np.ndarray) -> Optional[str]:
    left, right = np.isfinite(eager), np.isfinite(graph)
    if np.array_equal(left, right):
        return None
    count = int((left != right).sum())
    return f"{count} elements are finite in one mode and not in the other"


def _mask_infinite(
    eager: np.ndarray, graph: np.ndarray, reference: Optional[np.ndarray]
) -> Tuple[np.ndarray, np.ndarray, Optional[np.ndarray]]:
    """All sides with 0 where any of them is not finite: those elements say nothing of rounding."""
    finite = np.isfinite(eager) & np.isfinite(graph)
    if reference is not None:
        finite &= np.isfinite(reference)
    if finite.all():
        return eager, graph, reference
    masked = [None if x is None else np.where(finite, x, 0) for x in (eager, graph, reference)]
    assert masked[0] is not None and masked[1] is not None
    return masked[0], masked[1], masked[2]


def _finite(value: float) -> Optional[float]:
    return value if math.isfinite(value) else None
