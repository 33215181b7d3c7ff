"""The gate: a check beside its stored baseline, metric by metric, and its exit status. Pure.

A metric is the same as in the baseline if

    verdict             it is not worse; with another version or kernel a change does not fail
    parameters digest   it is equal bit for bit; only with the baseline's OneFlow version, BLAS
                        kernel, processor and cores
    losses              they are equal bit for bit there; elsewhere the first is within
                        FIRST_LOSS_TOLERANCE and later ones are within LOSS_TOLERANCE
    validation loss     it is equal bit for bit there; elsewhere within LOSS_TOLERANCE
    accuracy            it is within ACCURACY_TOLERANCE
    graph operators     their number is equal; only with the baseline's OneFlow version
    compile time        it is within COMPILE_FACTOR and COMPILE_FLOOR_S; only on the same machine
    peak memory         it is within MEMORY_FACTOR and MEMORY_FLOOR_BYTES; only on the same machine
    speedup             the two 95 % intervals are not apart by more than SPEEDUP_MARGIN; only on
                        the same machine

The exit status of one model is 1 if the modes differ or a metric is worse than its baseline, else 4
if a worker failed, else 3 if the verdict is inconclusive, else 0. For many models it is the first
of 1, 4, 3, 0 that any of them has (`errors.worst_status`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Callable, List, Optional, Sequence, Tuple, Union

from typing_extensions import Literal

from ..errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_INCONCLUSIVE, EXIT_WORKER_FAILED
from .baseline import Baseline, create_baseline
from .result import CheckDocument, ModelCheck, Speedup

# Another BLAS kernel sums in another order. The first loss comes before any update and moves by
# rounding alone. A model with batch norm over a few samples amplifies that within three steps, so
# later losses are only held to a coarse tolerance. Chosen with room above the observed differences.
FIRST_LOSS_TOLERANCE = 1e-4  # relative
LOSS_TOLERANCE = 0.5  # relative, after the first update
LOSS_FLOOR = 1e-3  # a loss nearer to 0 than this is taken as this
ACCURACY_TOLERANCE = 0.1  # three of the 32 validation samples of a default check
# A compilation is timed once, on a shared machine and beside another process.
COMPILE_FACTOR = 3.0
COMPILE_FLOOR_S = 2.0
MEMORY_FACTOR = 1.25
MEMORY_FLOOR_BYTES = 64 * 2**20
SPEEDUP_MARGIN = 0.01  # a smaller loss of speed does not matter, however sure it is

Kind = Literal["same", "regression", "improvement", "change", "not compared"]
Value = Union[None, int, float, str]
Judgement = Tuple[Kind, str]  # and the reason
Losses = Union[None, float, List[Optional[float]]]  # of each step, or of the validation pass
_RANK = {"identical": 0, "equal within rounding": 1, "different": 2}


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
    """The reason why bits, versions or machines cannot be compared; None if they can."""

    bits: Optional[str]
    version: Optional[str]
    machine: Optional[str]


@dataclass(frozen=True)
class Judged:
    """One model: its check, and the findings against its baseline, if it has one."""

    check: ModelCheck
    findings: List[Finding] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """Of this model alone."""
        if self.check.verdict == "different" or self.of_kind("regression"):
            return EXIT_DIFFERENT
        speedup = self.check.speedup
        if self.check.error is not None or (speedup is not None and speedup.error is not None):
            return EXIT_WORKER_FAILED
        return EXIT_INCONCLUSIVE if self.check.verdict == "inconclusive" else EXIT_DONE

    def of_kind(self, kind: str) -> List[Finding]:
        """Findings of one kind."""
        return [finding for finding in self.findings if finding.kind == kind]


def judge_checks(document: CheckDocument, baselines: Sequence[Baseline] = ()) -> List[Judged]:
    """Every model of a check beside its baseline, if it has one."""
    stored = {baseline.model: baseline for baseline in baselines}
    judged = []
    for check in document.checks:
        baseline = stored.get(check.model)
        found = create_baseline(document, check) if baseline else None
        findings = compare_with_baseline(found, baseline) if found and baseline else []
        judged.append(Judged(check, findings))
    return judged


def find_grounds(found: Baseline, baseline: Baseline) -> Grounds:
    """The metrics that can be compared, and why the others cannot."""

    def compare(name: str, now: Optional[str], before: Optional[str]) -> Optional[str]:
        if now is not None and now == before:
            return None
        return f"{name} is {now or 'unknown'} and the baseline's {before or 'unknown'}"

    version = compare("OneFlow", found.oneflow, baseline.oneflow)
    kernel = compare("BLAS kernel", found.blas_kernel, baseline.blas_kernel)
    machine = None
    if None in (found.machine.processor, found.machine.cores) or found.machine != baseline.machine:
        machine = f"the baseline is from another machine ({baseline.machine})"
    # a BLAS sizes its blocks by the caches, and so adds in another order on another processor
    return Grounds(bits=version or kernel or machine, version=version, machine=machine)


def compare_with_baseline(found: Baseline, baseline: Baseline) -> List[Finding]:
    """Every metric of both modes, including those that are the same."""
    grounds = find_grounds(found, baseline)
    kind, reason = _judge_verdict(found.verdict, baseline.verdict, grounds)
    findings = [Finding("verdict", None, kind, baseline.verdict, found.verdict, reason)]
    for mode in ("eager", "graph"):
        now, before = getattr(found, mode), getattr(baseline, mode)
        values = now.parameters_digest, before.parameters_digest
        kind, reason = _judge_digest(*values, grounds)
        findings.append(Finding("parameters digest", mode, kind, values[1], values[0], reason))
        for name in ("losses", "resumed_losses", "validation_loss"):
            values = getattr(now, name), getattr(before, name)
            findings.append(_compare_losses(name.replace("_", " "), mode, *values, grounds))
        for metric, name, ground, judge in _NUMBERS:
            if mode == "graph" or name not in _OF_GRAPHS:
                values = getattr(now, name), getattr(before, name)
                obstacle = "one of the two has none" if None in values else None
                if obstacle is None and ground is not None:
                    obstacle = getattr(grounds, ground)
                kind, reason = ("not compared", obstacle) if obstacle else judge(*values)
                findings.append(Finding(metric, mode, kind, values[1], values[0], reason))
    if found.speedup is not None or baseline.speedup is not None:
        kind, reason = _judge_speedup(found.speedup, baseline.speedup, grounds)
        before, now = (None if s is None else s.ratio for s in (baseline.speedup, found.speedup))
        findings.append(Finding("speedup", None, kind, before, now, reason))
    return findings


def _judge_verdict(found: str, baseline: str, grounds: Grounds) -> Judgement:
    if found == baseline:
        return "same", "the same"
    if "inconclusive" in (found, baseline):
        return "not compared", "an inconclusive verdict is neither better nor worse"
    if _RANK[found] < _RANK[baseline]:
        return "improvement", "better than the baseline's"
    if found == "equal within rounding" and grounds.bits:
        return "change", f"worse than the baseline's, but {grounds.bits}"
    return "regression", "worse than the baseline's"


def _judge_digest(found: str, baseline: str, grounds: Grounds) -> Judgement:
    if not (found and baseline):
        return "not compared", "one of the two was not taken"
    if found == baseline:
        return "same", "bitwise equal"
    if grounds.bits:
        return "not compared", grounds.bits
    return "regression", "other bits with the same OneFlow and BLAS kernel"


def _compare_losses(
    metric: str, mode: str, found: Losses, baseline: Losses, grounds: Grounds
) -> Finding:
    """Step by step; the finding shows the step with the largest difference."""
    found, baseline = (x if isinstance(x, list) else [x] for x in (found, baseline))
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
    worst = excess.index(max(excess))
    place = f" at step {worst + 1} of {len(found)}" if len(found) > 1 else ""
    reason = f"{distances[worst]:.2g} relative{place}, "
    kind: Kind = "regression"
    if found == baseline:
        kind, reason = "same", "bitwise equal"
    elif grounds.bits is None:
        reason += "and the same OneFlow and BLAS kernel give the same bits"
    elif excess[worst] <= 1:
        kind, reason = "same", f"{reason}within {tolerances[worst]:g}"
    else:
        reason += f"beyond {tolerances[worst]:g}"
    return Finding(metric, mode, kind, baseline[worst], found[worst], reason)


def _relative_distance(found: Optional[float], baseline: Optional[float]) -> float:
    if found is None or baseline is None:
        return 0.0 if found is baseline else math.inf
    return abs(found - baseline) / max(abs(baseline), LOSS_FLOOR)


def _judge_accuracy(found: float, baseline: float) -> Judgement:
    points = f"{(found - baseline) * 100:+.2f} points"
    if abs(found - baseline) <= ACCURACY_TOLERANCE:
        return "same", f"{points}, within {ACCURACY_TOLERANCE * 100:g}"
    kind: Kind = "improvement" if found > baseline else "regression"
    return kind, f"{points}, beyond {ACCURACY_TOLERANCE * 100:g}"


def _judge_operators(found: int, baseline: int) -> Judgement:
    if found == baseline:
        return "same", "the same number"
    more = found - baseline
    return "regression" if more > 0 else "improvement", f"{more:+d} operators"


def _judge_cost(factor: float, floor: float, found: float, baseline: float) -> Judgement:
    """Time or memory, with a factor and a floor for noise."""
    ratio = f"{found / baseline:.2f} times the baseline's" if baseline else "the baseline's is 0"
    if found > factor * baseline + floor:
        return "regression", ratio
    return ("improvement" if baseline > factor * found + floor else "same"), ratio


# metric, field of ModeFacts, the ground that must be the same, judge(found, baseline)
_NUMBERS: Sequence[Tuple[str, str, Optional[str], Callable[..., Judgement]]] = (
    ("accuracy", "accuracy", None, _judge_accuracy),
    ("operators", "graph_ops", "version", _judge_operators),
    ("compile time", "compile_s", "machine", partial(_judge_cost, COMPILE_FACTOR, COMPILE_FLOOR_S)),
    ("peak memory", "peak_rss_bytes", "machine",
     partial(_judge_cost, MEMORY_FACTOR, MEMORY_FLOOR_BYTES)),
)  # fmt: skip
_OF_GRAPHS = ("graph_ops", "compile_s")


def _judge_speedup(
    found: Optional[Speedup], baseline: Optional[Speedup], grounds: Grounds
) -> Judgement:
    old, new = _read_interval(baseline, "bench baseline update"), _read_interval(found, "it")
    if isinstance(old, str):
        return "not compared", f"the baseline {old}"
    if isinstance(new, str):
        return "not compared", f"this check {new}"
    if grounds.machine:
        return "not compared", grounds.machine
    both = (
        f"95 % {new[0]:.3f} to {new[1]:.3f} and in the baseline 95 % {old[0]:.3f} to {old[1]:.3f}"
    )
    if new[1] * (1 + SPEEDUP_MARGIN) < old[0]:
        return "regression", both
    return ("improvement" if new[0] > old[1] * (1 + SPEEDUP_MARGIN) else "same"), both


def _read_interval(speedup: Optional[Speedup], command: str) -> Union[str, Tuple[float, float]]:
    """The 95 % interval, or why there is none; `command` measures one."""
    if speedup is None:
        return f"has no speedup; give {command} --speed"
    if speedup.error is not None:
        return "has no speedup, since a worker failed"
    if speedup.control_verdict in ("faster", "slower"):
        return f"found eager mode {speedup.control_verdict} than itself"
    if speedup.low is None or speedup.high is None:
        return "measured too few processes for an interval; give a longer --budget"
    return speedup.low, speedup.high
