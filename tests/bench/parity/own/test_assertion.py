"""`assert_parity` in somebody's own tests."""

from __future__ import annotations

import os
import threading
import time
from collections import namedtuple

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn
from oneflow.optim import lr_scheduler

import oneflow_bench
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.parity.own import assertion_worker
from oneflow_bench.bench.parity.own.assertion import ParityError, assert_parity
from oneflow_bench.bench.parity.own.assertion_worker import split_optimizer
from oneflow_bench.bench.parity.result import LEVELS, VALIDATION

pytestmark = pytest.mark.oneflow

LABELS = flow.tensor([0, 1, 2, 3], dtype=flow.int32)


def create_batch():
    return flow.tensor(np.random.RandomState(0).randn(4, 3, 8, 8).astype(np.float32)), LABELS


class CountsItsCalls(nn.Module):
    """Python state in forward: frozen at its first value in a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(192, 8)
        self.second = nn.Linear(8, 4)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        hidden = flow.relu(self.first(x.flatten(1)))
        return self.second(hidden * (1.0 if self.calls <= 1 else 1.01))


def test_a_faithful_model_passes_and_is_left_alone():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.Flatten(), nn.Linear(144, 4),
    )  # fmt: skip
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    levels = oneflow_bench.assert_parity(model, nn.CrossEntropyLoss(), create_batch())
    assert {level.verdict for level in levels} <= {"identical", "equal within rounding"}
    assert [level.level for level in levels] == list(LEVELS)
    assert all(np.array_equal(before[n], v.numpy()) for n, v in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_with_python_state_is_caught_and_the_layer_named():
    with pytest.raises(ParityError, match="level 'forward' second differs") as caught:
        assert_parity(CountsItsCalls(), nn.CrossEntropyLoss(), create_batch())
    assert caught.value.cause.kind == "frozen at trace time"
    assert "forward changes calls" in str(caught.value)
    assert caught.value.levels[3].first_different.name == "second"


@pytest.mark.slow
def test_a_fault_of_the_third_step_is_found():
    model = CountsItsCalls()
    model.calls = -2  # one evaluation and two steps
    with pytest.raises(ParityError, match="level 'later forward' step 3 second differs"):
        assert_parity(model, nn.CrossEntropyLoss(), create_batch())


@pytest.mark.slow
def test_any_loss_and_optimizer():
    def loss(outputs, labels):
        return (outputs - labels.to(outputs.dtype).unsqueeze(1)).pow(2).mean()

    def create_optimizer(model):
        return flow.optim.Adam(model.parameters(), lr=0.001)

    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    assert_parity(model, loss, create_batch(), steps=3, create_optimizer=create_optimizer)


@pytest.mark.slow
def test_clipping_whose_norm_is_rounded_differently_passes():
    def create_optimizer(model):
        group = {
            "params": model.parameters(),
            "clip_grad_max_norm": 0.1,
            "clip_grad_norm_type": 2.0,
        }
        return flow.optim.SGD([group], lr=0.1, momentum=0.9)

    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 1024), nn.ReLU(), nn.Linear(1024, 4))
    assert_parity(model, nn.CrossEntropyLoss(), create_batch(), create_optimizer=create_optimizer)


def test_arguments_that_cannot_be_used_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        assert_parity(nn.Flatten(), nn.CrossEntropyLoss(), create_batch(), steps=0)
    with pytest.raises(ValueError, match="a Tensor and a pair is expected"):
        assert_parity(nn.Flatten(), nn.CrossEntropyLoss(), LABELS)
    with pytest.raises(ValueError, match="give flow.tensor"):
        assert_parity(nn.Flatten(), nn.CrossEntropyLoss(), ({"x": [np.ones(3)]}, LABELS))


def create_linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4))


Sentence = namedtuple("Sentence", "ids mask")


class Tagger(nn.Module):
    """Token ids in, a dict out; the head has the embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 8)
        self.head = nn.Linear(8, 10, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids, mask=None):
        if isinstance(ids, Sentence):
            ids, mask = ids
        hidden = self.embedding(ids) * mask.unsqueeze(-1)
        return {"logits": self.head(hidden), "hidden": hidden}


def two_losses(outputs, labels=None):
    return outputs["logits"].pow(2).mean(), {"hidden": outputs["hidden"].abs().mean()}


def create_adamw(model):
    return flow.optim.AdamW(model.parameters(), lr=0.01)


def test_ids_in_a_dict_stay_integers_in_the_reference_and_losses_are_added():
    ids = flow.tensor(np.arange(12).reshape(3, 4) % 10)
    batch = {"ids": ids, "mask": flow.ones(3, 4)}
    levels = assert_parity(Tagger(), two_losses, (batch,), create_optimizer=create_adamw)
    assert "equal within rounding" in {level.verdict for level in levels}  # the reference has run
    assert ids.dtype == flow.int64 and np.array_equal(ids.numpy(), np.arange(12).reshape(3, 4) % 10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [tuple, Sentence._make])
def test_inputs_in_a_tuple_or_a_named_tuple(kind):
    ids = flow.tensor(np.arange(12).reshape(3, 4) % 10)
    inputs = kind([ids, flow.ones(3, 4)])
    assert len(assert_parity(Tagger(), two_losses, (inputs, ids))) == len(LEVELS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_a_loss_without_numbers_is_refused(kind):
    found = [lambda o, y: o, lambda o, y: (o.mean(), o), lambda o, y: {"a": None}][kind]
    with pytest.raises(ValueError, match="one number as a tensor is expected"):
        assert_parity(create_linear(), found, create_batch())


class WrongOnceTrained(nn.Module):
    """As a graph it is wrong in eval mode after a training step."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(192, 4)
        self.calls = []

    def forward(self, x):
        output = self.linear(x.flatten(1))
        if self.training:
            self.calls.append("training")
        wrong = output.is_lazy and self.calls and not self.training
        return output * 1.01 if wrong else output


@pytest.mark.slow
def test_a_fault_of_the_evaluation_after_training_alone_is_found():
    with pytest.raises(ParityError, match=f"level '{VALIDATION}' output differs") as caught:
        assert_parity(WrongOnceTrained(), nn.CrossEntropyLoss(), create_batch())
    assert sum(level.verdict == "different" for level in caught.value.levels) == 1


class Draws(nn.Module):
    """Functional dropout before a layer that may be wrong in a graph."""

    def __init__(self, factor) -> None:
        super().__init__()
        self.linear = nn.Linear(192, 4)
        self.factor = factor

    def forward(self, x):
        output = self.linear(nn.functional.dropout(x.flatten(1), 0.5, self.training))
        return output * self.factor if output.is_lazy else output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (1, "cannot be told, since random operator.*identical"),
        (1.01, "equal draws.*output differs"),
    ],
)
def test_random_draws_are_recognised_and_a_fault_behind_them_is_found(factor, message):
    with pytest.raises(ParityError, match=message):
        assert_parity(Draws(factor), nn.CrossEntropyLoss(), create_batch(), 2)


@pytest.mark.slow
@pytest.mark.parametrize("loss", [lambda o, y: o.detach().mean(), lambda o, y: o.argmax(1).sum()])
def test_a_loss_without_a_gradient_is_refused(loss):
    with pytest.raises(ValueError, match="the loss has no gradient"):
        assert_parity(create_linear(), loss, create_batch())


def create_locked():
    """A model that no other process can load."""
    model = create_linear()
    model.lock = threading.Lock()
    return model


def test_what_cannot_be_pickled_runs_here_after_a_warning_and_changes_nothing():
    flow.manual_seed(5)
    expected = flow.rand(4).numpy().copy()
    flow.manual_seed(5)
    model = create_locked().eval()
    flow.manual_seed(5)
    with pytest.warns(UserWarning, match="runs in this process.*cannot pickle '_thread.lock'"):
        assert_parity(model, nn.CrossEntropyLoss(), create_batch())
    assert np.array_equal(flow.rand(4).numpy(), expected)
    assert not model.training and model[1].weight.grad is None


@pytest.mark.slow
def test_a_lost_optimizer_state_is_found_by_the_resumed_run(monkeypatch):
    monkeypatch.setattr(assertion_worker, "restore_graph_state", lambda *arguments: None)
    with pytest.warns(UserWarning), pytest.raises(ParityError, match="level 'resumed'"):
        assert_parity(create_locked(), nn.CrossEntropyLoss(), create_batch(), steps=4)


class Fails(nn.Module):
    """Ends its process, or raises, in the first training step; it may name a mode."""

    def __init__(self, fail, in_graph) -> None:
        super().__init__()
        self.linear = nn.Linear(192, 4)
        self.fail, self.in_graph = fail, in_graph

    def forward(self, x):
        output = self.linear(x.flatten(1))
        if self.training and output.is_lazy == self.in_graph:
            self.fail(output)
        return output


def abort(output):
    os.abort()


def branch(output):
    if output.sum() > 0:
        pass


def hang(output):
    time.sleep(60)


@pytest.mark.parametrize(
    "fail, in_graph, message",
    [
        (abort, True, "graph mode failed in compiling or running the first training step.*SIGABRT"),
        pytest.param(
            abort, False, "eager mode failed in the first training step.*SIGABRT",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            branch, True, "graph mode failed in compiling.*`if output.sum.*write flow.where",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            hang, False, "the first training step: it took longer than timeout_s=12",
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_an_end_of_the_process_is_an_error_that_names_the_stage(fail, in_graph, message):
    with pytest.raises(ParityError, match=message) as caught:
        assert_parity(
            Fails(fail, in_graph), nn.CrossEntropyLoss(), create_batch(),
            timeout_s=12 if fail is hang else 100,
        )  # fmt: skip
    assert caught.value.levels == []


def create_sgd(model):
    return flow.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def create_scheduled(kind, *arguments):
    def create_optimizer(model):
        optimizer = create_adamw(model)
        return optimizer, kind(optimizer, *arguments)

    return create_optimizer


def lose_scheduler(model):
    return create_scheduled(lr_scheduler.StepLR, 1)(model)[0]


def train_stranger(model):
    return flow.optim.SGD([*model.parameters(), nn.Parameter(flow.ones(1))], lr=0.1)


@pytest.mark.parametrize(
    "create, message",
    [
        (create_scheduled(lr_scheduler.LambdaLR, float), "LambdaLR, which a graph cannot run; use"),
        (create_scheduled(lr_scheduler.ReduceLROnPlateau), "ReduceLROnPlateau, which a graph"),
        (
            lambda model: (create_sgd(model), lr_scheduler.ChainedScheduler([create_step(model)])),
            "ChainedScheduler, which a graph",
        ),
        (lose_scheduler, "return \\(optimizer, scheduler\\)"),
        (lambda model: [create_sgd(model), create_sgd(model)], "\\(SGD, SGD\\) and one"),
        (lambda model: model, "a Sequential and one"),
        (train_stranger, "a parameter of shape \\(1,\\) that is in no module"),
    ],
)
def test_an_optimizer_that_a_graph_cannot_run_is_refused(create, message):
    model = create_linear()
    with pytest.raises(InputError, match=message):
        split_optimizer(create(model), model)


def create_step(model):
    return lr_scheduler.StepLR(create_sgd(model), 1)


@pytest.mark.slow
def test_a_refused_optimizer_is_a_value_error():
    with pytest.raises(ValueError, match="return \\(optimizer, scheduler\\)"):
        assert_parity(
            create_linear(), nn.CrossEntropyLoss(), create_batch(), create_optimizer=lose_scheduler
        )


@pytest.mark.slow
@pytest.mark.parametrize("kind", [lr_scheduler.StepLR, lr_scheduler.CosineAnnealingLR])
def test_a_scheduler_is_stepped_in_both_modes(kind):
    create = create_scheduled(kind, 2)
    levels = assert_parity(create_linear(), nn.CrossEntropyLoss(), create_batch(), 4, create)
    assert [level.level for level in levels] == list(LEVELS)


class ScaledLoss(nn.Module):
    """A loss with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(flow.ones(4))

    def forward(self, outputs, labels):
        return nn.functional.cross_entropy(outputs * self.scale, labels)


@pytest.mark.slow
def test_the_parameters_of_a_loss_are_trained_and_compared():
    loss = ScaledLoss()

    def create_optimizer(model):
        return flow.optim.SGD([*model.parameters(), *loss.parameters()], lr=0.1)

    levels = assert_parity(create_linear(), loss, create_batch(), 2, create_optimizer)
    tensors = {level.level: level.tensors for level in levels}
    assert tensors["initial weights"] == tensors["trained"] == 3 and "resumed" not in tensors


class OwnType(nn.Module):
    """Multiplies with a float32 constant, which float64 does not go with."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(192, 4)

    def forward(self, x):
        return flow.matmul(self.linear(x.flatten(1)), flow.eye(4))


@pytest.mark.slow
def test_a_perturbed_run_takes_the_place_of_a_reference_that_cannot_run():
    with pytest.warns(UserWarning, match="float64 reference cannot run"):
        assert_parity(
            OwnType(), nn.CrossEntropyLoss(), create_batch(), create_optimizer=create_adamw
        )


@pytest.mark.slow
def test_a_hook_is_part_of_the_model():
    model = create_linear()
    model[1].register_forward_hook(lambda module, inputs, output: output * 2)
    with pytest.raises(ParityError, match="level 'eval forward' output differs"):
        assert_parity(model, nn.CrossEntropyLoss(), create_batch())
