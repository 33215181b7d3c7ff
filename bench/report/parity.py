"""The parity of two contenders: the judge's verdict beside the whole recorded training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, Optional, Sequence, Tuple

from ..parity.causes import find_departure, tell_infinite
from ..parity.result import CHECK_NAME, ModelCheck, load_check
from ..record.events import EvalEvent, ParametersEvent
from ..record.run import RunRecord

NOT_JUDGED = "not judged"
AGREED = ("identical", "equal within rounding")
REMEDY = "`bench check` with the same flags judges them"
# A recorded metric parts from its training if its relative difference is above both: this one, and
# that of the losses by this factor. A count may differ by so many samples. All three are chosen.
METRIC_DIFFERENCE, METRIC_FACTOR, METRIC_SAMPLES = 0.1, 100, 4

Losses = Sequence[Optional[float]]  # of each step; None is not finite


@dataclass(frozen=True)
class RecordedTraining:
    """The bits that were recorded of two trainings."""

    same_weights: Optional[bool]  # at the start; None: not recorded
    same_batches: Optional[bool]
    losses: Sequence[Losses]  # of both
    evaluations: Sequence[Tuple[EvalEvent, EvalEvent]]  # of each epoch
    parameters: Sequence[ParametersEvent]
    is_complete: bool = True  # both runs ended normally

    @property
    def steps(self) -> int:
        return min(map(len, self.losses))

    def is_finite_on_one_side(self) -> bool:
        """True if some step has a finite loss in one of the trainings alone."""
        return any((a is None) != (b is None) for a, b in zip(*self.losses))

    def describe_obstacle(self) -> Optional[str]:
        """The reason why the bits cannot be compared, as a sentence part; None if they can."""
        if self.same_weights is None:
            return "no training of both contenders was recorded"
        if not self.same_weights:
            return "the contenders did not start from the same weights"
        if self.same_batches is None:
            return "the contenders have no blocks of the same steps"
        if not self.same_batches:
            return "the contenders did not see the same batches"
        return None

    def describe_infinite(self) -> Optional[str]:
        """The first step whose loss is not finite in both, as a sentence part; None if all are."""
        steps = enumerate(zip(*self.losses), start=1)
        first = next((step for step, (a, b) in steps if a is None and b is None), None)
        return None if first is None else f"{tell_infinite(first)}, and a fault may hide behind it"

    def describe_difference(self) -> Optional[str]:
        """The first difference, as a sentence part; None if all bits are equal."""
        first, largest = None, 0.0
        for step, (a, b) in enumerate(zip(*self.losses), start=1):
            if (a is None) != (b is None):
                return f"the loss of step {step} is finite in only one of the trainings"
            if a is not None and b is not None and a != b:
                first, largest = first or step, max(largest, abs(a - b))
        if first:
            return f"the recorded losses differ from step {first} on, by at most {largest:.1e}"
        if any(event.max_abs != 0 for event in self.parameters):
            return "the recorded losses are equal and the trained weights are not"
        for epoch, name, ours, theirs, _ in self._list_metrics():
            if ours != theirs:
                return f"the recorded losses are equal and {name} after epoch {epoch} is not"
        return None

    def describe_departed_metric(self) -> Optional[str]:
        """The first metric that differs by more than its training explains, as a sentence part."""
        losses = [(a, b) for a, b in zip(*self.losses) if a is not None and b is not None]
        explained = METRIC_FACTOR * max((_relate(a, b) for a, b in losses), default=0.0)
        for epoch, name, ours, theirs, samples in self._list_metrics():
            if ours is None or theirs is None:
                if ours != theirs:
                    return f"{name} after epoch {epoch} is finite in only one of the trainings"
                continue
            is_share = min(ours, theirs) >= 0 and max(ours, theirs) <= 1
            if is_share and abs(ours - theirs) <= METRIC_SAMPLES / samples:
                continue
            if _relate(ours, theirs) > max(METRIC_DIFFERENCE, explained):
                return f"{name} after epoch {epoch} is {ours:.4g} and {theirs:.4g}"
        return None

    def _list_metrics(
        self,
    ) -> Iterator[Tuple[int, str, Optional[float], Optional[float], int]]:
        """(epoch from 1, name, both values, samples); None: not finite, or not there."""
        for ours, theirs in self.evaluations:
            left, right = _read_metrics(ours), _read_metrics(theirs)
            for name in {**left, **right}:
                values = left.get(name), right.get(name)
                yield (ours.epoch + 1, name, *values, ours.samples)


def _read_metrics(event: EvalEvent) -> Dict[str, Optional[float]]:
    own = {f"the metric {name}": value for name, value in (event.metrics or {}).items()}
    return {"the validation loss": event.loss, "the accuracy": event.accuracy, **own}


def _relate(ours: float, theirs: float) -> float:
    """The difference relative to the larger of both; 0 where both are 0."""
    return abs(ours - theirs) / (max(abs(ours), abs(theirs)) or 1.0)


def find_check(record: RunRecord, baseline: str, contender: str) -> Optional[ModelCheck]:
    """The result of the run's parity phase; None for a run without one."""
    if record.folder is None or not (record.folder / CHECK_NAME).is_file():
        return None
    checks = load_check(record.folder).checks
    return next((c for c in checks if (c.baseline, c.contender) == (baseline, contender)), None)


def judge_parity(
    training: RecordedTraining, check: Optional[ModelCheck], obstacle: Optional[str]
) -> Tuple[str, str]:
    """The verdict and its reason. `obstacle` says why the judge cannot run the two contenders.

    Losses that are not finite in both trainings are inconclusive, whatever else agrees. Without a
    `check`, equal bits of whole trainings are identical. Other bits are not judged, and are
    inconclusive if the losses of one training alone are finite. A training that parts after steps
    that the judge found equal within rounding stays so, because training amplifies rounding. One
    that parts although the judged steps are identical is inconclusive, and so is a metric that
    parts from its training.
    """
    difference, infinite = training.describe_difference(), training.describe_infinite()
    agreed = check is None or (check.error is None and check.verdict in AGREED)
    if agreed and infinite is not None:
        return "inconclusive", infinite
    if check is None:
        difference = training.describe_obstacle() or difference
        if difference is not None:
            verdict = "inconclusive" if training.is_finite_on_one_side() else NOT_JUDGED
            return verdict, f"{difference}; {obstacle or REMEDY}"
        if not training.is_complete:
            return NOT_JUDGED, (
                f"the losses of the {training.steps} recorded steps are bitwise equal, and the "
                f"training did not end; {obstacle or REMEDY}"
            )
        return "identical", f"the losses of all {training.steps} steps are bitwise equal"
    if check.error is not None:
        return "inconclusive", f"{check.reason}: {check.error.splitlines()[0]}"
    judged = f"{check.steps} of {training.steps} steps were judged"
    if check.start_step:
        judged += (
            f", from step {check.start_step + 1} on, after {check.start_step} steps with equal "
            "losses, weights and optimizer state"
        )
    if difference is None or check.verdict in ("different", "inconclusive"):
        return check.verdict, f"{check.reason}; {judged}"
    if check.verdict == "identical" or training.is_finite_on_one_side():
        return "inconclusive", (
            f"{judged} and are {check.verdict}, but {difference}; `bench check` with the same "
            "flags judges all steps"
        )
    parted = _find_unexplained(training, check.start_step + check.steps)
    if parted is not None:
        return "inconclusive", f"{judged} and are {check.verdict}, but {parted}"
    last = [one for pair in training.evaluations[-1:] for one in pair if one.has_accuracy]
    shown = ["not finite" if (a := one.accuracy) is None else f"{a * 100:.1f} %" for one in last]
    accuracies = f". The last accuracies are {' and '.join(shown)}" if shown else ""
    return check.verdict, (
        f"{check.reason}; {judged}. T{difference[1:]}. Training amplifies rounding{accuracies}"
    )


def _find_unexplained(training: RecordedTraining, judged: int) -> Optional[str]:
    """A difference after so many judged steps that rounding does not explain, with a remedy."""
    departure = find_departure(*training.losses)
    if departure > judged:
        ours, theirs = (losses[departure - 1] for losses in training.losses)
        return (
            f"the losses of step {departure} are {ours:.4g} and {theirs:.4g}, too far apart to be "
            "left to rounding; `bench check` judges more with --epochs and --steps-per-epoch"
        )
    metric = training.describe_departed_metric()
    return metric and (
        f"{metric}, which losses so close do not explain; look for state of Python that the "
        "evaluation reads, and make it a buffer"
    )
