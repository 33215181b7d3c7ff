"""`assert_parity`: a parity check of one's own model in one's own tests.

from oneflow_bench import assert_parity

def test_graph_is_the_same_model():
    assert_parity(MyModel(), nn.CrossEntropyLoss(), (images, labels))
"""

from __future__ import annotations

import copy
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple

import oneflow as flow
from oneflow import nn

from ..training.feeds import CastFeed, MemoryFeed
from ..training.job import Job
from ..training.losses import Objective
from .collection import Collector
from .judge import Evidence, judge_levels, list_inexact
from .known import KnownTally, load_known_differences
from .pairs import pair_entries
from .result import LevelResult
from .tensors import Entry, Observer
from .witness import move_optimizer, move_weights

Batch = Tuple[flow.Tensor, flow.Tensor]
CreateOptimizer = Callable[[nn.Module], flow.optim.Optimizer]
_EAGER, _GRAPH, _REFERENCE = "eager", "graph", "reference"
_WITNESSES = {"witness-1": 1, "witness-2": 2}  # with their seeds


class ParityError(AssertionError):
    """The modes differ; `levels` holds all that was found."""

    def __init__(self, message: str, levels: List[LevelResult]) -> None:
        super().__init__(message)
        self.levels = levels


def assert_parity(
    model: nn.Module,
    loss: Callable[[Any, flow.Tensor], flow.Tensor],
    batch: Batch,
    steps: int = 2,
    create_optimizer: Optional[CreateOptimizer] = None,
) -> List[LevelResult]:
    """Raise ParityError, naming the first tensor, where `model` as a graph is not the eager model.

    `model` is left as it is: copies are trained. `loss(outputs, labels)` gives a scalar tensor and
    may be a module. `batch` is (inputs (N, ...), labels (N, ...)); every step takes it.
    `create_optimizer(model)` defaults to SGD with lr 0.01 and momentum 0.9. The levels and the
    judge are those of `bench check`, without resumption and validation; all runs in this process.
    Returns the levels. Raises ValueError for fewer than one step, and what OneFlow raises where the
    model cannot be compiled.
    """
    if steps < 1:
        raise ValueError(f"steps={steps} was given; a parity check takes at least 1")
    runs = _Runs(model, loss, batch, steps, create_optimizer or _create_default_optimizer)
    with tempfile.TemporaryDirectory() as folder:
        levels = runs.judge(Path(folder))
    different = [level for level in levels if level.verdict == "different"]
    if different:
        raise ParityError(
            f"the graph is not the eager model; at the level '{different[0].level}' "
            f"{different[0].reason}",
            levels,
        )
    return levels


def _create_default_optimizer(model: nn.Module) -> flow.optim.Optimizer:
    return flow.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


class _Runs:
    """The runs of one assertion, each on copies of its own."""

    def __init__(
        self, model: nn.Module, loss: Any, batch: Batch, steps: int, make: CreateOptimizer
    ) -> None:
        self._model = model
        self._loss = loss
        self._batch = batch
        self._steps = steps
        self._make = make

    def judge(self, folder: Path) -> List[LevelResult]:
        known, version = load_known_differences(), str(flow.__version__)
        pairs = pair_entries(
            self._run(_EAGER, {}, folder / _EAGER), self._run(_GRAPH, {}, folder / _GRAPH)
        )
        wanted = list_inexact(pairs, KnownTally(known, version))
        if not wanted:
            return judge_levels(pairs, None, KnownTally(known, version))
        evidence = Evidence(folder / _EAGER, folder / _GRAPH, folder / _REFERENCE)
        for side in (_EAGER, _GRAPH, _REFERENCE):
            self._run(side, wanted, folder / side)
        levels = judge_levels(pairs, evidence, KnownTally(known, version))
        if all(level.verdict != "different" for level in levels):
            return levels
        for side in _WITNESSES:
            self._run(side, wanted, folder / side)
        evidence = replace(evidence, witnesses=[folder / side for side in _WITNESSES])
        return judge_levels(pairs, evidence, KnownTally(known, version))

    def _run(self, side: str, wanted: Any, folder: Path) -> List[Entry]:
        observer = Observer(wanted)
        wide = side == _REFERENCE
        job = _create_job(self._model, self._loss, self._batch, self._make, wide)
        if side in _WITNESSES:
            move_weights(job.model, _WITNESSES[side])
            move_optimizer(job.optimizer, _WITNESSES[side])
        collector = Collector(observer, "graph" if side == _GRAPH else "eager")
        collector.note_initial(job)
        collector.note_eval_forward(job)
        collector.note_first_step(job)
        collector.note_training(job, self._steps, 0)
        observer.write(folder)
        return [Entry.model_validate(entry) for entry in observer.take()]


class _Criterion(nn.Module):
    """Any loss as the module that an objective holds."""

    def __init__(self, loss: Callable[[Any, flow.Tensor], flow.Tensor]) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Any, labels: flow.Tensor) -> flow.Tensor:
        return self.loss(outputs, labels)


def _create_job(
    model: nn.Module, loss: Any, batch: Batch, make: CreateOptimizer, wide: bool
) -> Job:
    """A job of its own: an eager step and a graph on one module would not both train."""
    criterion = _Criterion(copy.deepcopy(loss) if isinstance(loss, nn.Module) else loss)
    objective = Objective(copy.deepcopy(model), criterion)
    feeds: List[Any] = [MemoryFeed([batch], len(batch[0]), [len(batch[0])]) for _ in range(2)]
    if wide:
        objective = objective.to(flow.float64)
        feeds = [CastFeed(feed, flow.float64) for feed in feeds]
    return Job(
        model=objective.model,
        criterion=criterion,
        objective=objective,
        optimizer=make(objective.model),
        scheduler=None,
        train_feed=feeds[0],
        eval_feed=feeds[1],
    )
