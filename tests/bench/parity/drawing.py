"""Prints the losses of two steps of drawing models with seeded draws, (eager, graph) each."""

import json

import oneflow as flow
import planted_models
from oneflow import nn

from oneflow_bench.bench.training.seeded_draws import SeededDraws


class Step(nn.Graph):
    def __init__(self, model):
        super().__init__()
        self.model = model
        self.add_optimizer(flow.optim.SGD(model.parameters(), lr=0.1))

    def build(self, images):
        loss = self.model(images).square().mean()
        loss.backward()
        return loss


draws = SeededDraws()
images = flow.randn(4, 3, 32, 32)
losses = {}
for name in ("FunctionalDropout", "DropoutTwice", "Noise", "StochasticDepth", "Shuffled"):
    create = getattr(planted_models, name)
    model, other = create(), create()
    other.load_state_dict(model.state_dict())
    draws.restart_with(model)
    draws.restart_with(other)
    sgd, graph = flow.optim.SGD(model.parameters(), lr=0.1), Step(other)
    losses[name] = []
    for _ in range(2):
        loss = model(images).square().mean()
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses[name].append((float(loss.numpy()), float(graph(images).numpy())))
print(json.dumps(losses))
