"""The comparison of two contenders from records alone; docs/methodology.md has the verdicts."""

from __future__ import annotations

import math
from typing import Dict, List, Mapping, Optional, Protocol, Sequence, Tuple, cast

import numpy as np
from pydantic import BaseModel, Field, SerializeAsAny

from ..config import STEP_DATA
from ..parity.causes import find_obstacle
from ..parity.result import ModelCheck
from ..record.events import BlockEvent, EndEvent, ParametersEvent, ScoreEvent
from ..record.run import RunRecord
from ..record.side import Side, find_best
from ..verdict.statistics import (
    BreakEven,
    Ratio,
    Summary,
    correlation,
    estimate_break_even,
    paired_log_ratio,
    summarize,
    unpaired_ratio,
)
from ..verdict.summary import SpeedSummary, explain_verdict, summarize_record_speed
from .blocks import Block
from .commands import spell_continuation
from .parity import RecordedTraining, find_check, judge_parity

PREPARATION = ("import_s", "build_s", "compile_train_s", "compile_eval_s")


class ContenderSummary(BaseModel):
    """One contender of one run. Seconds, bytes; None where the record does not hold it."""

    name: str
    mode: str
    model: str
    steps: int
    first_loss: Optional[float]
    last_loss: Optional[float]
    first_infinite_step: Optional[int] = None  # whose loss is not finite; from 1
    accuracy: List[float]  # per epoch
    metrics: Dict[str, Optional[float]] = {}  # others of a TrainingStep, after the last epoch
    best_epoch: Optional[int]  # of the best accuracy, from 1
    train_accuracy: Optional[float]  # of training images without augmentation, after the training
    teacher_accuracy: Optional[float]
    train_step_time_s: Optional[Summary]  # over the steady blocks
    eval_step_time_s: Optional[Summary]  # over the epochs' validation passes
    images_per_s: Optional[float]  # training, at the median step
    import_s: Optional[float]
    build_s: Optional[float]
    compile_train_s: Optional[float]
    compile_eval_s: Optional[float]
    first_step_s: Optional[float]  # the first step itself, after compiling
    time_to_first_step_s: Optional[float]  # import, build, compile and first step
    peak_rss_bytes: Optional[int]
    oneflow: Optional[str] = None  # versions that it ran on
    python: Optional[str] = None

    @property
    def compile_s(self) -> Optional[float]:
        """Of the training and the evaluation graph."""
        if self.compile_train_s is None:
            return None
        return self.compile_train_s + (self.compile_eval_s or 0.0)


class LossDifference(BaseModel):
    """Differences of the losses over the common steps, at full precision."""

    steps: int
    max_abs: float
    min_abs: float
    mean_abs: float
    first_different_step: Optional[int]  # None: bitwise equal
    correlation: Optional[float]


class Comparison(BaseModel):
    """All values of the report."""

    baseline: ContenderSummary
    contender: ContenderSummary
    status: List[str]  # of the runs: complete, interrupted, failed, running
    same_weights: Optional[bool]
    same_batches: Optional[bool]
    batches_by: str  # images | labels | inputs | unknown: told apart by these
    loss: Optional[LossDifference]
    accuracy_difference: Optional[float]  # contender - baseline, last common epoch
    accuracy_correlation: Optional[float]  # over the common epochs
    parameter_difference: List[ParametersEvent]  # per epoch
    parity: str  # identical | equal within rounding | different | inconclusive | not judged
    parity_reason: str
    speedup: Optional[Ratio]  # of the train step: the speed phase's, else of the training blocks
    speed_verdict: str  # faster | slower | equivalent | inconclusive
    speed_reason: str
    speed: Optional[SpeedSummary]  # None without a speed phase
    eval_speedup: Optional[Ratio]
    break_even: Optional[BreakEven]
    continues: Optional[str] = None  # id of the run whose speed phase was continued
    parity_expected: bool = False  # a known difference explains a parity of "different"
    ranks: Optional[SerializeAsAny[BaseModel]] = None  # the payload of an extension
    continuation: str = Field("", exclude=True)  # the command that goes on from this run
    check: Optional[ModelCheck] = Field(None, exclude=True)  # that of check.json


class Extension(Protocol):
    """Adds to the comparisons of the contenders that it knows."""

    def extend(self, record: RunRecord, comparison: Comparison) -> Comparison:
        """Two contenders of one run with a judgement and `ranks`, the extension's payload.

        Returns the comparison as it is for a contender that the extension does not know.
        """

    def list_blocks(
        self, comparisons: Sequence[Comparison], unavailable: Mapping[str, str]
    ) -> List[Block]:
        """Blocks for the end of the report; none where no comparison has this payload.

        `unavailable` maps contenders that were left out of the run to the reason.
        """


EXTENSIONS: List[Extension] = []  # a room above adds its own when it is imported


def summarize_contender(record: RunRecord, name: str) -> ContenderSummary:
    """All that a record holds of one contender; None for the parts that a partial record lacks."""
    return _summarize(Side(record, name))


def _summarize(side: Side) -> ContenderSummary:
    workload, name, losses = side.record.document.workload, side.name, side.list_losses()
    blocks, evals, setup = side.blocks, side.evals, side.setup
    end = next(iter(side.record.of_kind(EndEvent, name)), None)
    size = None if workload.data == STEP_DATA else workload.batch_size
    scores = {e.subject: e.accuracy for e in side.record.of_kind(ScoreEvent, name)}
    best, steady = find_best(evals), [block.step_time_s for block in side.steady_blocks]
    train = summarize(steady) if steady else None
    first = blocks[0].duration_s if blocks else None
    times: Dict[str, float] = {key: getattr(setup, key) for key in PREPARATION} if setup else {}
    return ContenderSummary(
        name=name,
        mode=side.contender.mode,
        model=workload.model,
        steps=sum(block.steps for block in blocks),
        first_loss=losses[0] if losses else None,
        last_loss=losses[-1] if losses else None,
        first_infinite_step=losses.index(None) + 1 if None in losses else None,
        accuracy=[e.accuracy for e in evals if e.accuracy is not None],
        metrics={k: v for e in evals[-1:] for k, v in (e.metrics or {}).items() if k != "accuracy"},
        best_epoch=best.epoch + 1 if best else None,
        train_accuracy=scores.get("train"),
        teacher_accuracy=scores.get("teacher"),
        train_step_time_s=train,
        eval_step_time_s=summarize([e.duration_s / e.steps for e in evals]) if evals else None,
        images_per_s=size / train.median if train and size else None,
        **{key: times.get(key) for key in PREPARATION},
        first_step_s=first,
        time_to_first_step_s=sum(times.values()) + first if times and first is not None else None,
        peak_rss_bytes=end.peak_rss_bytes if end else None,
        oneflow=side.environment.get("oneflow"),
        python=side.environment.get("python"),
    )


def compare_contenders(
    baseline: RunRecord,
    baseline_name: str,
    contender: RunRecord,
    contender_name: str,
    with_speed: bool = True,
) -> Comparison:
    """Compare two contenders, of one record or of two.

    Of two records only the medians are set side by side, and there is no verdict on the speed.
    """
    sides = [Side(baseline, baseline_name), Side(contender, contender_name)]
    left, right = map(_summarize, sides)
    losses = [side.list_losses() for side in sides]
    times = [{b.block: b.step_time_s for b in side.steady_blocks} for side in sides]
    passes = [{e.epoch: e.duration_s / e.steps for e in side.evals} for side in sides]
    one_run = baseline is contender
    digests = [side.setup.initial_digest for side in sides if side.setup]
    same_weights = digests[0] == digests[1] if len(digests) == 2 else None
    same_batches, batches_by = _compare_batches(*(side.blocks for side in sides))
    if baseline.document.workload.data == STEP_DATA and sides[0].blocks:
        batches_by = "inputs"  # it has no labels
    accuracies = list(zip(left.accuracy, right.accuracy))
    speedup = _compare_times(times, one_run)
    speed = None
    parameters: List[ParametersEvent] = []
    if one_run:
        if with_speed:  # or the training blocks alone
            speed = summarize_record_speed(baseline, baseline_name, contender_name)
        speedup = speed.ratio if speed else speedup
        parameters = baseline.of_kind(ParametersEvent, contender_name)
        parameters = [event for event in parameters if event.baseline == baseline_name]
    evals = list(zip(sides[0].evals, sides[1].evals))
    complete = all(side.record.document.status == "complete" for side in sides)
    training = RecordedTraining(same_weights, same_batches, losses, evals, parameters, complete)
    check = find_check(baseline, baseline_name, contender_name) if one_run else None
    parity = judge_parity(training, check, find_obstacle(*(side.contender for side in sides)))
    asked = one_run and with_speed and baseline.document.measuring.speed
    verdict, why = explain_verdict(speed, speedup, asked)
    comparison = Comparison(
        baseline=left,
        contender=right,
        status=[side.record.document.status for side in sides[: 1 if one_run else 2]],
        same_weights=same_weights,
        same_batches=same_batches,
        batches_by=batches_by,
        loss=compare_losses(*losses),
        accuracy_difference=accuracies[-1][1] - accuracies[-1][0] if accuracies else None,
        accuracy_correlation=correlation(*zip(*accuracies)) if len(accuracies) > 1 else None,
        parameter_difference=parameters,
        parity=parity[0],
        parity_reason=parity[1],
        speedup=speedup,
        speed_verdict=verdict,
        speed_reason=why,
        speed=speed,
        eval_speedup=_compare_times(passes, one_run),
        break_even=speed.break_even if speed else _break_even(left, right, speedup),
        continues=baseline.document.environment_start.get("continues") if one_run else None,
        continuation=spell_continuation(baseline) if one_run else "",
        check=check,
    )
    for extension in EXTENSIONS if one_run else []:
        comparison = extension.extend(baseline, comparison)
    return comparison


def compare_losses(
    ours: Sequence[Optional[float]], theirs: Sequence[Optional[float]]
) -> Optional[LossDifference]:
    """The difference over the common steps; None where no step has two finite losses."""
    steps = min(len(ours), len(theirs))
    left, right = (np.array(side[:steps], dtype=float) for side in (ours, theirs))  # None: NaN
    finite = np.isfinite(left) & np.isfinite(right)
    if not finite.any():
        return None
    differences = np.abs(left - right)[finite]
    different = (left != right) & ~(np.isnan(left) & np.isnan(right))
    return LossDifference(
        steps=steps,
        max_abs=float(differences.max()),
        min_abs=float(differences.min()),
        mean_abs=float(differences.mean()),
        first_different_step=int(different.argmax()) if different.any() else None,
        correlation=correlation(*cast("Sequence[Sequence[float]]", (left[finite], right[finite]))),
    )


def _compare_times(times: Sequence[Dict[int, float]], one_run: bool) -> Optional[Ratio]:
    left, right = times
    if not one_run:
        both = left and right
        return unpaired_ratio(list(left.values()), list(right.values())) if both else None
    keys = sorted(set(left) & set(right))
    return paired_log_ratio([left[k] for k in keys], [right[k] for k in keys]) if keys else None


def _compare_batches(left: List[BlockEvent], right: List[BlockEvent]) -> Tuple[Optional[bool], str]:
    """Whether blocks of the same steps saw the same batches; None where no blocks line up."""
    ours, theirs = ({(b.first_step, b.steps): b for b in side} for side in (left, right))
    pairs = [(block, theirs[steps]) for steps, block in ours.items() if steps in theirs]
    if not pairs:
        return None, "unknown"
    same = all(a.labels_digest == b.labels_digest for a, b in pairs)
    if not all(a.images_digest and b.images_digest for a, b in pairs):
        return same, "labels"
    return same and all(a.images_digest == b.images_digest for a, b in pairs), "images"


def _break_even(
    left: ContenderSummary, right: ContenderSummary, speedup: Optional[Ratio]
) -> Optional[BreakEven]:
    """Of one compilation of each side, so without an interval."""
    step, ours, theirs = left.train_step_time_s, left.compile_s, right.compile_s
    if step is None or speedup is None or ours is None or theirs is None:
        return None
    return estimate_break_even([theirs - ours], step.median, math.log(speedup.ratio), None, 0.0)
