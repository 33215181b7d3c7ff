"""The runs of `assert_parity`: copies of a model, its loss and a batch, trained in either mode.

The controller asks `load`, and then `run` for each run. One process has all runs.
"""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn
from pydantic import BaseModel

from ...errors import InputError
from ...training.eager import EagerMode
from ...training.feeds import Feed
from ...training.graph import MODEL_PREFIX, TrainGraph
from ...training.job import Job
from ...training.losses import Objective, add_losses, mean_loss
from ...training.nest import apply, flatten
from ...training.oneflow_compat import create_padding_operator
from ...training.optimizers import (
    capture_graph_state,
    restore_graph_state,
    split_optimizer,
)
from ...training.seeded_draws import SeededDraws
from ...worker.protocol import clean_message, explain_refusal, main, schedule_as_batch
from .. import result as levels
from ..causes import ForwardFacts
from ..difference import move_optimizer, move_weights
from ..isolated_layer import is_graph
from ..observe import Checkpoint, Collector, observe_eval
from ..tensors import Entry, Observer
from ..worker import load_state
from .snapshot import Snapshot, summarize_error

FAILED = "failed"  # in the answer of a run that raised an error: the reason
STAGE = "stage"  # file in a run's folder with the stage that it is in; the first is FIRST_STAGE
FIRST_STAGE = "making the optimizer"
_LOSS = "loss."  # before the names of the loss's own tensors
_SEED = 0  # of the global generators, at the start of each run


class RunRequest(BaseModel):
    """A run of so many training steps. `seed` is a perturbed run's; a `wide` run is in float64."""

    mode: str
    steps: int
    wide: bool
    seed: Optional[int]
    seeded_draws: bool  # random functions give the same numbers in both modes
    wanted: Dict[str, List[str]]
    folder: Path  # for the values of the `wanted` tensors


class AssertionSession:
    """Has the runs of one snapshot of (model, loss, batch, create_optimizer)."""

    def __init__(self, snapshot: Optional[Snapshot] = None) -> None:
        self._snapshot = snapshot

    def load(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Read the snapshot at `path`. Raises InputError if this process cannot load it."""
        self._snapshot = Snapshot(Path(request["path"]).read_bytes())
        try:
            self._snapshot.load()
        except Exception as error:  # of the user's class, too
            text = f"another process cannot load it ({summarize_error(error)})"
            raise InputError(text) from None
        return {}

    def run(self, request: RunRequest) -> Dict[str, Any]:
        """The entries and the facts of a run, or with FAILED the reason why it cannot be."""
        assert self._snapshot is not None
        try:
            entries, forward = _run(self._snapshot, request)
        except InputError:
            raise
        except Exception as error:
            refusal = None if request.wide else explain_refusal(error, request.mode)
            return {FAILED: refusal or f"{type(error).__name__}: {clean_message(str(error))}"}
        dumped = [entry.model_dump() for entry in entries]
        return {"entries": dumped, "forward": forward.model_dump()}


def _run(snapshot: Snapshot, request: RunRequest) -> Tuple[List[Entry], ForwardFacts]:
    observer = Observer(request.wanted)
    collector = Collector(observer, request.mode)
    compiling = "compiling or running " if is_graph(request.mode) else ""

    def begin(stage: str) -> None:
        (request.folder / STAGE).write_text(stage)

    def note_loss(level: str) -> None:
        if isinstance(job.objective.criterion, nn.Module):
            collector.note_state(level, job.objective.criterion, {}, _LOSS)

    job = _create_job(snapshot, request)
    collector.note_initial(job)
    note_loss(levels.INITIAL_WEIGHTS)
    begin(f"{compiling}the evaluation before training")
    collector.note_eval_forward(job)
    begin(f"{compiling}the first training step")
    collector.note_first_step(job)
    note_loss(levels.FIRST_UPDATE)
    begin("the later training steps")
    checkpoint = collector.note_training(job, request.steps, request.steps // 2)
    note_loss(levels.TRAINED)
    begin(f"{compiling}the evaluation after training")
    for output in observe_eval(request.mode, job.objective, job.eval_feed.next_batch()[0]):
        observer.add(levels.VALIDATION, *output)
    if checkpoint is not None and not _trains(job.objective.criterion):
        begin(f"{compiling}the steps resumed from a checkpoint")
        _note_resumed(collector, _create_job(snapshot, request), request, checkpoint)
    observer.write(request.folder)
    return observer.take(), collector.facts


@functools.lru_cache(maxsize=None)
def _replace_draws() -> SeededDraws:
    return SeededDraws()


def _create_job(snapshot: Snapshot, request: RunRequest) -> Job:
    flow.manual_seed(_SEED)
    np.random.seed(_SEED)
    random.seed(_SEED)
    copies = snapshot.load(flow.float64 if request.wide else None)
    model, criterion, batch, create_optimizer = copies
    objective = _NestObjective(model, criterion)
    if request.seeded_draws:
        _replace_draws().restart_with(model)
    inputs, labels = (*batch, None)[:2]
    optimizer, scheduler = split_optimizer(create_optimizer(model), objective)
    if request.seed is not None:
        move_weights(objective, request.seed)
        move_optimizer(optimizer, request.seed)
    feed = Feed(lambda: (inputs, labels), 1, [1])
    return Job(model, objective, optimizer, scheduler, feed, feed)


def _note_resumed(
    collector: Collector, job: Job, request: RunRequest, checkpoint: Checkpoint
) -> None:
    """A fresh copy goes on from the checkpoint."""
    weights, optimizer = checkpoint
    done = request.steps // 2
    load_state(job.model, weights)
    losses = list(collector.losses[:done])
    if is_graph(request.mode):
        graph = _NestGraph(job)
        restore_graph_state(graph, MODEL_PREFIX, job.model, optimizer, done)
        tensors, _ = flatten(job.train_feed.next_batch())
        job.model.train()
        losses += [mean_loss(graph(*tensors)[0]) for _ in range(done, request.steps)]
        state = capture_graph_state(graph, MODEL_PREFIX)
    else:
        mode = EagerMode(job)
        mode.restore_optimizer(optimizer, done)
        losses += [mean_loss(mode.train_step()[0]) for _ in range(done, request.steps)]
        state = mode.capture_optimizer()
    collector.note_losses(levels.RESUMED, losses, done + 1)
    collector.note_state(levels.RESUMED, job.model, state)


class _NestObjective(Objective):
    """From nests of inputs and labels to one loss."""

    def forward(self, inputs: Any, labels: Any) -> flow.Tensor:
        outputs = apply(self.model, inputs)
        found = self.criterion(outputs) if labels is None else self.criterion(outputs, labels)
        return add_losses(found)


class _NestGraph(TrainGraph):
    def give(self, loss: flow.Tensor, labels: Any) -> Any:
        return loss, create_padding_operator()


def _trains(criterion: Any) -> bool:
    module = isinstance(criterion, nn.Module)
    return module and any(parameter.requires_grad for parameter in criterion.parameters())


if __name__ == "__main__":
    main(AssertionSession(), prepare=schedule_as_batch)
