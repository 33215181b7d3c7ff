"""Made-up profiles and steps with round numbers."""

from __future__ import annotations

from scaling.gradients import BucketRule, Gradient, MeasuredStep
from scaling.link import Link
from scaling.model import Setting

from oneflow_bench.bench.tools.profile.document import LayerProfile, ProfileDocument, StepParts

ALONE = BucketRule(size_bytes=0)


def create_layer(name, backward_s, sizes, num_params=None):
    return LayerProfile(
        name=name,
        kind="Linear",
        calls=1,
        output_shape=[8, 4],
        num_params=sum(sizes) if num_params is None else num_params,
        param_sizes=sizes,
        forward_s=[0.01],
        backward_s=[] if backward_s is None else [backward_s],
        starts_s=[0.0],
        spans_s=[0.01],
    )


def create_profile(layers=None, mode="eager", **parts):
    """Forward 0.3, loss 0.1, backward 0.4, update 0.2: a step of 1 s on 8 images."""
    times = {"step_s": 1.0, "forward_s": 0.3, "loss_s": 0.1, "backward_s": 0.4, "update_s": 0.2}
    return ProfileDocument(
        model="made",
        mode=mode,
        batch_size=8,
        image_size=32,
        iterations=1,
        created="2026-01-01T00:00:00+00:00",
        machine={},
        environment={},
        layers=layers or [create_layer("first", 0.03, [300]), create_layer("last", 0.01, [100, 4])],
        parts=StepParts(**{name: [value] for name, value in {**times, **parts}.items()}),
        profiled_step_s=[1.1],
    )


def create_step(gradients):
    """A step of 1 s whose backward pass ends at 0.8 s; gradients as (bytes, ready_s)."""
    made = [Gradient("layer", size, ready) for size, ready in gradients]
    return MeasuredStep(1.0, 0.8, made, 0, True)


def create_setting(latency_s=0.0, bandwidth=1000.0, **options):
    chosen = {
        "algorithm": "ring",
        "rule": ALONE,
        "batch_size": 8,
        "global_batch_size": 8,
        "floor_s": 0.0,
        **options,
    }
    return Setting(link=Link(latency_s=latency_s, bandwidth_bytes_per_s=bandwidth), **chosen)
