"""`assert_loop_parity` finds what the steps of a graph's loop do not do, and nothing else."""

from __future__ import annotations

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench import Loop, ParityError, assert_loop_parity
from oneflow_bench.bench.parity.result import VALIDATION
from oneflow_bench.bench.training.oneflow_compat import create_padding_operator

pytestmark = pytest.mark.oneflow
# of a graph that reads the memory of weights that are gone, so it may not repeat itself either
NOT_SEEN = "losses to step 3 (differs|at the level 'loss curve' differed)"

SOURCE = np.random.RandomState(0)
BATCHES = [
    (flow.tensor(SOURCE.randn(8, 6).astype(np.float32)), flow.tensor(np.arange(8) % 4))
    for _ in range(5)
]
PARTS = 2  # of a batch whose gradients are accumulated
CLIP_NORM = 0.1


def create_sgd(model):
    return flow.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def create_adamw(model):
    return flow.optim.AdamW(model.parameters(), lr=0.01)


class TrainGraph(nn.Graph):
    def __init__(self, model, optimizer, fault):
        super().__init__()
        self.network = model
        self.parameters_to_clip = list(model.parameters())
        self.fault = fault
        self.add_optimizer(optimizer)
        if fault == "scale":
            self.config.set_gradient_accumulation_steps(PARTS)

    def build(self, inputs, labels):
        loss = nn.functional.cross_entropy(self.network(inputs), labels)
        loss.backward()
        if self.fault == "clip":
            nn.utils.clip_grad_norm_(self.parameters_to_clip, CLIP_NORM)
        return loss, create_padding_operator()


class Noise(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5)


class Trainer:
    """Both loops of a user, with a fault that is written into both alike."""

    def __init__(self, create_optimizer, fault=None):
        self.create_optimizer, self.fault = create_optimizer, fault

    def create_model(self):
        flow.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
        if self.fault == "draws":
            model.add_module("noise", Noise())
        return model, self.create_optimizer(model)

    def change(self, number, model, optimizer):
        """Before a step, from outside of it."""
        if self.fault == "learning rate" and number == 2:
            optimizer.param_groups[0]["lr"] *= 0.1
        if self.fault == "data" and number == 2:
            model[3].weight.data = model[3].weight.data * 0.5

    def create_eager(self):
        model, optimizer = self.create_model()

        def step(number):
            self.change(number, model, optimizer)
            inputs, labels = BATCHES[number]
            optimizer.zero_grad()
            losses = []
            parts = PARTS if self.fault == "scale" else 1
            for part in np.split(np.arange(len(inputs)), parts):
                rows = slice(int(part[0]), int(part[-1]) + 1)
                losses.append(nn.functional.cross_entropy(model(inputs[rows]), labels[rows]))
                losses[-1].backward()  # without the division by `parts`
            if self.fault == "clip":
                nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            return flow.stack(losses)

        return Loop(step, model, optimizer, evaluate=lambda: evaluate(model))

    def create_graph(self):
        model, optimizer = self.create_model()
        graph = TrainGraph(model, optimizer, self.fault)

        def step(number):
            self.change(number, model, optimizer)
            return graph(*BATCHES[number])[0]

        return Loop(step, model, optimizer, graph, evaluate=lambda: evaluate(model))


def evaluate(model):
    model.eval()
    with flow.no_grad():
        outputs = model(BATCHES[0][0])
    model.train()
    return outputs


def compare(create_optimizer, fault=None, steps=3):
    trainer = Trainer(create_optimizer, fault)
    return assert_loop_parity(trainer.create_eager, trainer.create_graph, steps)


@pytest.mark.parametrize(
    "create_optimizer, verdict",
    [
        (create_sgd, "identical"),
        pytest.param(create_adamw, "equal within rounding", marks=pytest.mark.slow),
    ],
)
def test_loops_that_do_the_same_pass(create_optimizer, verdict):
    levels = compare(create_optimizer, steps=5)
    assert {level.verdict for level in levels} <= {"identical", verdict}
    assert levels[-1].level == VALIDATION and levels[-1].tensors == 1
    # 6 parameters, 3 buffers and the moments, after each step from the second on
    moments = 6 if create_optimizer is create_sgd else 12
    assert levels[-2].tensors == 4 * (9 + moments)


@pytest.mark.parametrize("create_optimizer", [create_sgd, create_adamw])
@pytest.mark.parametrize(
    "fault, message",
    [
        ("learning rate", "level 'trained' step 3 "),
        ("data", NOT_SEEN),
        ("clip", "level 'first update' 0.weight/"),
        ("scale", "level 'first update' 0.weight/"),
    ],
)
@pytest.mark.slow
def test_what_a_graph_does_not_do_is_found(create_optimizer, fault, message):
    with pytest.raises(ParityError, match=message):
        compare(create_optimizer, fault)


def test_a_change_that_the_graph_does_not_see_is_found():
    with pytest.raises(ParityError, match=NOT_SEEN):
        compare(create_sgd, "data")


def test_random_draws_are_recognised():
    with pytest.raises(ParityError, match="since random operator.*in network.noise"):
        compare(create_sgd, "draws")


def test_loops_that_start_with_other_weights_are_no_comparison():
    trainer = Trainer(create_sgd)

    def create_eager():
        loop = trainer.create_eager()
        weight = flow.tensor(SOURCE.randn(16, 6).astype(np.float32))
        loop.model[0].load_state_dict({"weight": weight}, strict=False)
        return loop

    with pytest.raises(ParityError, match="eager mode does not repeat itself: 0.weight"):
        assert_loop_parity(create_eager, trainer.create_graph, 1)


def test_unusable_arguments_are_refused():
    trainer = Trainer(create_sgd)
    with pytest.raises(ValueError, match="at least 1"):
        compare(create_sgd, steps=0)

    def create_wrapped():
        loop = trainer.create_graph()
        loop.model = nn.ModuleDict({"other": loop.model})
        return loop

    with pytest.raises(ValueError, match="give the module that is an attribute of the graph"):
        assert_loop_parity(trainer.create_eager, create_wrapped, 1)

    def create_float():
        loop = trainer.create_eager()
        loop.step = lambda number: 1.0
        return loop

    with pytest.raises(ValueError, match="gave a float"):
        assert_loop_parity(create_float, trainer.create_graph, 1)
