"""`assert_parity`: a parity check of your own model in your own tests.

from oneflow_bench import assert_parity

def test_graph_is_the_same_model():
    assert_parity(MyModel(), nn.CrossEntropyLoss(), (images, labels))
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any, Callable, List, Optional, Sequence, Tuple

import oneflow as flow
from oneflow import nn

from ..training.feeds import Feed
from ..training.job import Job
from ..training.losses import Objective
from .difference import move_optimizer, move_weights
from .judge import EAGER, GRAPH, PERTURBED_SEEDS, REFERENCE, Comparison
from .observe import Collector
from .result import LevelResult
from .tensors import Entry, Observer, Wanted

Batch = Tuple[flow.Tensor, flow.Tensor]
CreateOptimizer = Callable[[nn.Module], flow.optim.Optimizer]


class ParityError(AssertionError):
    """The modes differ, or one does not repeat itself; `levels` has the result of each level."""

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
    """Raise ParityError, naming the first tensor, if `model` as a graph is not the eager model.

    `model` stays as it is: copies are trained. `loss(outputs, labels)` gives a scalar tensor and
    may be a module. `batch` is (inputs (N, ...), labels (N, ...)); every step takes it.
    `create_optimizer(model)` defaults to SGD with lr 0.01 and momentum 0.9. The levels and the
    judge are those of `bench check`, without resumption and validation; all runs are in this
    process. Returns the levels. Raises ValueError for fewer than one step, and OneFlow's own errors
    if the model cannot be compiled.
    """
    if steps < 1:
        raise ValueError(f"steps={steps} was given; a parity check takes at least 1")
    make = create_optimizer or _create_default_optimizer
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def run(names: Sequence[str], wanted: Wanted) -> List[List[Entry]]:
            jobs = ((name, _create_job(model, loss, batch, make, name)) for name in names)
            return [_run(name, job, steps, wanted, folder / name) for name, job in jobs]

        eager, graph = run([EAGER, GRAPH], {})
        comparison = Comparison(eager, graph, str(flow.__version__))
        comparison.settle(run, folder)
    verdict, reason = comparison.conclude()
    if verdict == "inconclusive":
        raise ParityError(f"parity cannot be told, since {reason}", comparison.levels)
    for level in comparison.levels:
        if level.verdict == "different":
            raise ParityError(
                f"the graph is not the eager model; at the level '{level.level}' {level.reason}",
                comparison.levels,
            )
    return comparison.levels


def _create_default_optimizer(model: nn.Module) -> flow.optim.Optimizer:
    return flow.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def _run(name: str, job: Job, steps: int, wanted: Wanted, folder: Path) -> List[Entry]:
    """One run of the comparison; wanted values go to `folder`."""
    observer = Observer(wanted)
    collector = Collector(observer, GRAPH if name.startswith(GRAPH) else EAGER)
    collector.note_initial(job)
    collector.note_eval_forward(job)
    collector.note_first_step(job)
    collector.note_training(job, steps, 0)
    observer.write(folder)
    return observer.take()


def _create_job(model: nn.Module, loss: Any, batch: Batch, make: CreateOptimizer, name: str) -> Job:
    """The job of the run `name`, on copies: an eager step and a graph cannot share a module."""
    criterion = copy.deepcopy(loss) if isinstance(loss, nn.Module) else loss
    objective = Objective(copy.deepcopy(model), criterion)
    feeds = [Feed(lambda: batch, len(batch[0]), [len(batch[0])]) for _ in range(2)]
    if name == REFERENCE:
        objective = objective.to(flow.float64)
        feeds = [feed.cast(flow.float64) for feed in feeds]
    job = Job(
        model=objective.model,
        criterion=criterion,
        objective=objective,
        optimizer=make(objective.model),
        scheduler=None,
        train_feed=feeds[0],
        eval_feed=feeds[1],
    )
    if name in PERTURBED_SEEDS:
        move_weights(job.model, PERTURBED_SEEDS[name])
        move_optimizer(job.optimizer, PERTURBED_SEEDS[name])
    return job
