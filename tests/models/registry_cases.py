"""What tests/models/test_whole_registry.py asserts about, found in worker processes.

A process of their own lets two models go side by side, in the environment that OneFlow is quickest
in, and keeps an abort of one of them from ending the tests. OneFlow is imported there only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

import numpy as np

CLASSES = 3
BATCH = 4
LEARNING_RATE = 0.01
SMALL_SIZE = 16  # for models that would take a single pixel
LARGE_SIZE = 100  # above it half the batch is enough work
LARGE_WEIGHT = 1 << 20  # elements; drawing a VGG's 123 million takes seconds
PERIOD = 1_000_003  # a prime, so that no two rows of a weight are equal
SAMPLE = 100_000  # values of each weight that are compared


@dataclass
class Result:
    """What happened to one model."""

    batch: int
    evaluated: List[np.ndarray]  # logits before and behind a state_dict round trip
    output_shapes: List[Tuple[int, ...]]  # in training
    num_heads: int
    losses: Dict[str, float]  # of the first step, by mode
    update: float  # length of the first step's change of the weights, eagerly
    apart: float  # length of the difference between the modes behind it
    min_size_error: Optional[str]  # what check_image_size says of the smallest size
    smaller_size_error: Optional[str]  # and of one pixel less


def prepare_process(variables: Dict[str, str]) -> None:
    """For a worker's start, before OneFlow is there: its variables."""
    os.environ.update(variables)


def examine(name: str) -> Result:
    """Two instances of the model: an eager one, and a fresh one that gets its state for the graph.

    An eager step and then a graph on the same module would silently not train.
    """
    import oneflow as flow

    from oneflow_bench.models import get_model_spec

    spec = get_model_spec(name)
    size = max(spec.min_image_size, SMALL_SIZE)
    batch = BATCH if size <= LARGE_SIZE else BATCH // 2
    noise = np.random.RandomState(0).standard_normal((batch, 3, size, size))
    images = flow.tensor(noise.astype(np.float32))
    labels = flow.tensor(np.arange(batch, dtype=np.int32) % CLASSES)
    eager = create_cheaply(name)
    with flow.no_grad():
        for key, buffer in eager.named_buffers():
            if "running_" in key:  # other values than a fresh module's
                buffer.copy_(buffer * 0.875)
    stored = {key: np.array(value.numpy()) for key, value in eager.state_dict().items()}
    fresh = create_cheaply(name)
    with flow.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()
    fresh.load_state_dict({key: flow.from_numpy(value) for key, value in stored.items()})
    evaluated = [evaluate(model, images) for model in (eager, fresh)]
    initial = sample_weights(eager)
    eager_loss, output_shapes = step_eagerly(eager, images, labels)
    losses = {"eager": eager_loss, "graph": step_as_graph(fresh, images, labels)}
    trained = {"eager": sample_weights(eager), "graph": sample_weights(fresh)}
    result = Result(
        batch=batch,
        evaluated=evaluated,
        output_shapes=output_shapes,
        num_heads=1 + len(getattr(eager, "aux_weights", ())),
        losses=losses,
        update=measure_length(trained["eager"], initial),
        apart=measure_length(trained["eager"], trained["graph"]),
        min_size_error=try_image_size(fresh, spec.min_image_size),
        smaller_size_error=try_image_size(fresh, spec.min_image_size - 1),
    )
    del eager, fresh
    flow.cuda.empty_cache()
    return result


def create_cheaply(name):
    """The model with its large weights filled from a short pattern of 0.01 standard deviation."""
    import oneflow as flow
    from oneflow import nn

    from oneflow_bench.models import create_model

    def draw_small(draw):
        return lambda t, *rest, **named: draw(t, *rest, **named) if t.numel() < LARGE_WEIGHT else t

    names = ("kaiming_uniform_", "kaiming_normal_", "normal_", "uniform_")
    draws = {draw: getattr(nn.init, draw) for draw in names}
    flow.manual_seed(1)
    try:
        for draw, original in draws.items():
            setattr(nn.init, draw, draw_small(original))
        model = create_model(name, num_classes=CLASSES)
    finally:
        for draw, original in draws.items():
            setattr(nn.init, draw, original)
    pattern = np.random.RandomState(0).normal(0, 0.01, PERIOD).astype(np.float32)
    with flow.no_grad():
        for parameter in model.parameters():
            if parameter.numel() >= LARGE_WEIGHT:
                values = np.resize(pattern, tuple(parameter.shape))
                parameter.copy_(flow.from_numpy(values))
    return model


def evaluate(model, images):
    import oneflow as flow

    model.eval()
    with flow.no_grad():
        return np.array(model(images).numpy())


def compute_loss(model, outputs, labels):
    """Cross entropy, with that of the auxiliary heads weighted as the model says."""
    from oneflow import nn

    criterion = nn.functional.cross_entropy
    if not isinstance(outputs, tuple):
        return criterion(outputs, labels)
    loss = criterion(outputs[0], labels)
    for weight, aux in zip(model.aux_weights, outputs[1:]):
        loss = loss + weight * criterion(aux, labels)
    return loss


def step_eagerly(model, images, labels):
    import oneflow as flow

    model.train()
    optimizer = flow.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    outputs = model(images)
    loss = compute_loss(model, outputs, labels)
    loss.backward()
    optimizer.step()
    heads = outputs if isinstance(outputs, tuple) else (outputs,)
    return float(loss.numpy()), [tuple(head.shape) for head in heads]


def step_as_graph(model, images, labels):
    import oneflow as flow
    from oneflow import nn

    class TrainGraph(nn.Graph):
        def __init__(self):
            super().__init__()
            self.model = model
            self.add_optimizer(flow.optim.SGD(model.parameters(), lr=LEARNING_RATE))

        def build(self, images, labels):
            loss = compute_loss(self.model, self.model(images), labels)
            loss.backward()
            return loss

    model.train()
    return float(TrainGraph()(images, labels).numpy())


def sample_weights(model):
    """Up to about SAMPLE values of each parameter, evenly spread, in float64."""
    found = {}
    for name, parameter in model.named_parameters():
        values = parameter.numpy().ravel()
        found[name] = values[:: max(1, values.size // SAMPLE)].astype(np.float64)
    return found


def measure_length(first, second):
    """Euclidean length of the difference."""
    return sum(float(((first[name] - second[name]) ** 2).sum()) for name in first) ** 0.5


def try_image_size(model, size):
    from oneflow_bench.models.counting import check_image_size

    try:
        if size > 0:
            check_image_size(model, size)
    except ValueError as error:
        return str(error)
    return None
