"""The runs of `assert_parity`: copies of a model, its loss and a batch, trained in either mode.

The controller asks `load`, and then `take` for each stage of each run. One process has all runs.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn
from pydantic import BaseModel

from ..errors import InputError
from ..training.eager import EagerMode
from ..training.feeds import Feed
from ..training.graph import MODEL_PREFIX, TrainGraph
from ..training.job import Job
from ..training.losses import Objective
from ..training.nest import apply, flatten
from ..training.oneflow_compat import create_padding_operator, runs_in_graph
from ..training.optimizers import capture_graph_state, restore_graph_state
from ..training.snapshot import Snapshot, summarize_error
from ..worker.protocol import main
from . import result as levels
from .difference import move_optimizer, move_weights
from .isolated_layer import is_graph
from .observe import Checkpoint, Collector, mean_loss, observe_eval
from .tensors import Observer
from .worker import load_state

# the stages of a run in their order, and how an error calls them
STAGES = {
    "start": {mode: "making the optimizer" for mode in ("eager", "graph")},
    "eval_forward": {
        "eager": "the evaluation before training",
        "graph": "compiling and running the evaluation before training",
    },
    "first_step": {
        "eager": "the first training step",
        "graph": "compiling the training step or taking the first",
    },
    "train": {mode: "the later training steps" for mode in ("eager", "graph")},
    "validate": {
        "eager": "the evaluation after training",
        "graph": "compiling and running the evaluation after training",
    },
    "resume": {mode: "the run resumed from a checkpoint" for mode in ("eager", "graph")},
}
FAILED = "failed"  # in the answer of a reference that cannot run: the reason
LOSS = "loss."  # before the names of the loss's own tensors
_SEED = 0  # of the global generators, at the start of each run


class LoadRequest(BaseModel):
    """The snapshot of (model, loss, batch, create_optimizer), and the number of training steps."""

    path: Path
    steps: int


class StageRequest(BaseModel):
    """A stage of a run. `seed` is that of a perturbed run; a `wide` run is in float64."""

    stage: str
    mode: str
    wide: bool
    seed: Optional[int]
    wanted: Dict[str, List[str]]
    folder: Path  # for the values of the `wanted` tensors


class AssertionSession:
    """The state of the current run between requests."""

    def __init__(self) -> None:
        self._snapshot: Snapshot
        self._steps: int
        self._observer: Observer
        self._collector: Collector
        self._job: Job
        self._checkpoint: Optional[Checkpoint]

    def load(self, request: LoadRequest) -> Dict[str, Any]:
        """Read the snapshot. Raises InputError if this process cannot load it."""
        snapshot = Snapshot(request.path.read_bytes())
        try:
            snapshot.load()
        except Exception as error:  # of the user's class, too
            text = f"another process cannot load it ({summarize_error(error)})"
            raise InputError(text) from None
        self.use(snapshot, request.steps)
        return {}

    def use(self, snapshot: Snapshot, steps: int) -> None:
        """The snapshot and the number of steps of all runs."""
        self._snapshot, self._steps = snapshot, steps

    def take(self, request: StageRequest) -> Dict[str, Any]:
        """Take a stage; its entries, or with FAILED the reason why the reference cannot."""
        try:
            getattr(self, f"_{request.stage}")(request)
        except Exception as error:
            if not request.wide or isinstance(error, InputError):
                raise
            return {FAILED: summarize_error(error)}
        if request.stage == list(STAGES)[-1]:
            self._observer.write(request.folder)
            del self._job
        return {"entries": [entry.model_dump() for entry in self._observer.take()]}

    def end(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {}

    def _start(self, request: StageRequest) -> None:
        self._observer = Observer(request.wanted)
        self._collector = Collector(self._observer, request.mode)
        self._job = self._create_job(request)
        self._collector.note_initial(self._job)
        self._note_loss(levels.INITIAL_WEIGHTS)

    def _create_job(self, request: StageRequest) -> Job:
        flow.manual_seed(_SEED)
        np.random.seed(_SEED)
        random.seed(_SEED)
        copies = self._snapshot.load(flow.float64 if request.wide else None)
        model, criterion, batch, create_optimizer = copies
        objective = _NestObjective(model, criterion)
        inputs, labels = (*batch, None)[:2]
        optimizer, scheduler = split_optimizer(create_optimizer(model), objective)
        if request.seed is not None:
            move_weights(objective, request.seed)
            move_optimizer(optimizer, request.seed)
        return Job(
            model=model,
            criterion=criterion,
            objective=objective,
            optimizer=optimizer,
            scheduler=scheduler,
            train_feed=Feed(lambda: (inputs, labels), 1, [1]),
            eval_feed=Feed(lambda: (inputs, labels), 1, [1]),
        )

    def _note_loss(self, level: str) -> None:
        if isinstance(self._job.criterion, nn.Module):
            self._collector.note_state(level, self._job.criterion, {}, LOSS)

    def _eval_forward(self, request: StageRequest) -> None:
        self._collector.note_eval_forward(self._job)

    def _first_step(self, request: StageRequest) -> None:
        self._collector.note_first_step(self._job)
        self._note_loss(levels.FIRST_UPDATE)

    def _train(self, request: StageRequest) -> None:
        steps = self._steps
        self._checkpoint = self._collector.note_training(self._job, steps, steps // 2)
        self._note_loss(levels.TRAINED)

    def _validate(self, request: StageRequest) -> None:
        inputs, _ = self._job.eval_feed.next_batch()
        for output in observe_eval(request.mode, self._job.objective, inputs):
            self._observer.add(levels.VALIDATION, *output)

    def _resume(self, request: StageRequest) -> None:
        """A fresh copy goes on from the checkpoint."""
        if self._checkpoint is None or _trains(self._job.criterion):
            return
        job = self._job = self._create_job(request)
        weights, optimizer = self._checkpoint
        done = self._steps // 2
        load_state(job.model, weights)
        losses = list(self._collector.losses[:done])
        if is_graph(request.mode):
            graph = _NestGraph(job)
            restore_graph_state(graph, MODEL_PREFIX, job.model, optimizer, done)
            tensors, _ = flatten(job.train_feed.next_batch())
            job.model.train()
            losses += [mean_loss(graph(*tensors)[0]) for _ in range(done, self._steps)]
            state = capture_graph_state(graph, MODEL_PREFIX)
        else:
            mode = EagerMode(job)
            mode.restore_optimizer(optimizer, done)
            losses += [mean_loss(mode.train_step()[0]) for _ in range(done, self._steps)]
            state = mode.capture_optimizer()
        self._collector.note_losses(levels.RESUMED, losses, done + 1)
        self._collector.note_state(levels.RESUMED, job.model, state)


class _NestObjective(Objective):
    """From nests of inputs and labels to one loss."""

    def forward(self, inputs: Any, labels: Any) -> flow.Tensor:
        outputs = apply(self.model, inputs)
        found = self.criterion(outputs) if labels is None else self.criterion(outputs, labels)
        losses, _ = flatten(found)
        shapes = [tuple(loss.shape) for loss in losses]
        if not losses or any(loss.numel() != 1 for loss in losses):
            raise InputError(
                f"the loss gave a {type(found).__name__} with tensors of shapes {shapes}; give one "
                "number as a tensor, such as a mean, or a nest of such"
            )
        return sum(losses[1:], losses[0])


class _NestGraph(TrainGraph):
    def __init__(self, job: Job) -> None:
        super().__init__(job)
        _, self._rebuild = flatten(job.train_feed.next_batch())

    def build(self, *tensors: flow.Tensor) -> Any:
        return super().build(*self._rebuild(tensors))

    def give(self, loss: flow.Tensor, labels: Any) -> Any:
        return loss, create_padding_operator()


def _trains(criterion: Any) -> bool:
    module = isinstance(criterion, nn.Module)
    return module and any(parameter.requires_grad for parameter in criterion.parameters())


def split_optimizer(made: Any, objective: nn.Module) -> Tuple[flow.optim.Optimizer, Optional[Any]]:
    """The optimizer and the scheduler of what `create_optimizer` gave; InputError if unusable."""
    pair = isinstance(made, (tuple, list)) and len(made) == 2
    optimizer, scheduler = made if pair else (made, None)
    if not isinstance(optimizer, flow.optim.Optimizer) or isinstance(
        scheduler, flow.optim.Optimizer
    ):
        raise InputError(
            f"create_optimizer gave {_describe(made)} and one oneflow.optim.Optimizer is expected, "
            "alone or as (optimizer, scheduler); put parameters into groups of one optimizer"
        )
    if scheduler is None and any("initial_lr" in group for group in optimizer.param_groups):
        raise InputError(
            "create_optimizer made a scheduler and gave only the optimizer, so that nothing would "
            "step the scheduler; return (optimizer, scheduler)"
        )
    if scheduler is not None and not runs_in_graph(scheduler):
        raise InputError(
            f"create_optimizer gave a {type(scheduler).__name__}, which a graph cannot run; use "
            "StepLR, MultiStepLR, CosineAnnealingLR, PolynomialLR or a SequentialLR of such"
        )
    known = {id(parameter) for parameter in objective.parameters()}
    groups = [group.parameters for group in optimizer.param_groups]
    strange = sum(id(parameter) not in known for group in groups for parameter in group)
    if strange:
        raise InputError(
            f"create_optimizer's optimizer has {strange} tensors that are not parameters of the "
            "model or of the loss, which a graph would not train; make them parameters of one, "
            "and the loss a module"
        )
    return optimizer, scheduler


def _describe(made: Any) -> str:
    if isinstance(made, (tuple, list)):
        return f"({', '.join(type(one).__name__ for one in made)})"
    return f"a {type(made).__name__}"


if __name__ == "__main__":
    main(AssertionSession())
