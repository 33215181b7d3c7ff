"""The two executions of one job: eager, and compiled as `nn.Graph`.

Both offer the same calls, so that nothing above this module asks which one it holds.
Train and eval are separate graphs because a graph freezes the mode it was compiled in.
"""

from __future__ import annotations

import time
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from oneflow_bench.feeds import Feed
from oneflow_bench.graph_options import OptionValue, apply_graph_options
from oneflow_bench.layer_graph import ForwardGraph
from oneflow_bench.optimization import (
    capture_eager_state,
    capture_graph_state,
    restore_eager_state,
    restore_graph_state,
)
from oneflow_bench.timing import synchronize
from oneflow_bench.workload import Job

# images are None where the loader is inside the graph and they never leave it
TrainOutput = Tuple[flow.Tensor, flow.Tensor, Optional[flow.Tensor]]
EvalOutput = Tuple[flow.Tensor, flow.Tensor]


class EagerMode:
    """Operators run as Python reaches them."""

    graph_ops: Optional[int] = None

    def __init__(self, job: Job) -> None:
        self._job = job
        self._clips = "clip_grad_max_norm" in job.optimizer.param_groups[0]._options

    def compile_train(self) -> float:
        return 0.0

    def compile_eval(self) -> float:
        return 0.0

    def list_op_names(self) -> List[str]:
        return []

    def train_step(self) -> TrainOutput:
        """One update; returns the loss, labels (B,) and images (B, 3, H, W).

        The loss is a scalar, or (n,) with the batch split in n parts: the loss of each part.
        """
        job = self._job
        job.model.train()
        images, labels = job.train_feed.next_batch()
        job.optimizer.zero_grad(set_to_none=True)
        if job.accumulation_steps == 1:
            loss = job.objective(images, labels)
            loss.backward()
            loss = loss.detach()
        else:
            loss = self._accumulate(images, labels)
        self.update()
        return loss, labels, images

    def update(self) -> None:
        """The optimizer's and the schedule's part of a step, after the gradients are there."""
        job = self._job
        if self._clips:
            job.optimizer.clip_grad()
        job.optimizer.step()
        if job.scheduler is not None:
            job.scheduler.step()

    def _accumulate(self, images: flow.Tensor, labels: flow.Tensor) -> flow.Tensor:
        count = self._job.accumulation_steps
        size = images.shape[0] // count
        losses = []
        for start in range(0, images.shape[0], size):
            part = slice(start, start + size)
            loss = self._job.objective(images[part], labels[part])
            (loss / count).backward()
            losses.append(loss.detach())
        return flow.stack(losses)

    def capture_optimizer(self) -> Dict[str, np.ndarray]:
        """The optimizer's tensors as `parameter/slot`."""
        return capture_eager_state(self._job.optimizer, self._job.model)

    def restore_optimizer(self, state: Dict[str, np.ndarray], step: int) -> None:
        """Continue at update `step`; only before anything is compiled."""
        job = self._job
        restore_eager_state(job.optimizer, job.scheduler, job.model, state, step)

    def eval_step(self) -> EvalOutput:
        """Forward pass of one validation batch; returns logits (B, K) and labels (B,)."""
        job = self._job
        job.model.eval()
        with flow.no_grad():
            images, labels = job.eval_feed.next_batch()
            return job.model(images), labels


# how the model's variables begin in the train graph's own state
MODEL_PREFIX = "objective.model."


class TrainGraph(nn.Graph):
    """One train step of a job, compiled; `loader` is inside it where given."""

    def __init__(self, job: Job, loader: Optional[nn.Module] = None) -> None:
        super().__init__()
        self.objective = job.objective
        if loader is not None:
            self.loader = loader
        self.takes_loader = loader is not None
        if job.scheduler is None:
            self.add_optimizer(job.optimizer)
        else:
            self.add_optimizer(job.optimizer, lr_sch=job.scheduler)
        if job.accumulation_steps > 1:
            self.config.set_gradient_accumulation_steps(job.accumulation_steps)

    def build(self, *batch: flow.Tensor) -> Any:
        images, labels = self.loader() if self.takes_loader else batch
        loss = self.objective(images, labels)
        loss.backward()
        return self.give(loss, labels)

    def give(self, loss: flow.Tensor, labels: flow.Tensor) -> Any:
        """What a call of the graph returns; may be asked for more by a subclass."""
        return (loss, labels) if self.takes_loader else loss


def create_forward(mode: str, model: nn.Module, example: flow.Tensor) -> Tuple[Any, float]:
    """A callable from images (N, 3, H, W) to logits (N, K) in eval mode, and compile seconds.

    As a graph it takes images of the shape and type of `example` alone.
    """
    model.eval()
    if mode == "graph":
        graph = ForwardGraph(model)
        return graph, compile_graph(graph, (example,))

    def forward(images: flow.Tensor) -> flow.Tensor:
        with flow.no_grad():
            return model(images)

    return forward, 0.0


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

    def __init__(
        self,
        job: Job,
        image_size: int,
        loader_inside: bool,
        graph_options: Optional[Mapping[str, OptionValue]] = None,
    ) -> None:
        self._job = job
        self._image_size = image_size
        self._inside = loader_inside
        self._train_graph = TrainGraph(job, job.train_feed.loader if loader_inside else None)
        self._eval_graph = _EvalGraph(job, job.eval_feed.loader if loader_inside else None)
        for graph in (self._train_graph, self._eval_graph):
            apply_graph_options(graph, graph_options)

    def compile_train(self) -> float:
        """Compile the train graph; seconds."""
        self._job.model.train()
        inputs = () if self._inside else self._example(self._job.train_feed)
        duration = compile_graph(self._train_graph, inputs)
        self.graph_ops = len(self._train_graph._compiled_graph_proto.net.op)
        return duration

    def compile_eval(self) -> float:
        """Compile the eval graph; seconds."""
        self._job.model.eval()
        inputs = () if self._inside else self._example(self._job.eval_feed)[:1]
        return compile_graph(self._eval_graph, inputs)

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

    def capture_optimizer(self) -> Dict[str, np.ndarray]:
        """As `EagerMode.capture_optimizer`."""
        return capture_graph_state(self._train_graph, MODEL_PREFIX)

    def restore_optimizer(self, state: Dict[str, np.ndarray], step: int) -> None:
        """As `EagerMode.restore_optimizer`."""
        restore_graph_state(self._train_graph, MODEL_PREFIX, state, step)

    def list_ops(self) -> Tuple[List[str], List[str]]:
        """Types of the train graph's operators as built, with backward and update, and compiled."""
        graph = self._train_graph
        built, compiled = graph._full_graph_proto.net.op, graph._compiled_graph_proto.net.op
        return [_op_type(op) for op in built], [_op_type(op) for op in compiled]

    def list_op_names(self) -> List[str]:
        """Names of the compiled train graph's operators; they begin with their module's path."""
        names = [str(op.name) for op in self._train_graph._compiled_graph_proto.net.op]
        return [name[len(MODEL_PREFIX) :] for name in names if name.startswith(MODEL_PREFIX)]

    def _example(self, feed: Feed) -> Tuple[flow.Tensor, flow.Tensor]:
        """Tensors of a batch's shape and type, for compiling without taking a batch."""
        device = next(self._job.model.parameters()).device
        size = self._image_size
        images = flow.zeros(feed.batch_size, 3, size, size, device=device)
        labels = flow.zeros(feed.batch_size, dtype=flow.int32, device=device)
        return images, labels


def _op_type(op: Any) -> str:
    kind = str(op.WhichOneof("op_type"))
    return str(op.user_conf.op_type_name) if kind == "user_conf" else kind.replace("_conf", "")


STEP_PARTS = ("forward_s", "loss_s", "backward_s", "update_s")


def measure_step_parts(job: Job) -> Dict[str, float]:
    """Seconds of the parts of one eager step, each between two full synchronisations."""
    job.model.train()
    images, labels = job.train_feed.next_batch()
    job.optimizer.zero_grad(set_to_none=True)
    marks = [_mark()]
    outputs = job.model(images)
    marks.append(_mark())
    loss = job.criterion(outputs, labels)
    marks.append(_mark())
    loss.backward()
    marks.append(_mark())
    job.optimizer.step()
    marks.append(_mark())
    return {name: end - start for name, start, end in zip(STEP_PARTS, marks, marks[1:])}


def _mark() -> float:
    synchronize()
    return time.perf_counter()


def compile_graph(graph: nn.Graph, inputs: Tuple[flow.Tensor, ...]) -> float:
    """Compile for inputs of these shapes and types; seconds."""
    synchronize()
    start = time.perf_counter()
    graph._compile(*inputs)
    synchronize()
    return time.perf_counter() - start


def create_mode(
    mode: str,
    job: Job,
    image_size: int,
    feed: str,
    graph_options: Optional[Mapping[str, OptionValue]] = None,
) -> Any:
    """`EagerMode` or `GraphMode`; eager takes the loader outside whatever the feed.

    Raises InputError for graph options that this OneFlow does not have.
    """
    if mode == "eager":
        return EagerMode(job)
    return GraphMode(job, image_size, feed == "graph", graph_options)
