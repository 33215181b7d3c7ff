"""Observes a job as it trains, eagerly or as a graph, without changing its computation.

Hooks copy the output of every module when its forward pass ends. In a graph these copies and the
gradients are outputs of the compiled graph. `Collector` goes through the levels of one side.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Union

import numpy as np
import oneflow as flow

from ..plan.graph_options import OptionValue, apply_graph_options
from ..training.eager import EagerMode
from ..training.graph import MODEL_PREFIX, TrainGraph, compile_graph
from ..training.hooks import Hooks, Output, hook_modules, list_attribute_tensors, list_tensors
from ..training.job import Job, copy_state
from ..training.layer_graph import ForwardGraph
from ..training.losses import mean_loss
from ..training.nest import Rebuild, apply, flatten
from ..training.oneflow_compat import create_padding_operator, find_owner, list_unshared_draws
from ..training.optimizers import State, capture_graph_state, restore_graph_state
from ..training.watch import ForwardWatch, OptionWatch
from . import result as levels
from .causes import ForwardFacts
from .isolated_layer import is_graph
from .result import OUTPUT_GRADIENT, REQUIRES_GRADIENT
from .tensors import OUTPUT, Observer, list_backward

PARAMETER, BUFFER, OPTIMIZER, GRADIENT = "parameter", "buffer", "optimizer state", "gradient"
ATTRIBUTE = "attribute"  # a tensor that is in no state dict
LATER_OUTPUTS_BYTES = 2**24  # of outputs after the second step, whose outputs are always observed

Gradients = Dict[str, Optional[np.ndarray]]
Options = Optional[Mapping[str, OptionValue]]  # of a graph
Resumed = Optional[Tuple[State, int]]  # optimizer's tensors, updates before the first observed
Checkpoint = Tuple[State, State]  # weights and the optimizer's tensors after some step
Evaluate = Callable[[Any, Any], Any]


@dataclass
class Observed:
    """The results of one train step: arrays by name, in the order of the forward pass."""

    loss: Any
    labels: Any
    inputs: Any
    outputs: List[Output] = field(default_factory=list)
    gradients: Gradients = field(default_factory=dict)
    requiring: Mapping[str, bool] = field(default_factory=dict)  # gradients, by output


class ObservedEager(EagerMode):
    """Observed eager train steps."""

    def __init__(self, job: Job, resumed: Resumed = None) -> None:
        super().__init__(job)
        if resumed is not None:
            self.restore_optimizer(*resumed)
        self._watch = ForwardWatch(job.model, job.objective)
        self._option_watch = OptionWatch(job.optimizer, job.scheduler is not None)
        self._users: Dict[str, str] = {}

    def compute_loss(self, inputs: Any, labels: Any) -> flow.Tensor:
        with self._watch.watch(inputs):
            return super().compute_loss(inputs, labels)

    @property
    def facts(self) -> ForwardFacts:
        """Of the steps until now."""
        facts = ForwardFacts.model_validate(self._watch, from_attributes=True)
        facts.output_users, facts.changed_options = self._users, self._option_watch.changed
        return facts

    def update(self) -> None:
        self._gradients = _read_gradients(
            {name: parameter.grad for name, parameter in self._job.model.named_parameters()}
        )
        super().update()
        self._option_watch.note()

    def observe_step(self, with_outputs: bool) -> Observed:
        """One update; the modules' outputs and the gradients only on request."""
        if not with_outputs:
            return Observed(*super().train_step())
        with hook_modules(self._job.objective, OUTPUT) as hooks:
            step = Observed(*self.train_step(), hooks.read(hooks.tensors))
        step.gradients = {**self._gradients, **_read_outputs(hooks.list_gradients())}
        step.requiring = hooks.list_requiring()
        self._users = hooks.list_users()
        return step


def _read_gradients(gradients: Mapping[str, Any]) -> Gradients:
    return {n: None if g is None else np.array(g.numpy()) for n, g in gradients.items()}


def _read_outputs(gradients: Mapping[str, Any]) -> Gradients:
    return _read_gradients({f"{name} {OUTPUT_GRADIENT}": g for name, g in gradients.items()})


class _ObservedTrainGraph(TrainGraph):
    def __init__(self, job: Job, hooks: Hooks) -> None:
        super().__init__(job)
        self._hooks = hooks
        self._parameters_by_name = dict(job.model.named_parameters())

    def build(self, *tensors: flow.Tensor) -> Any:
        self._hooks.clear()  # a graph may be traced more than once
        return super().build(*tensors)

    def give(self, loss: flow.Tensor, labels: Any) -> Any:
        gradients = {name: p.grad for name, p in self._parameters_by_name.items()}
        return {
            "loss": loss,
            "outputs": list(self._hooks.tensors),
            "gradients": {name: g for name, g in gradients.items() if g is not None},
            "output_gradients": self._hooks.list_gradients(),
            "padding": create_padding_operator(),  # a user's model may be a single layer
        }


class ObservedGraph:
    """Train steps of a compiled graph that returns its modules' outputs and its gradients too."""

    def __init__(self, job: Job, options: Options = None, resumed: Resumed = None) -> None:
        self._job = job
        job.model.train()
        self._batch = job.train_feed.next_batch()
        with hook_modules(job.objective, OUTPUT) as self._hooks:
            self._graph = _ObservedTrainGraph(job, self._hooks)
            apply_graph_options(self._graph, options)
            if resumed is not None:
                restore_graph_state(self._graph, MODEL_PREFIX, job.model, *resumed)
            compile_graph(self._graph, tuple(flatten(self._batch)[0]))
        self._requiring = self._hooks.list_requiring()  # outputs are values by now
        drawn = list_unshared_draws(self._graph, job.objective, "objective.")
        named = [(path[len(MODEL_PREFIX) :] or OUTPUT, operator) for path, operator in drawn]
        self.facts = ForwardFacts(random_ops=named)

    def observe_step(self, with_outputs: bool) -> Observed:
        """As `ObservedEager.observe_step`."""
        inputs, labels = self._batch
        given = self._graph(*flatten(self._batch)[0])
        observed = Observed(given["loss"], labels, inputs)
        if with_outputs:
            observed.outputs = self._hooks.read(given["outputs"])
            names = [name for name, _ in self._job.model.named_parameters()]
            gradients = _read_gradients({n: given["gradients"].get(n) for n in names})
            observed.gradients = {**gradients, **_read_outputs(given["output_gradients"])}
            observed.requiring = self._requiring
        self._batch = self._job.train_feed.next_batch()
        return observed

    def capture_optimizer(self) -> State:
        return capture_graph_state(self._graph, MODEL_PREFIX)


def create_observed(
    mode: str, job: Job, options: Options = None, resumed: Resumed = None
) -> Union[ObservedEager, ObservedGraph]:
    """For a job that has not taken a step here. InputError for a mode that is not observed."""
    return ObservedGraph(job, options, resumed) if is_graph(mode) else ObservedEager(job, resumed)


def observe_eval(
    mode: str, objective: Any, inputs: Any, options: Options = None, evaluate: Evaluate = apply
) -> List[Output]:
    """Every output in eval mode of the student's modules, for images (N, 3, H, W) or a nest.

    Raises InputError for a mode that is not observed.
    """
    model = objective.model.eval()
    with hook_modules(objective, OUTPUT) as hooks, flow.no_grad():
        if is_graph(mode):
            tensors, rebuild = flatten(inputs)
            graph = _ObservedForward(model, hooks, rebuild, evaluate)
            apply_graph_options(graph, options)
            return hooks.read(graph(*tensors)[0])
        evaluate(model, inputs)
        return hooks.read(hooks.tensors)


class _ObservedForward(ForwardGraph):
    def __init__(self, model: Any, hooks: Hooks, rebuild: Rebuild, evaluate: Evaluate) -> None:
        super().__init__(model)
        self._hooks, self._rebuild, self._evaluate = hooks, rebuild, evaluate

    def build(self, *tensors: flow.Tensor) -> Any:
        self._hooks.clear()
        self._evaluate(self.layer, self._rebuild(tensors))
        return list(self._hooks.tensors), create_padding_operator()


class Collector:
    """Notes the levels of one side, in the order of its methods."""

    def __init__(self, observer: Observer, mode: str, options: Options = None) -> None:
        self._observer, self._mode, self._graph_options = observer, mode, options
        self.resumed: Resumed = None
        self.done = 0  # updates before the first observed step
        self.losses: List[Any] = []
        self.facts = ForwardFacts()  # of all steps, when these are done
        self._later_bytes = 0  # of outputs after the first step

    def note_initial(self, job: Job) -> None:
        self.note_state(levels.INITIAL_WEIGHTS, job.model, {})
        if job.teacher is not None:
            self.note_state(levels.INITIAL_WEIGHTS, job.teacher, {}, "teacher.")

    def note_eval_forward(self, job: Job) -> None:
        """Every module's output in eval mode, on the first validation batch."""
        (inputs, _), options = job.eval_feed.next_batch(), self._graph_options
        for output in observe_eval(self._mode, job.objective, inputs, options, job.evaluate):
            self._observer.add(levels.EVAL_FORWARD, *output)
        job.refuse_late_parameters()

    def note_first_step(self, job: Job) -> None:
        """Outputs, loss, gradients, and the state after the update."""
        self._observed = create_observed(self._mode, job, self._graph_options, self.resumed)
        step = self._take_step(1, with_outputs=True)
        job.refuse_late_parameters()
        for output in step.outputs:
            self._observer.add(levels.FORWARD, *output)
        self._observer.add(levels.LOSS, "loss", "loss", np.array(self.losses[0]))
        for name, requires in step.requiring.items():
            self._observer.add(levels.GRADIENTS, name, REQUIRES_GRADIENT, np.array(requires))
        for name in list_backward(step.outputs, list(step.gradients)):
            kind = OUTPUT_GRADIENT if name.endswith(OUTPUT_GRADIENT) else GRADIENT
            self._observer.add(levels.GRADIENTS, name, kind, step.gradients[name])
        self.note_state(levels.FIRST_UPDATE, job.model, self._observed.capture_optimizer())

    def note_training(self, job: Job, steps: int, checkpoint_step: int) -> Optional[Checkpoint]:
        """The steps up to `steps`; returns the content of a checkpoint at `checkpoint_step`."""
        checkpoint = None
        for step in range(1, steps + 1):
            if step > 1:
                self._take_later_step(step)
            if step == checkpoint_step:
                checkpoint = copy_state(job.model), self._observed.capture_optimizer()
        self.facts = self._observed.facts
        self.note_losses(levels.LOSS_CURVE, self.losses)
        self.note_state(levels.TRAINED, job.model, self._observed.capture_optimizer())
        del self._observed  # releases its graph
        return checkpoint

    def note_losses(self, level: str, losses: List[Any], first: int = 1) -> None:
        """The losses of a run up to each step, from step `first` on.

        Not each alone: one number may come close to the reference by luck.
        """
        for step in range(first, len(losses) + 1):
            name = f"losses to step {self.done + step}"
            self._observer.add(level, name, "loss", np.array(losses[:step]))

    def note_batch(self, name: str, inputs: Any, labels: Any) -> None:
        """A batch, in float32 as it came; a graph that holds the loader gives no inputs."""
        word = "images" if list_tensors(labels) else levels.INPUTS
        for kind, nest in ((word, inputs), ("labels", labels)):
            for suffix, tensor in list_tensors(nest):
                value = np.array(tensor.numpy())
                value = value.astype(np.float32) if value.dtype == np.float64 else value
                self._observer.add(levels.BATCHES, f"{name} {kind}{suffix}", kind, value)

    def note_state(
        self, level: str, model: Any, optimizer: Dict[str, np.ndarray], prefix: str = ""
    ) -> None:
        """Tensor attributes, buffers, the optimizer's tensors and parameters, in model order.

        Only attributes that were tensors from the start: others are caches.
        """
        state = copy_state(model)
        trained = {name for name, _ in model.named_parameters()}
        attributes = {n: np.array(t.numpy()) for n, t in list_attribute_tensors(model).items()}
        if level == levels.INITIAL_WEIGHTS and not prefix:
            self._attributes = tuple(attributes)
        kept = [(name, ATTRIBUTE, attributes.get(name)) for name in self._attributes]
        buffers = [(name, BUFFER, state[name]) for name in state if name not in trained]
        moments = [(name, OPTIMIZER, value) for name, value in optimizer.items()]
        weights = [(name, PARAMETER, state[name]) for name in state if name in trained]
        for name, kind, value in [*kept * (not prefix), *buffers, *moments, *weights]:
            owner = find_owner(model, name) if kind == BUFFER else ""
            self._observer.add(level, prefix + name, kind, value, owner)

    def _take_later_step(self, step: int) -> None:
        observed = self._take_step(step, step == 2 or self._later_bytes <= LATER_OUTPUTS_BYTES)
        for name, kind, value in observed.outputs:
            self._observer.add(levels.LATER_FORWARD, f"step {self.done + step} {name}", kind, value)
            self._later_bytes += value.nbytes

    def _take_step(self, step: int, with_outputs: bool) -> Observed:
        observed = self._observed.observe_step(with_outputs)
        self.note_batch(f"step {self.done + step}", observed.inputs, observed.labels)
        self.losses.append(mean_loss(observed.loss))
        return observed
