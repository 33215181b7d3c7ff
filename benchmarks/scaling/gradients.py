"""When the gradients of a step are ready, and the buckets in which they are reduced."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence

from pydantic import BaseModel, ConfigDict

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.tools.profile.document import LayerRow, ProfileDocument, layer_rows
from oneflow_bench.bench.verdict.statistics import summarize

# OneFlow 0.9.0, nn/parallel/ddp.py: DistributedDataParallel(..., bucket_size=10), in parameters
DDP_BUCKET_PARAMETERS = 10


class Gradient(NamedTuple):
    """One parameter's gradient."""

    layer: str
    size_bytes: int
    ready_s: float  # since the step began


class Bucket(NamedTuple):
    """Gradients that are reduced together, when the last of them is ready."""

    size_bytes: int
    ready_s: float


class BucketRule(BaseModel):
    """How many gradients make a bucket: a number of parameters, or at most so many bytes."""

    model_config = ConfigDict(frozen=True)

    parameters: Optional[int] = None
    size_bytes: Optional[int] = None  # 0: each parameter by itself

    def describe(self) -> str:
        if self.parameters is not None:
            plural = "" if self.parameters == 1 else "s"
            return f"{self.parameters} parameter{plural} a bucket"
        if not self.size_bytes:
            return "each parameter by itself"
        return f"up to {self.size_bytes:,} bytes a bucket"


class MeasuredStep(NamedTuple):
    """One rank's step; the gradients in the order in which they become ready."""

    step_time_s: float
    backward_end_s: float  # since the step began
    gradients: List[Gradient]
    untimed_layers: int  # with parameters, without a backward time of their own
    has_param_sizes: bool  # else each layer is taken as one parameter


def read_step(profile: ProfileDocument, bytes_per_parameter: int) -> MeasuredStep:
    """The timeline of a profiled step.

    The parts (forward, loss, backward, update) keep their measured proportions and are scaled to
    fill the whole step; so are the layers' backward times to fill the backward part. A layer's
    gradients are ready when its backward ends, and backward runs through the layers from the last
    to the first. In graph mode the proportions of the parts are those of the eager step.
    Raises InputError for a profile without backward times or without parameters.
    """
    rows = layer_rows(profile)
    parts = profile.parts
    steps = profile.graph.step_s if profile.graph is not None else parts.step_s
    step_time_s = _median_s(steps)
    forward_s, loss_s, backward_s, update_s = (
        _median_s(values)
        for values in (parts.forward_s, parts.loss_s, parts.backward_s, parts.update_s)
    )
    total_s = sum(_backward_s(row) for row in rows)
    if not (total_s > 0 and backward_s > 0 and step_time_s > 0 and profile.batch_size > 0):
        raise InputError(
            "--profile has no backward times, from which it follows when gradients are ready; "
            "give a profile of a train step made by `bench profile`"
        )
    if not any(size for row in rows for size in _param_sizes(row)):
        raise InputError(
            f"--profile is of {profile.model} without trained parameters, whose ranks have nothing "
            "to reduce; give a profile of a model with parameters"
        )
    scale = step_time_s / (forward_s + loss_s + backward_s + update_s)
    ready_s = (forward_s + loss_s) * scale
    gradients = []
    for row in reversed(rows):
        ready_s += _backward_s(row) / total_s * backward_s * scale
        gradients += [
            Gradient(row.layer.name, size * bytes_per_parameter, ready_s)
            for size in reversed(_param_sizes(row))
        ]
    return MeasuredStep(
        step_time_s=step_time_s,
        backward_end_s=step_time_s - update_s * scale,
        gradients=gradients,
        untimed_layers=sum(bool(_param_sizes(row)) and row.backward is None for row in rows),
        has_param_sizes=all(row.layer.param_sizes is not None for row in rows),
    )


def _param_sizes(row: LayerRow) -> List[int]:
    """Elements of each trained parameter; all as one if the profile does not tell them apart."""
    if row.layer.param_sizes is not None:
        return row.layer.param_sizes
    return [row.layer.num_params] if row.layer.num_params else []


def _median_s(values: Sequence[float]) -> float:
    return summarize(values).median if values else 0.0


def _backward_s(row: LayerRow) -> float:
    return 0.0 if row.backward is None else row.backward.median


def create_buckets(gradients: Sequence[Gradient], rule: BucketRule) -> List[Bucket]:
    """Buckets in the order in which they are ready; a gradient above the limit is one by itself."""
    buckets: List[Bucket] = []
    members = 0
    for gradient in gradients:
        if buckets and _has_room(buckets[-1], members, gradient, rule):
            merged = buckets[-1].size_bytes + gradient.size_bytes
            buckets[-1] = Bucket(merged, gradient.ready_s)
            members += 1
        else:
            buckets.append(Bucket(gradient.size_bytes, gradient.ready_s))
            members = 1
    return buckets


def _has_room(bucket: Bucket, members: int, gradient: Gradient, rule: BucketRule) -> bool:
    if rule.parameters is not None:
        return members < rule.parameters
    return bucket.size_bytes + gradient.size_bytes <= (rule.size_bytes or 0)
