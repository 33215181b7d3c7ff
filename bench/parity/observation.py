"""Looks into a job as it trains, eagerly or as a graph, without changing what it computes.

The output of every module, leaf or not, is copied as the forward pass reaches it. In a graph the
copies are outputs of the compiled graph, and so are the gradients.
"""

from __future__ import annotations

import types
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from ..plan.graph_options import OptionValue, apply_graph_options
from ..training.eager import EagerMode
from ..training.graph import MODEL_PREFIX, TrainGraph, compile_graph
from ..training.job import Job
from ..training.layer_graph import ForwardGraph, replace_forwards
from ..training.oneflow_compat import create_padding_operator
from ..training.optimizers import State, capture_graph_state

OUTPUT = "output"  # how the model's own output is called among its modules'

GraphOptions = Optional[Mapping[str, OptionValue]]
# name, class of the module, value
Output = Tuple[str, str, flow.Tensor]


class Taps:
    """The outputs of a model's modules in the order in which their forward passes ended."""

    def __init__(self) -> None:
        self.outputs: List[Output] = []
        self._calls: Dict[str, int] = {}

    def clear(self) -> None:
        self.outputs, self._calls = [], {}

    def note(self, name: str, module: nn.Module, output: Any) -> None:
        self._calls[name] = self._calls.get(name, 0) + 1
        if self._calls[name] > 1:
            name = f"{name} (call {self._calls[name]})"
        for suffix, tensor in list_tensors(output):
            # a copy: what follows may overwrite the output in place
            self.outputs.append((name + suffix, type(module).__name__, tensor.clone()))


def list_tensors(output: Any) -> List[Tuple[str, flow.Tensor]]:
    """(suffix, tensor) of a module's output, which may hold tensors in lists, tuples and dicts."""
    if isinstance(output, flow.Tensor):
        return [("", output)]
    if isinstance(output, dict):
        parts = list(output.items())
    elif isinstance(output, (list, tuple)):
        parts = list(enumerate(output))
    else:
        return []
    return [(f"[{key}]{rest}", t) for key, part in parts for rest, t in list_tensors(part)]


@contextmanager
def tap_modules(root: nn.Module, names: Callable[[str], Optional[str]]) -> Iterator[Taps]:
    """Copy the outputs of the modules below `root` that `names` gives a name, while inside.

    A graph that is compiled inside keeps its taps afterwards. At exit the modules are as before.
    """
    taps = Taps()
    with replace_forwards() as replace:
        for path, module in root.named_modules():
            name = names(path)
            if name is not None:
                replace(module, _tapped(taps, name, module))
        yield taps


def _tapped(taps: Taps, name: str, module: nn.Module) -> Any:
    original = module.forward.__func__

    def forward(self: Any, *inputs: Any, **named: Any) -> Any:
        # nn.Graph calls this with its own stand-in for the module, whose children are stand-ins too
        output = original(self, *inputs, **named)
        taps.note(name, module, output)
        return output

    return types.MethodType(forward, module)


def name_in_objective(path: str) -> Optional[str]:
    """Names of the student's and the teacher's modules; None for the rest of an `Objective`."""
    if path == "model":
        return OUTPUT
    if path.startswith("model."):
        return path[len("model.") :]
    return path if path.split(".")[0] == "teacher" else None


def name_in_model(path: str) -> Optional[str]:
    """Names of a model's modules as in `name_in_objective`."""
    return path or OUTPUT


class Observed:
    """What one train step gave: arrays by name, in the order of the forward pass."""

    def __init__(self, loss: Any, labels: Any, images: Any) -> None:
        self.loss = loss
        self.labels = labels
        self.images = images
        self.outputs: List[Tuple[str, str, np.ndarray]] = []
        self.gradients: Dict[str, Optional[np.ndarray]] = {}


def _to_arrays(outputs: List[Output]) -> List[Tuple[str, str, np.ndarray]]:
    return [(name, kind, np.array(tensor.numpy())) for name, kind, tensor in outputs]


class ObservedEager(EagerMode):
    """Eager train steps of which everything can be seen."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._gradients: Dict[str, Optional[np.ndarray]] = {}

    def update(self) -> None:
        self._gradients = {
            name: None if p.grad is None else np.array(p.grad.numpy())
            for name, p in self._job.model.named_parameters()
        }
        super().update()

    def observe_step(self, with_outputs: bool) -> Observed:
        """One update; the modules' outputs and the gradients only where asked for."""
        if not with_outputs:
            return Observed(*self.train_step())
        with tap_modules(self._job.objective, name_in_objective) as taps:
            observed = Observed(*self.train_step())
            observed.outputs = _to_arrays(taps.outputs)
        observed.gradients = self._gradients
        return observed


class _ObservedTrainGraph(TrainGraph):
    def __init__(self, job: Job, taps: Taps) -> None:
        super().__init__(job)
        self._taps = taps
        self._parameters_by_name = dict(job.model.named_parameters())
        self.tapped: List[Tuple[str, str]] = []  # name and class of each tapped output

    def build(self, *batch: flow.Tensor) -> Any:
        self._taps.clear()  # a graph may be traced more than once
        return super().build(*batch)

    def give(self, loss: flow.Tensor, labels: flow.Tensor) -> Any:
        self.tapped = [(name, kind) for name, kind, _ in self._taps.outputs]
        gradients = {name: p.grad for name, p in self._parameters_by_name.items()}
        return {
            "loss": loss,
            "outputs": [tensor for _, _, tensor in self._taps.outputs],
            "gradients": {name: g for name, g in gradients.items() if g is not None},
            "padding": create_padding_operator(),  # somebody's model may be a single layer
        }


class ObservedGraph:
    """Train steps of a compiled graph that gives its modules' outputs and its gradients as well."""

    def __init__(self, job: Job, graph_options: GraphOptions = None) -> None:
        self._job = job
        job.model.train()
        self._batch = job.train_feed.next_batch()
        with tap_modules(job.objective, name_in_objective) as taps:
            self._graph = _ObservedTrainGraph(job, taps)
            apply_graph_options(self._graph, graph_options)
            compile_graph(self._graph, self._batch)

    def observe_step(self, with_outputs: bool) -> Observed:
        """As `ObservedEager.observe_step`."""
        images, labels = self._batch
        given = self._graph(images, labels)
        observed = Observed(given["loss"], labels, images)
        if with_outputs:
            observed.outputs = [
                (name, kind, np.array(tensor.numpy()))
                for (name, kind), tensor in zip(self._graph.tapped, given["outputs"])
            ]
            observed.gradients = {
                name: (
                    np.array(given["gradients"][name].numpy())
                    if name in given["gradients"]
                    else None
                )
                for name, _ in self._job.model.named_parameters()
            }
        self._batch = self._job.train_feed.next_batch()
        return observed

    def capture_optimizer(self) -> State:
        return capture_graph_state(self._graph, MODEL_PREFIX)


def create_observed(mode: str, job: Job, graph_options: GraphOptions = None) -> Any:
    """`ObservedEager` or `ObservedGraph` over a job that has not taken a step."""
    return ObservedEager(job) if mode == "eager" else ObservedGraph(job, graph_options)


def observe_eval(
    mode: str, model: nn.Module, images: flow.Tensor, graph_options: GraphOptions = None
) -> List[Any]:
    """(name, class, array) of every module's output in eval mode for images (N, 3, H, W)."""
    model.eval()
    with tap_modules(model, name_in_model) as taps:
        if mode == "eager":
            with flow.no_grad():
                model(images)
            return _to_arrays(taps.outputs)
        graph = _ObservedForward(model, taps)
        apply_graph_options(graph, graph_options)
        outputs, _ = graph(images)
        return [
            (name, kind, np.array(tensor.numpy()))
            for (name, kind), tensor in zip(graph.tapped, outputs)
        ]


class _ObservedForward(ForwardGraph):
    def __init__(self, model: nn.Module, taps: Taps) -> None:
        super().__init__(model)
        self._taps = taps
        self.tapped: List[Tuple[str, str]] = []

    def build(self, images: flow.Tensor) -> Any:
        self._taps.clear()
        super().build(images)
        self.tapped = [(name, kind) for name, kind, _ in self._taps.outputs]
        return [tensor for _, _, tensor in self._taps.outputs], create_padding_operator()


def list_backward(outputs: List[Tuple[str, str, Any]], parameters: List[str]) -> List[str]:
    """Parameters in the order in which the backward pass reaches their modules.

    That is the reverse of the order in which the modules' forward passes ended; parameters of
    modules that were not called come last.
    """
    ended = {name: number for number, (name, _, _) in enumerate(outputs)}
    ended[""] = ended.get(OUTPUT, -1)  # a parameter of the model itself

    def position(parameter: str) -> int:
        return ended.get(parameter.rpartition(".")[0], -1)

    return sorted(parameters, key=position, reverse=True)
