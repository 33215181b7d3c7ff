"""The two executions of one job: eager, and compiled as `nn.Graph`.

Both offer the same five calls, so that nothing above this module asks which one it holds.
Train and eval are separate graphs because a graph freezes the mode it was compiled in.
"""

from __future__ import annotations

import time
from typing import Any, Optional, Tuple

import oneflow as flow
from oneflow import nn

from oneflow_bench.timing import synchronize
from oneflow_bench.workload import Feed, Job

# images are None where the loader is inside the graph and they never leave it
TrainOutput = Tuple[flow.Tensor, flow.Tensor, Optional[flow.Tensor]]
EvalOutput = Tuple[flow.Tensor, flow.Tensor]


class EagerMode:
    """Operators run as Python reaches them."""

    graph_ops: Optional[int] = None

    def __init__(self, job: Job) -> None:
        self._job = job

    def compile_train(self) -> float:
        return 0.0

    def compile_eval(self) -> float:
        return 0.0

    def train_step(self) -> TrainOutput:
        """One update; returns the loss (scalar), labels (B,) and images (B, 3, H, W)."""
        job = self._job
        job.model.train()
        images, labels = job.train_feed.next_batch()
        job.optimizer.zero_grad(set_to_none=True)
        loss = job.criterion(job.model(images), labels)
        loss.backward()
        job.optimizer.step()
        job.scheduler.step()
        return loss.detach(), labels, images

    def eval_step(self) -> EvalOutput:
        """Forward pass of one validation batch; returns logits (B, K) and labels (B,)."""
        job = self._job
        job.model.eval()
        with flow.no_grad():
            images, labels = job.eval_feed.next_batch()
            return job.model(images), labels


class _TrainGraph(nn.Graph):
    def __init__(self, job: Job, loader: Optional[nn.Module]) -> None:
        super().__init__()
        self.model = job.model
        self.criterion = job.criterion
        if loader is not None:
            self.loader = loader
        self.takes_loader = loader is not None
        self.add_optimizer(job.optimizer, lr_sch=job.scheduler)

    def build(self, *batch: flow.Tensor) -> Any:
        images, labels = self.loader() if self.takes_loader else batch
        loss = self.criterion(self.model(images), labels)
        loss.backward()
        return (loss, labels) if self.takes_loader else loss


class _EvalGraph(nn.Graph):
    def __init__(self, job: Job, loader: Optional[nn.Module]) -> None:
        super().__init__()
        self.model = job.model
        if loader is not None:
            self.loader = loader
        self.takes_loader = loader is not None

    def build(self, *batch: flow.Tensor) -> Any:
        if self.takes_loader:
            images, labels = self.loader()
            return self.model(images), labels
        return self.model(*batch)


class GraphMode:
    """Train step and eval step as two compiled graphs over one set of weights."""

    graph_ops: Optional[int] = None

    def __init__(self, job: Job, image_size: int, loader_inside: bool) -> None:
        self._job = job
        self._image_size = image_size
        self._inside = loader_inside
        self._train_graph = _TrainGraph(job, job.train_feed.loader if loader_inside else None)
        self._eval_graph = _EvalGraph(job, job.eval_feed.loader if loader_inside else None)

    def compile_train(self) -> float:
        """Compile the train graph; seconds."""
        self._job.model.train()
        inputs = () if self._inside else self._example(self._job.train_feed)
        duration = _compile(self._train_graph, inputs)
        self.graph_ops = len(self._train_graph._compiled_graph_proto.net.op)
        return duration

    def compile_eval(self) -> float:
        """Compile the eval graph; seconds."""
        self._job.model.eval()
        inputs = () if self._inside else self._example(self._job.eval_feed)[:1]
        return _compile(self._eval_graph, inputs)

    def train_step(self) -> TrainOutput:
        """As `EagerMode.train_step`; images are None where the loader is inside."""
        if self._inside:
            loss, labels = self._train_graph()
            return loss, labels, None
        images, labels = self._job.train_feed.next_batch()
        return self._train_graph(images, labels), labels, images

    def eval_step(self) -> EvalOutput:
        """As `EagerMode.eval_step`."""
        if self._inside:
            logits, labels = self._eval_graph()
            return logits, labels
        images, labels = self._job.eval_feed.next_batch()
        return self._eval_graph(images), labels

    def _example(self, feed: Feed) -> Tuple[flow.Tensor, flow.Tensor]:
        """Tensors of a batch's shape and type, for compiling without taking a batch."""
        device = next(self._job.model.parameters()).device
        size = self._image_size
        images = flow.zeros(feed.batch_size, 3, size, size, device=device)
        labels = flow.zeros(feed.batch_size, dtype=flow.int32, device=device)
        return images, labels


def _compile(graph: nn.Graph, inputs: Tuple[flow.Tensor, ...]) -> float:
    synchronize()
    start = time.perf_counter()
    graph._compile(*inputs)
    synchronize()
    return time.perf_counter() - start


def create_mode(mode: str, job: Job, image_size: int, feed: str) -> Any:
    """`EagerMode` or `GraphMode`; eager takes the loader outside whatever the feed."""
    if mode == "eager":
        return EagerMode(job)
    return GraphMode(job, image_size, loader_inside=feed == "graph")
