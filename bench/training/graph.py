"""The compiled execution of a job: `nn.Graph`.

Train and eval are separate graphs because a graph freezes the mode it was compiled in.
"""

from __future__ import annotations

import time
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from ..plan.graph_options import apply_graph_options
from .clock import synchronize
from .job import Job
from .layer_graph import ForwardGraph
from .modes import EvalOutput, Forward, Inputs, Mode, ModeSetting, Options, TrainOutput
from .nest import flatten
from .oneflow_compat import compile_without_running, list_built_ops, list_compiled_ops
from .optimizers import capture_graph_state, restore_graph_state

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
        _, self._rebuild = flatten(job.train_feed.create_example())
        self.add_optimizer(job.optimizer, lr_sch=job.scheduler)
        if job.accumulation_steps > 1:
            self.config.set_gradient_accumulation_steps(job.accumulation_steps)

    def build(self, *tensors: flow.Tensor) -> Any:
        inputs, labels = self.loader() if self.takes_loader else self._rebuild(tensors)
        loss = self.objective(inputs, labels)
        loss.backward()
        return self.give(loss, labels)

    def give(self, loss: flow.Tensor, labels: Any) -> Any:
        """What a call of the graph returns; may be asked for more by a subclass."""
        return (loss, labels) if self.takes_loader else loss


class EvalGraph(nn.Graph):
    """The forward pass of one validation batch, compiled; `loader` is inside it where given."""

    def __init__(self, job: Job, loader: Optional[nn.Module]) -> None:
        super().__init__()
        self.model, self._evaluate = job.model, job.evaluate
        if loader is not None:
            self.loader = loader
        self.takes_loader = loader is not None
        _, self._rebuild = flatten(job.eval_feed.create_example()[0])

    def build(self, *tensors: flow.Tensor) -> Any:
        if self.takes_loader:
            images, labels = self.loader()
            return self._evaluate(self.model, images), labels
        return self._evaluate(self.model, self._rebuild(tensors))


class GraphMode:
    """A `Mode` of two compiled graphs, train step and eval step, over one set of weights."""

    graph_ops: Optional[int] = None

    def __init__(self, job: Job, loader_inside: bool, graph_options: Options = None) -> None:
        self._job = job
        self._inside = loader_inside
        self._train_graph = TrainGraph(job, job.train_feed.loader if loader_inside else None)
        self._eval_graph = EvalGraph(job, job.eval_feed.loader if loader_inside else None)
        for graph in (self._train_graph, self._eval_graph):
            apply_graph_options(graph, graph_options)

    @classmethod
    def create(cls, job: Job, setting: ModeSetting) -> Mode:
        return cls(job, setting.workload.feed == "graph", setting.contender.graph_options)

    @staticmethod
    def create_forward(
        model: nn.Module, example: Inputs, graph_options: Options = None
    ) -> Tuple[Forward, float]:
        graph = ForwardGraph(model)
        apply_graph_options(graph, graph_options)
        inputs = example if isinstance(example, tuple) else (example,)
        with flow.no_grad():
            return graph, compile_graph(graph, inputs)

    def compile_train(self) -> float:
        self._job.model.train()
        inputs = () if self._inside else self._flatten(self._job.train_feed.create_example())
        duration = compile_graph(self._train_graph, inputs)
        self.graph_ops = len(list_compiled_ops(self._train_graph))
        return duration

    def compile_eval(self) -> float:
        self._job.model.eval()
        inputs = () if self._inside else self._flatten(self._job.eval_feed.create_example()[0])
        with flow.no_grad():  # as in eager mode, since a forward may ask for it
            return compile_graph(self._eval_graph, inputs)

    def train_step(self) -> TrainOutput:
        if self._inside:
            loss, labels = self._train_graph()
            return loss, labels, None
        inputs, labels = self._job.train_feed.next_batch()
        return self._train_graph(*self._flatten((inputs, labels))), labels, inputs

    def eval_step(self) -> EvalOutput:
        if self._inside:
            outputs, labels = self._eval_graph()
            return outputs, labels
        inputs, labels = self._job.eval_feed.next_batch()
        return self._eval_graph(*self._flatten(inputs)), labels

    def place(self, *batch: flow.Tensor) -> Tuple[flow.Tensor, ...]:
        """A batch of the feed as the graphs take it."""
        return batch

    def capture_optimizer(self) -> Dict[str, np.ndarray]:
        return capture_graph_state(self._train_graph, MODEL_PREFIX)

    def restore_optimizer(self, state: Dict[str, np.ndarray], step: int) -> None:
        restore_graph_state(self._train_graph, MODEL_PREFIX, self._job.model, state, step)

    def list_ops(self) -> Tuple[List[str], List[str]]:
        """Types of the train graph's operators as built, with backward and update, and compiled."""
        compiled = [kind for _, kind in list_compiled_ops(self._train_graph)]
        return list_built_ops(self._train_graph), compiled

    def list_op_names(self) -> List[str]:
        names = [name for name, _ in list_compiled_ops(self._train_graph)]
        return [name[len(MODEL_PREFIX) * name.startswith(MODEL_PREFIX) :] for name in names]

    def _flatten(self, nest: Any) -> Tuple[flow.Tensor, ...]:
        return self.place(*flatten(nest)[0])


def compile_graph(graph: nn.Graph, inputs: Tuple[flow.Tensor, ...]) -> float:
    """Compile for inputs of these shapes and types; seconds."""
    synchronize()
    start = time.perf_counter()
    compile_without_running(graph, inputs)
    synchronize()
    return time.perf_counter() - start
