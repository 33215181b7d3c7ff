"""Every registered model: shapes, modes, a state_dict round trip, one step eagerly and as a graph.

The assertions about one model share its instances, of which there are two: an eager one, and a
fresh one that gets the eager one's state and becomes the graph (an eager step and then a graph on
the same module would silently not train).
"""

from __future__ import annotations

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench.models import create_model, get_model_spec, list_models
from oneflow_bench.models.counting import check_image_size

pytestmark = pytest.mark.oneflow

CLASSES = 3
BATCH = 4
LEARNING_RATE = 0.01
SMALL_SIZE = 16  # for models that would take a single pixel
LOSS_TOLERANCE = 1e-6  # relative, of the first step
# relative to the length of the whole update: the order of summation differs
UPDATE_TOLERANCE = 1e-4
SAMPLE = 100_000


class Case:
    """A model's two instances and what was found with them."""

    def __init__(self, name, fill_large_weights):
        self.spec = get_model_spec(name)
        self.size = max(self.spec.min_image_size, SMALL_SIZE)
        source = np.random.RandomState(0)
        images = source.standard_normal((BATCH, 3, self.size, self.size)).astype(np.float32)
        self.images = flow.tensor(images)
        self.labels = flow.tensor(np.arange(BATCH, dtype=np.int32) % CLASSES)
        flow.manual_seed(1)
        self.eager = create_model(name, num_classes=CLASSES)
        fill_large_weights(self.eager)
        stored = {key: np.array(value.numpy()) for key, value in self.eager.state_dict().items()}
        self.fresh = create_model(name, num_classes=CLASSES)
        self.fresh.load_state_dict({key: flow.from_numpy(stored[key]) for key in stored})
        self.evaluated = [self.evaluate(model) for model in (self.eager, self.fresh)]
        initial = sample_weights(self.eager)
        self.losses = {"eager": self.step_eagerly(), "graph": self.step_as_graph()}
        trained = {"eager": sample_weights(self.eager), "graph": sample_weights(self.fresh)}
        self.update = measure_length(trained["eager"], initial)
        self.apart = measure_length(trained["eager"], trained["graph"])

    def evaluate(self, model):
        model.eval()
        with flow.no_grad():
            return np.array(model(self.images).numpy())

    def step_eagerly(self):
        self.eager.train()
        optimizer = flow.optim.SGD(self.eager.parameters(), lr=LEARNING_RATE)
        self.outputs = self.eager(self.images)
        loss = compute_loss(self.eager, self.outputs, self.labels)
        loss.backward()
        optimizer.step()
        return float(loss.numpy())

    def step_as_graph(self):
        self.fresh.train()
        return float(TrainGraph(self.fresh)(self.images, self.labels).numpy())


class TrainGraph(nn.Graph):
    def __init__(self, model):
        super().__init__()
        self.model = model
        self.add_optimizer(flow.optim.SGD(model.parameters(), lr=LEARNING_RATE))

    def build(self, images, labels):
        loss = compute_loss(self.model, self.model(images), labels)
        loss.backward()
        return loss


def compute_loss(model, outputs, labels):
    """Cross entropy, with that of the auxiliary heads weighted as the model says."""
    criterion = nn.functional.cross_entropy
    if not isinstance(outputs, tuple):
        return criterion(outputs, labels)
    loss = criterion(outputs[0], labels)
    for weight, aux in zip(model.aux_weights, outputs[1:]):
        loss = loss + weight * criterion(aux, labels)
    return loss


def sample_weights(model):
    """Up to SAMPLE values of each parameter, evenly spread."""
    found = {}
    for name, parameter in model.named_parameters():
        values = parameter.numpy().ravel()
        found[name] = values[:: max(1, values.size // SAMPLE)].astype(np.float64)
    return found


def measure_length(first, second):
    """Euclidean length of the difference."""
    return sum(float(((first[name] - second[name]) ** 2).sum()) for name in first) ** 0.5


@pytest.fixture(scope="module", params=list_models())
def case(request, cheap_initialisation):
    yield Case(request.param, cheap_initialisation)
    flow.cuda.empty_cache()


def test_evaluation_gives_logits_and_a_state_dict_round_trip_keeps_them(case):
    assert case.evaluated[0].shape == (BATCH, CLASSES)
    assert np.isfinite(case.evaluated[0]).all()
    assert len(np.unique(case.evaluated[0], axis=0)) == BATCH
    assert np.array_equal(*case.evaluated)


def test_training_gives_an_output_for_each_auxiliary_head(case):
    outputs = case.outputs if isinstance(case.outputs, tuple) else (case.outputs,)
    assert len(outputs) == 1 + len(getattr(case.eager, "aux_weights", ()))
    assert {tuple(output.shape) for output in outputs} == {(BATCH, CLASSES)}


def test_a_step_has_the_same_loss_eagerly_and_as_a_graph(case):
    assert np.isfinite(case.losses["eager"])
    assert case.losses["graph"] == pytest.approx(case.losses["eager"], rel=LOSS_TOLERANCE)


def test_a_step_has_the_same_effect_eagerly_and_as_a_graph(case):
    assert case.update > 0
    assert case.apart < UPDATE_TOLERANCE * case.update


def test_the_smallest_image_size_is_the_smallest(case):
    size = case.spec.min_image_size
    check_image_size(case.fresh, size)
    if size > 1:
        with pytest.raises(ValueError, match="too small"):
            check_image_size(case.fresh, size - 1)
