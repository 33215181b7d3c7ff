"""A check beside its stored baseline, metric by metric. Pure: reads two baselines, writes nothing.

What counts as the same:

    parameters digest   bit for bit, where OneFlow's version and BLAS kernel are the baseline's
    losses              bit for bit there; elsewhere the first within FIRST_LOSS_TOLERANCE and
                        those after an update within LOSS_TOLERANCE
    validation loss     bit for bit there; elsewhere within LOSS_TOLERANCE
    accuracy            within ACCURACY_TOLERANCE
    graph operators     the same number, where OneFlow's version is the baseline's
    compile time        within COMPILE_FACTOR and COMPILE_FLOOR_S, on the same processor and cores
    peak memory         within MEMORY_FACTOR and MEMORY_FLOOR_BYTES, on the same processor and cores
    verdict             not worse; where version or kernel are others, a change that does not fail
    speedup             the two 95 % intervals are not apart by more than SPEEDUP_MARGIN, on the
                        same processor and cores
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Optional, Sequence, Union

from typing_extensions import Literal

from .baseline import Baseline, ModeBaseline
from .result import Speedup

# Another BLAS kernel sums in another order. The first loss comes before any update and moves by
# rounding alone; a model with batch norm over a few samples amplifies that within three steps, so
# that later losses can only be held to the coarse. Chosen with room to what was seen.
FIRST_LOSS_TOLERANCE = 1e-4  # relative
LOSS_TOLERANCE = 0.5  # relative, after the first update
LOSS_FLOOR = 1e-3  # a loss nearer to 0 than this is taken as this
ACCURACY_TOLERANCE = 0.1  # three of the 32 validation samples of a default check
# One compilation on a shared machine, beside another process: only the coarse is to be seen.
COMPILE_FACTOR = 3.0
COMPILE_FLOOR_S = 2.0
MEMORY_FACTOR = 1.25
MEMORY_FLOOR_BYTES = 64 * 2**20
SPEEDUP_MARGIN = 0.01  # a smaller loss of speed is nobody's concern, however sure

Kind = Literal["same", "regression", "improvement", "change", "not compared"]
Value = Union[None, int, float, str]
_RANK = {"identical": 0, "equal within rounding": 1, "different": 2}
_SIDES = ("eager", "graph")


@dataclass(frozen=True)
class Finding:
    """One metric of one mode beside its baseline. Seconds and bytes."""

    metric: str
    mode: Optional[str]  # None: of both together
    kind: Kind
    expected: Value
    found: Value
    reason: str

    @property
    def subject(self) -> str:
        return self.metric if self.mode is None else f"{self.mode} {self.metric}"


@dataclass(frozen=True)
class Grounds:
    """What two baselines have in common; the reason where they have not, else None."""

    bits: Optional[str]
    version: Optional[str]
    machine: Optional[str]


def find_grounds(found: Baseline, baseline: Baseline) -> Grounds:
    """Which metrics can be compared, and why the others cannot."""
    version = kernel = machine = None
    if found.oneflow is None or found.oneflow != baseline.oneflow:
        version = _other("OneFlow", baseline.oneflow, found.oneflow)
    if found.blas_kernel is None or found.blas_kernel != baseline.blas_kernel:
        kernel = _other("BLAS kernel", baseline.blas_kernel, found.blas_kernel)
    if None in (found.machine.processor, found.machine.cores) or found.machine != baseline.machine:
        machine = f"the baseline is from another machine ({baseline.machine})"
    # a BLAS sizes its blocks by the caches, and so adds in another order on another processor
    return Grounds(bits=version or kernel or machine, version=version, machine=machine)


def _other(what: str, expected: Optional[str], found: Optional[str]) -> str:
    return f"{what} is {found or 'unknown'} and the baseline's {expected or 'unknown'}"


def compare_with_baseline(found: Baseline, baseline: Baseline) -> List[Finding]:
    """Every metric of both modes, in the order of the module's table; what is the same too."""
    grounds = find_grounds(found, baseline)
    findings = [_compare_verdict(found, baseline, grounds)]
    for mode in _SIDES:
        ours: ModeBaseline = getattr(found, mode)
        stored: ModeBaseline = getattr(baseline, mode)
        findings += [
            _compare_digest(mode, ours, stored, grounds),
            _compare_losses("losses", mode, ours.losses, stored.losses, grounds),
            _compare_losses(
                "resumed losses", mode, ours.resumed_losses, stored.resumed_losses, grounds
            ),
            _compare_losses(
                "validation loss", mode, [ours.validation_loss], [stored.validation_loss], grounds
            ),
            _compare_accuracy(mode, ours.accuracy, stored.accuracy),
        ]
        if mode == "graph":
            findings += [
                _compare_operators(ours.graph_ops, stored.graph_ops, grounds),
                _compare_cost(
                    "compile time", mode, ours.compile_s, stored.compile_s,
                    COMPILE_FACTOR, COMPILE_FLOOR_S, grounds,
                ),
            ]  # fmt: skip
        findings.append(
            _compare_cost(
                "peak memory", mode, ours.peak_rss_bytes, stored.peak_rss_bytes,
                MEMORY_FACTOR, MEMORY_FLOOR_BYTES, grounds,
            )
        )  # fmt: skip
    if found.speedup is not None or baseline.speedup is not None:
        findings.append(_compare_speedup(found.speedup, baseline.speedup, grounds))
    return findings


def _compare_speedup(
    found: Optional[Speedup], baseline: Optional[Speedup], grounds: Grounds
) -> Finding:
    def finding(kind: Kind, reason: str) -> Finding:
        before, now = (None if one is None else one.ratio for one in (baseline, found))
        return Finding("speedup", None, kind, before, now, reason)

    sides = (("the baseline", baseline, "bench baseline update"), ("this check", found, "it"))
    for who, speedup, command in sides:
        problem = _speedup_problem(speedup, command)
        if problem:
            return finding("not compared", f"{who} {problem}")
    assert found is not None and baseline is not None
    assert None not in (found.low, found.high, baseline.low, baseline.high)
    if grounds.machine:
        return finding("not compared", grounds.machine)
    both = f"{_format_interval(found)} and in the baseline {_format_interval(baseline)}"
    if found.high * (1 + SPEEDUP_MARGIN) < baseline.low:  # type: ignore[operator]
        return finding("regression", both)
    if found.low > baseline.high * (1 + SPEEDUP_MARGIN):  # type: ignore[operator]
        return finding("improvement", both)
    return finding("same", both)


def _speedup_problem(speedup: Optional[Speedup], command: str) -> Optional[str]:
    if speedup is None:
        return f"has no speedup; give {command} --speed"
    if speedup.error is not None:
        return "has no speedup, since a worker failed"
    if speedup.control_verdict in ("faster", "slower"):
        return f"found eager mode {speedup.control_verdict} than itself"
    if speedup.low is None or speedup.high is None:
        return "measured too few processes for an interval; give a longer --budget"
    return None


def _format_interval(speedup: Speedup) -> str:
    return f"95 % {speedup.low:.3f} to {speedup.high:.3f}"


def _compare_verdict(found: Baseline, baseline: Baseline, grounds: Grounds) -> Finding:
    def finding(kind: Kind, reason: str) -> Finding:
        return Finding("verdict", None, kind, baseline.verdict, found.verdict, reason)

    if found.verdict == baseline.verdict:
        return finding("same", "the same")
    if "inconclusive" in (found.verdict, baseline.verdict):
        return finding("not compared", "an inconclusive verdict is neither better nor worse")
    if _RANK[found.verdict] < _RANK[baseline.verdict]:
        return finding("improvement", "better than the baseline's")
    if found.verdict == "equal within rounding" and grounds.bits:
        return finding("change", f"worse than the baseline's, but {grounds.bits}")
    return finding("regression", "worse than the baseline's")


def _compare_digest(
    mode: str, found: ModeBaseline, baseline: ModeBaseline, grounds: Grounds
) -> Finding:
    def finding(kind: Kind, reason: str) -> Finding:
        digests = baseline.parameters_digest, found.parameters_digest
        return Finding("parameters digest", mode, kind, *digests, reason)

    if not (found.parameters_digest and baseline.parameters_digest):
        return finding("not compared", "one of the two was not taken")
    if found.parameters_digest == baseline.parameters_digest:
        return finding("same", "bitwise equal")
    if grounds.bits:
        return finding("not compared", grounds.bits)
    return finding("regression", "other bits with the same OneFlow and BLAS kernel")


def _compare_losses(
    metric: str,
    mode: str,
    found: Sequence[Optional[float]],
    baseline: Sequence[Optional[float]],
    grounds: Grounds,
) -> Finding:
    """Step by step; the finding shows the step that is farthest off."""
    if len(found) != len(baseline):
        counts = f"{len(baseline)} steps", f"{len(found)} steps"
        return Finding(metric, mode, "regression", *counts, "another number of steps")
    if not found:
        return Finding(metric, mode, "not compared", None, None, "neither has it")
    tolerances = [LOSS_TOLERANCE] * len(found)
    if metric == "losses":
        tolerances[0] = FIRST_LOSS_TOLERANCE
    distances = [_relative_distance(*pair) for pair in zip(found, baseline)]
    excess = [distance / tolerance for distance, tolerance in zip(distances, tolerances)]
    worst = max(range(len(excess)), key=excess.__getitem__)
    shown = baseline[worst], found[worst]
    if list(found) == list(baseline):
        return Finding(metric, mode, "same", *shown, "bitwise equal")
    where = f" at step {worst + 1} of {len(found)}" if len(found) > 1 else ""
    said = f"{distances[worst]:.2g} relative{where}"
    if grounds.bits is None:
        reason = f"{said}, and the same OneFlow and BLAS kernel give the same bits"
        return Finding(metric, mode, "regression", *shown, reason)
    within = excess[worst] <= 1
    reason = f"{said}, {'within' if within else 'beyond'} {tolerances[worst]:g}"
    return Finding(metric, mode, "same" if within else "regression", *shown, reason)


def _relative_distance(found: Optional[float], baseline: Optional[float]) -> float:
    if found is None or baseline is None:
        return 0.0 if found is baseline else math.inf
    return abs(found - baseline) / max(abs(baseline), LOSS_FLOOR)


def _compare_accuracy(mode: str, found: Optional[float], baseline: Optional[float]) -> Finding:
    if found is None or baseline is None:
        return Finding("accuracy", mode, "not compared", baseline, found, "one of the two has none")
    points = f"{(found - baseline) * 100:+.2f} points"
    if abs(found - baseline) <= ACCURACY_TOLERANCE:
        reason = f"{points}, within {ACCURACY_TOLERANCE * 100:g}"
        return Finding("accuracy", mode, "same", baseline, found, reason)
    kind: Kind = "improvement" if found > baseline else "regression"
    reason = f"{points}, beyond {ACCURACY_TOLERANCE * 100:g}"
    return Finding("accuracy", mode, kind, baseline, found, reason)


def _compare_operators(found: Optional[int], baseline: Optional[int], grounds: Grounds) -> Finding:
    def finding(kind: Kind, reason: str) -> Finding:
        return Finding("operators", "graph", kind, baseline, found, reason)

    if found is None or baseline is None:
        return finding("not compared", "one of the two has none")
    if grounds.version:
        return finding("not compared", grounds.version)
    if found == baseline:
        return finding("same", "the same number")
    more = found - baseline
    return finding("regression" if more > 0 else "improvement", f"{more:+d} operators")


def _compare_cost(
    metric: str,
    mode: str,
    found: Optional[float],
    baseline: Optional[float],
    factor: float,
    floor: float,
    grounds: Grounds,
) -> Finding:
    """What should be small: time and memory, with a factor and a floor for noise."""

    def finding(kind: Kind, reason: str) -> Finding:
        return Finding(metric, mode, kind, baseline, found, reason)

    if found is None or baseline is None:
        return finding("not compared", "one of the two has none")
    if grounds.machine:
        return finding("not compared", grounds.machine)
    ratio = f"{found / baseline:.2f} times the baseline's" if baseline else "the baseline's is 0"
    if found > factor * baseline + floor:
        return finding("regression", ratio)
    if baseline > factor * found + floor:
        return finding("improvement", ratio)
    return finding("same", ratio)
