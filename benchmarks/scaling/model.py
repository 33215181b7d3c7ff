"""The calculation: a data-parallel step on N ranks from the step on one and a link.

Every rank computes its step; the gradients' all-reduces go over the link one after the other, each
when its bucket is ready and the link is free. The update waits for the last. The part of them that
follows the backward pass is exposed and lengthens the step.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence

from pydantic import BaseModel, ConfigDict

from oneflow_bench.bench.errors import InputError

from .gradients import Bucket, BucketRule, MeasuredStep, create_buckets
from .link import Algorithm, Link, LinkFit, all_reduce_time_s, sent_bytes

SCHEMA_VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Timing(_Part):
    """A step, its exposed communication, and the speedup of the ranks.

    `speedup` is images a second over those of one rank, `efficiency` that over the ranks.
    """

    step_time_s: float
    exposed_s: float
    speedup: float
    efficiency: float


class Scaling(_Part):
    """One way to scale, with the overlap of the schedule and, as the bound, with none."""

    overlap: Timing
    no_overlap: Timing


class Prediction(_Part):
    """A number of ranks."""

    ranks: int
    all_reduce_s: float  # all buckets
    sent_bytes: float  # by each rank in a step
    weak: Scaling  # the profile's batch on every rank
    strong: Optional[Scaling]  # the global batch divided; None if the ranks do not divide it


class Setting(NamedTuple):
    """The assumptions beside the measured step."""

    link: Link
    algorithm: Algorithm
    rule: BucketRule
    batch_size: int  # of the measured step
    global_batch_size: int  # of strong scaling
    floor_s: float  # of a step, whatever its batch size


class ScalingDocument(_Part):
    """The document that `calculate_scaling.py --json` prints. Seconds and bytes."""

    schema_version: int = SCHEMA_VERSION
    model: str
    mode: str
    batch_size: int
    image_size: int
    step_time_s: float
    algorithm: Algorithm
    link: Link
    fit: Optional[LinkFit]
    bytes_per_parameter: int
    bucket_rule: BucketRule
    buckets: int
    gradient_bytes: int
    floor_s: float
    global_batch_size: int
    predictions: List[Prediction]
    assumptions: List[str]


def predict(step: MeasuredStep, setting: Setting, ranks: Sequence[int]) -> List[Prediction]:
    """Calculate the step on each number of `ranks`.

    Strong scaling takes one rank's compute time as floor + cost per image x its share of the
    global batch, the cost per image from the measured step. Raises InputError for a floor that is
    not below the step's time, and for ranks that the algorithm does not have.
    """
    if not 0 <= setting.floor_s < step.step_time_s:
        raise InputError(
            f"--floor {setting.floor_s:g} is not between 0 and the profile's step of "
            f"{step.step_time_s:g} s; give this model's latency floor, as `bench sweep` fits it"
        )
    buckets = create_buckets(step.gradients, setting.rule)
    return [_predict(step, setting, buckets, count) for count in ranks]


def _predict(
    step: MeasuredStep, setting: Setting, buckets: Sequence[Bucket], ranks: int
) -> Prediction:
    times_s = [
        all_reduce_time_s(setting.algorithm, ranks, bucket.size_bytes, setting.link)
        for bucket in buckets
    ]
    strong = None
    if setting.global_batch_size % ranks == 0:
        one_s = _compute_s(step, setting, setting.global_batch_size)
        share_s = _compute_s(step, setting, setting.global_batch_size // ranks)
        strong = _scale(step, buckets, times_s, share_s, one_s, ranks)
    size_bytes = sum(bucket.size_bytes for bucket in buckets)
    weak_s = step.step_time_s
    return Prediction(
        ranks=ranks,
        all_reduce_s=sum(times_s),
        sent_bytes=sent_bytes(ranks, size_bytes),
        weak=_scale(step, buckets, times_s, weak_s, ranks * weak_s, ranks),
        strong=strong,
    )


def _compute_s(step: MeasuredStep, setting: Setting, images: int) -> float:
    cost_s = (step.step_time_s - setting.floor_s) / setting.batch_size
    return setting.floor_s + cost_s * images


def _scale(
    step: MeasuredStep,
    buckets: Sequence[Bucket],
    times_s: Sequence[float],
    compute_s: float,
    one_rank_s: float,
    ranks: int,
) -> Scaling:
    """`compute_s` is a rank's own time of a step, `one_rank_s` one rank's for the same images."""
    stretch = compute_s / step.step_time_s

    def create_timing(exposed_s: float) -> Timing:
        speedup = one_rank_s / (compute_s + exposed_s)
        return Timing(
            step_time_s=compute_s + exposed_s,
            exposed_s=exposed_s,
            speedup=speedup,
            efficiency=speedup / ranks,
        )

    ready_s = [bucket.ready_s * stretch for bucket in buckets]
    exposed_s = measure_exposed(ready_s, times_s, step.backward_end_s * stretch)
    return Scaling(overlap=create_timing(exposed_s), no_overlap=create_timing(sum(times_s)))


def measure_exposed(
    ready_s: Sequence[float], times_s: Sequence[float], backward_end_s: float
) -> float:
    """Seconds from the end of the backward pass to that of the last all-reduce; 0 if none."""
    free_s = 0.0
    for ready, duration in zip(ready_s, times_s):
        free_s = max(ready, free_s) + duration
    if not any(times_s):
        return 0.0  # else rounding of the timeline would show as communication
    return max(0.0, free_s - backward_end_s)


def describe_assumptions(step: MeasuredStep, setting: Setting, mode: str) -> List[str]:
    """Those of this step, mode and setting, the weightiest first."""
    return [
        "Communication takes nothing from the computation. Ranks that share cores or memory "
        "bandwidth with it or with one another are slower than this.",
        "All ranks compute alike: the wait for the slowest rank is not counted.",
        *_schedule(step, setting, mode),
        "One all-reduce at a time, at the link's full bandwidth; the additions in it, copies and "
        "the scaling by 1 / ranks take no time.",
        _floor(setting),
        "Input, and the broadcast of buffers that DDP makes before each forward pass, take no "
        "time beyond that in the one rank's step.",
    ]


def _schedule(step: MeasuredStep, setting: Setting, mode: str) -> List[str]:
    said = [
        "Gradients become ready layer by layer, from the last to the first, in the proportions of "
        "the layers' backward times, scaled to fill the step's backward part."
    ]
    if mode == "graph":
        said.append(
            "The compiled step has its parts in the eager step's proportions, and starts each "
            "all-reduce when its gradients are ready."
        )
    said.append(f"All-reduces follow one another in that order: {setting.rule.describe()}.")
    said.append(
        "Parameters outside the profile's layers are not counted; one that two layers share is "
        "counted twice."
    )
    if not step.has_param_sizes:
        said.append("The profile does not tell a layer's parameters apart: one a layer.")
    if step.untimed_layers:
        said.append(
            "Layers with parameters but without a backward time take none: "
            f"{step.untimed_layers} of the profile's."
        )
    return said


def _floor(setting: Setting) -> str:
    known = "not given and taken as 0" if setting.floor_s == 0 else f"{setting.floor_s:g} s"
    return (
        "Strong scaling: compute time = latency floor + cost per image x images a rank; the floor "
        f"is {known}."
    )
