"""A training loop of the plainest kind, beside which the suite's step time is held.

It speaks the worker's protocol so that the same turns can be given to it, and shares none of the
suite's measuring code: model, loss, optimizer, `Sync`, clock. It also says what a clock stopped at
`loss.numpy()` would have shown, from further steps of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time

import oneflow as flow
from oneflow import nn
from oneflow._oneflow_internal.eager import Sync

from oneflow_bench.data import create_synthetic_batches
from oneflow_bench.models import create_model

BATCHES = 8


class TrainGraph(nn.Graph):
    def __init__(self, model, criterion, optimizer):
        super().__init__()
        self.model, self.criterion = model, criterion
        self.add_optimizer(optimizer)

    def build(self, images, labels):
        loss = self.criterion(self.model(images), labels)
        loss.backward()
        return loss


def create_step(workload, mode):
    """A function that makes one training step and returns its loss."""
    flow.manual_seed(workload["seed"])
    model = create_model(workload["model"], num_classes=workload["num_classes"])
    criterion = nn.CrossEntropyLoss()
    optimizer = flow.optim.SGD(
        model.parameters(),
        lr=workload["lr"],
        momentum=workload["momentum"],
        weight_decay=workload["weight_decay"],
    )
    arrays = create_synthetic_batches(
        BATCHES,
        workload["batch_size"],
        workload["image_size"],
        workload["num_classes"],
        workload["seed"],
    )
    batches = [(flow.tensor(images), flow.tensor(labels)) for images, labels in arrays]
    model.train()
    graph = TrainGraph(model, criterion, optimizer) if mode == "graph" else None
    count = 0

    def step():
        nonlocal count
        images, labels = batches[count % BATCHES]
        count += 1
        if graph is not None:
            return graph(images, labels)
        optimizer.zero_grad(set_to_none=True)
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def time_to_loss(step, steps):
    """Seconds a step, the clock stopped at `loss.numpy()`; what is left runs on unseen."""
    total = 0.0
    for _ in range(steps):
        start = time.perf_counter()
        step().numpy()
        total += time.perf_counter() - start
        Sync()
    return total / steps


def main():
    replies = os.fdopen(int(sys.argv[-1]), "w")
    step = None
    for line in sys.stdin:
        request = json.loads(line)
        answer = {"ok": True}
        if request["call"] == "setup":
            workload = request["workload"]
            step = create_step(workload, request["contender"]["mode"])
        elif request["call"] == "time_to_loss":
            answer["step_time_s"] = time_to_loss(step, request["steps"])
        else:
            Sync()
            start = time.perf_counter()
            losses = [step() for _ in range(request["steps"])]
            Sync()
            answer["duration_s"] = time.perf_counter() - start
            answer["losses"] = [float(loss.numpy()) for loss in losses]
        replies.write(json.dumps(answer) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
