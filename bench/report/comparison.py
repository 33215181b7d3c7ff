"""What two contenders have in common and what sets them apart, computed from records alone."""

from __future__ import annotations

import math
from typing import Dict, List, Optional, Tuple

from pydantic import BaseModel

from ..distributed.comparison import RanksComparison, compare_ranks
from ..record.run import BlockEvent, EndEvent, EvalEvent, ParametersEvent, RunRecord, SetupEvent
from ..verdict.statistics import (
    BreakEven,
    Ratio,
    Summary,
    estimate_break_even,
    paired_log_ratio,
    summarize,
    unpaired_ratio,
)
from ..verdict.summary import SpeedSummary, explain_verdict, summarize_record_speed
from .loss_parity import LossDifference, compare_losses, judge_parity


class ContenderSummary(BaseModel):
    """One contender of one run. Seconds, bytes; None where the record does not hold it."""

    name: str
    mode: str
    model: str
    steps: int
    first_loss: Optional[float]
    last_loss: Optional[float]
    accuracy: List[float]  # per epoch
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


class Comparison(BaseModel):
    """Everything the report says."""

    baseline: ContenderSummary
    contender: ContenderSummary
    status: List[str]  # of the runs: complete, interrupted, failed, running
    same_weights: Optional[bool]
    same_batches: Optional[bool]
    batches_by: str  # images | labels | unknown: what the batches were told apart by
    loss: Optional[LossDifference]
    accuracy_difference: Optional[float]  # contender - baseline, last common epoch
    parameter_difference: List[ParametersEvent]  # per epoch
    parity: str  # identical | equal within rounding | different | inconclusive | not judged
    parity_reason: str
    speedup: Optional[Ratio]  # of the train step: the speed phase's, else of the training blocks
    speed_verdict: str  # faster | slower | equivalent | inconclusive
    speed_reason: str
    speed: Optional[SpeedSummary]  # None without a speed phase
    eval_speedup: Optional[Ratio]
    break_even: Optional[BreakEven]
    ranks: Optional[RanksComparison] = None  # of a contender of several ranks


def summarize_contender(record: RunRecord, name: str) -> ContenderSummary:
    """Everything a record says of one contender; partial records give None where it is silent."""
    document = record.document
    blocks: List[BlockEvent] = record.of_kind(BlockEvent, name)
    evals: List[EvalEvent] = record.of_kind(EvalEvent, name)
    setups: List[SetupEvent] = record.of_kind(SetupEvent, name)
    ends: List[EndEvent] = record.of_kind(EndEvent, name)
    setup = setups[0] if setups else None
    losses = [loss for block in blocks for loss in block.losses]
    steady = [block.duration_s / block.steps for block in blocks if block.kind == "steady"]
    train = summarize(steady) if steady else None
    first = blocks[0].duration_s if blocks else None
    preparation = (
        setup.import_s + setup.build_s + setup.compile_train_s + setup.compile_eval_s
        if setup
        else None
    )
    return ContenderSummary(
        name=name,
        mode=next(c.mode for c in document.contenders if c.name == name),
        model=document.workload.model,
        steps=sum(block.steps for block in blocks),
        first_loss=losses[0] if losses else None,
        last_loss=losses[-1] if losses else None,
        accuracy=[e.accuracy for e in evals],
        train_step_time_s=train,
        eval_step_time_s=summarize([e.duration_s / e.steps for e in evals]) if evals else None,
        images_per_s=document.workload.batch_size / train.median if train else None,
        import_s=setup.import_s if setup else None,
        build_s=setup.build_s if setup else None,
        compile_train_s=setup.compile_train_s if setup else None,
        compile_eval_s=setup.compile_eval_s if setup else None,
        first_step_s=first,
        time_to_first_step_s=None if preparation is None or first is None else preparation + first,
        peak_rss_bytes=ends[0].peak_rss_bytes if ends else None,
        oneflow=setup.environment.get("oneflow") if setup else None,
        python=setup.environment.get("python") if setup else None,
    )


def compare_contenders(
    baseline: RunRecord, baseline_name: str, contender: RunRecord, contender_name: str
) -> Comparison:
    """Compare two contenders, of one record or of two.

    Speed is compared pair by pair where both took turns in one run; from two records only medians
    can be set side by side, and there is no verdict.
    """
    left = summarize_contender(baseline, baseline_name)
    right = summarize_contender(contender, contender_name)
    blocks = (
        baseline.of_kind(BlockEvent, baseline_name),
        contender.of_kind(BlockEvent, contender_name),
    )
    evals = (
        baseline.of_kind(EvalEvent, baseline_name),
        contender.of_kind(EvalEvent, contender_name),
    )
    same_weights = _compare_weights(baseline, baseline_name, contender, contender_name)
    same_batches, batches_by = _compare_batches(*blocks)
    loss, finite = compare_losses(*blocks)
    common_epochs = min(len(left.accuracy), len(right.accuracy))
    accuracy_difference = (
        right.accuracy[common_epochs - 1] - left.accuracy[common_epochs - 1]
        if common_epochs
        else None
    )
    one_run = baseline is contender
    judged = judge_parity(same_weights, same_batches, loss, finite, accuracy_difference, blocks)
    speed = summarize_record_speed(baseline, baseline_name, contender_name) if one_run else None
    speedup = _compare_times(_steady(blocks[0]), _steady(blocks[1]), one_run)
    if speed is not None:
        speedup = speed.ratio
    verdict, why = explain_verdict(speed, speedup)
    ranks = None
    if one_run:
        ranks, judged = compare_ranks(
            baseline, baseline_name, contender_name, speedup, judged, accuracy_difference
        )
    return Comparison(
        baseline=left,
        contender=right,
        status=[
            record.document.status for record in ([baseline] if one_run else [baseline, contender])
        ],
        same_weights=same_weights,
        same_batches=same_batches,
        batches_by=batches_by,
        loss=loss,
        accuracy_difference=accuracy_difference,
        parameter_difference=(
            [
                e
                for e in baseline.of_kind(ParametersEvent, contender_name)
                if e.baseline == baseline_name
            ]
            if one_run
            else []
        ),
        parity=judged[0],
        parity_reason=judged[1],
        speedup=speedup,
        speed_verdict=verdict,
        speed_reason=why,
        speed=speed,
        eval_speedup=_compare_times(
            {e.epoch: e.duration_s / e.steps for e in evals[0]},
            {e.epoch: e.duration_s / e.steps for e in evals[1]},
            one_run,
        ),
        break_even=speed.break_even if speed else _break_even(left, right, speedup),
        ranks=ranks,
    )


def compare_records(baseline: RunRecord, contender: RunRecord) -> List[Comparison]:
    """Every contender of a record against the first one of another, or of the same record.

    The first of another record is its baseline and left out, unless it is its only one; a
    reference, which is trained to judge the others by, is always left out.
    """
    first, *others = contender.racing_names()
    if baseline is not contender and not others:
        others = [first]
    name = baseline.contender_names()[0]
    return [compare_contenders(baseline, name, contender, other) for other in others]


def _steady(blocks: List[BlockEvent]) -> Dict[int, float]:
    return {b.block: b.duration_s / b.steps for b in blocks if b.kind == "steady"}


def _compare_times(
    left: Dict[int, float], right: Dict[int, float], one_run: bool
) -> Optional[Ratio]:
    if not one_run:
        both = left and right
        return unpaired_ratio(list(left.values()), list(right.values())) if both else None
    common = sorted(set(left) & set(right))
    if not common:
        return None
    return paired_log_ratio([left[key] for key in common], [right[key] for key in common])


def _compare_weights(
    baseline: RunRecord, baseline_name: str, contender: RunRecord, contender_name: str
) -> Optional[bool]:
    left = baseline.of_kind(SetupEvent, baseline_name)
    right = contender.of_kind(SetupEvent, contender_name)
    if not left or not right:
        return None
    return bool(left[0].initial_digest == right[0].initial_digest)


def _compare_batches(left: List[BlockEvent], right: List[BlockEvent]) -> Tuple[Optional[bool], str]:
    """Whether blocks of the same steps saw the same batches; None where no blocks line up."""
    theirs = {(b.first_step, b.steps): b for b in right}
    pairs = [
        (b, theirs[(b.first_step, b.steps)]) for b in left if (b.first_step, b.steps) in theirs
    ]
    if not pairs:
        return None, "unknown"
    same = all(a.labels_digest == b.labels_digest for a, b in pairs)
    with_images = all(a.images_digest and b.images_digest for a, b in pairs)
    if with_images:
        same = same and all(a.images_digest == b.images_digest for a, b in pairs)
    return same, "images" if with_images else "labels"


def _break_even(
    left: ContenderSummary, right: ContenderSummary, speedup: Optional[Ratio]
) -> Optional[BreakEven]:
    """Of one compilation of each side, so without an interval."""
    if left.train_step_time_s is None or speedup is None:
        return None
    if left.compile_train_s is None or right.compile_train_s is None:
        return None
    overhead = (right.compile_train_s + (right.compile_eval_s or 0.0)) - (
        left.compile_train_s + (left.compile_eval_s or 0.0)
    )
    step, ratio = left.train_step_time_s.median, math.log(speedup.ratio)
    return estimate_break_even([overhead], step, ratio, None, 0.0)
