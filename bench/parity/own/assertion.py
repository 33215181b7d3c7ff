"""`assert_parity`: a parity check of your own model in your own tests.

from oneflow_bench import assert_parity

def test_graph_is_the_same_model():
    assert_parity(MyModel(), nn.CrossEntropyLoss(), (images, labels))
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import oneflow as flow
from oneflow import nn

from ...errors import InputError, WorkerError, WorkerTimeout, describe_type
from ...training_step import TrainingStep
from ...worker.process import WorkerProcess, create_worker_command, describe_exit
from ..causes import (
    ForwardFacts,
    conclude_seeded,
    describe_cause,
    explain,
    explain_draws,
    name_gradient_layer,
)
from ..judge import AGAIN, EAGER, GRAPH, PERTURBED_SEEDS, REFERENCE, Comparison
from ..result import Cause, LevelResult
from ..tensors import SUBSTITUTE_SEED, Entry, Pair, Wanted
from .assertion_worker import FAILED, FIRST_STAGE, STAGE, AssertionSession, RunRequest
from .snapshot import Snapshot, keep_generators, take_snapshot
from .step import CreateOptimizer, take_step

WORKER_MODULE = "oneflow_bench.bench.parity.own.assertion_worker"


class ParityError(AssertionError):
    """The modes differ, one does not repeat itself, or one could not run.

    `levels` has the result of each level; it is empty if a mode could not run. `cause` says why
    the modes differ, as far as the evidence tells.
    """

    def __init__(
        self, message: str, levels: Sequence[LevelResult] = (), cause: Optional[Cause] = None
    ) -> None:
        super().__init__(message)
        self.levels, self.cause = list(levels), cause


def assert_parity(
    model: Union[nn.Module, TrainingStep],
    loss: Optional[Callable[..., Any]] = None,
    batch: Optional[Tuple[Any, ...]] = None,
    steps: int = 6,
    create_optimizer: Optional[CreateOptimizer] = None,
    timeout_s: float = 300.0,
) -> List[LevelResult]:
    """Raise ParityError, naming the first tensor, if `model` as a graph is not the eager model.

    `batch` is (inputs, labels), or (inputs,) for a loss without labels; every step takes it. Both
    are nests of tensors: a tensor, or tuples, lists, dicts and named tuples of nests. The model is
    called with `*inputs` for a tuple, `**inputs` for a dict, and else `inputs` as one argument.
    `loss(outputs, labels)`, or `loss(outputs)` if there are no labels or they are None, gives one
    number as a tensor, or a nest of such, which are added. It may be a module.
    `create_optimizer(model)` gives an optimizer or (optimizer, scheduler), whose scheduler is
    stepped after every update. It defaults to SGD with lr 0.01 and momentum 0.9. A `TrainingStep`
    in place of the model has all of these, and its first batch is taken. Training puts the
    whole model in train mode, and an evaluation puts it in eval mode.

    The levels and the judge are those of `bench check`. The run that resumes from a checkpoint is
    left out for a single step and for a loss with trainable parameters. Copies are trained, in a
    process of their own, so the arguments stay as they are, and an abort of OneFlow ends in a
    ParityError. A run takes at most `timeout_s` seconds. Arguments that cannot be pickled run in
    this process, after a warning. Returns the levels. Raises ValueError for an argument that
    cannot be used.
    """
    if steps < 1:
        raise ValueError(f"steps={steps} was given; a parity check takes at least 1")
    if isinstance(model, TrainingStep):
        if loss is not None or batch is not None:
            raise ValueError(
                "a TrainingStep was given, which has its own loss and batches; leave "
                "loss and batch out"
            )
        model, loss, batch, create_optimizer = take_step(model, create_optimizer)
    if loss is None:
        raise ValueError("no loss was given; give one, or a TrainingStep in place of the model")
    if not isinstance(batch, (tuple, list)) or len(batch) not in (1, 2):
        raise ValueError(
            f"batch is {describe_type(batch)} and a pair is expected; give (inputs, labels), or "
            "(inputs,) for a loss without labels"
        )
    if _holds_array(batch):
        raise ValueError("batch holds a numpy.ndarray and takes tensors; give flow.tensor(array)")
    snapshot = take_snapshot(model, loss, tuple(batch), create_optimizer or create_default)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with _Host(snapshot, folder, steps, timeout_s) as host:
            comparison, pairs = host.compare()
            drawn = find_draws(host.facts[GRAPH])
            if drawn is not None and host.is_apart:
                host.seeds_draws = True  # a fault may hide behind the noise
                comparison, pairs = host.compare()
    return conclude(comparison, pairs, host.facts[EAGER], host.facts[GRAPH], drawn)


def _holds_array(nest: Any) -> bool:
    parts = nest.values() if isinstance(nest, dict) else nest
    is_nest = isinstance(nest, (dict, tuple, list))
    return isinstance(nest, np.ndarray) or (is_nest and any(map(_holds_array, parts)))


def create_default(model: nn.Module) -> flow.optim.Optimizer:
    """The optimizer of a check that is given none."""
    return flow.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def find_draws(graph: ForwardFacts) -> Optional[Cause]:
    """The cause if the graph draws other random numbers; that no bit differs is then luck."""
    return explain_draws(graph.random_ops) if graph.random_ops else None


def conclude(
    comparison: Comparison,
    pairs: Sequence[Pair],
    eager: ForwardFacts,
    graph: ForwardFacts,
    drawn: Optional[Cause],
) -> List[LevelResult]:
    """The levels of a comparison without a difference, else ParityError.

    `pairs` are all tensors. `drawn` is the cause of the noise before the draws were made equal.
    """
    verdict, reason = comparison.conclude()
    different = comparison.first_different
    cause = explain(pairs, different or comparison.unrepeated, eager, graph)
    if different is not None:
        level = next(level for level in comparison.levels if level.first_different is not None)
        reason = f"at the level '{level.level}' {level.reason}"
        layer = name_gradient_layer(different.name, different.kind, eager)
        reason += f"; the modes begin to differ in the backward pass of {layer}" * bool(layer)
    if cause is not None:
        reason += f"; {describe_cause(cause)}"
    if drawn is not None:
        verdict, reason = conclude_seeded(drawn, verdict, reason, graph)
    if verdict in ("different", "inconclusive"):
        opening = {"different": "the graph is not the eager model;"}
        text = opening.get(verdict, "parity cannot be told, since")
        named = cause if different is not None else drawn or cause
        raise ParityError(f"{text} {reason}", comparison.levels, named)
    return comparison.levels


class _Host:
    """Has the runs of a check done by a process of its own, or by this one if that cannot be."""

    def __init__(self, snapshot: Snapshot, folder: Path, steps: int, timeout_s: float) -> None:
        self._snapshot, self._folder = snapshot, folder
        self._steps, self._timeout_s = steps, timeout_s
        self._worker: Optional[WorkerProcess] = None
        self.seeds_draws = False
        self.facts: Dict[str, ForwardFacts] = {}  # by run

    @property
    def is_apart(self) -> bool:
        """Whether the runs have a process of their own."""
        return self._worker is not None

    def compare(self) -> Tuple[Comparison, Sequence[Pair]]:
        """The judged comparison and all pairs; noisy draws are judged by their digests alone."""
        eager, graph = self.run([EAGER, GRAPH], {})
        comparison = Comparison(eager, graph, str(flow.__version__))
        pairs = comparison.pairs
        if self.facts[GRAPH].random_ops:
            comparison.judge()
        else:
            comparison.settle(self.run, self._folder)
        return comparison, pairs

    def __enter__(self) -> _Host:
        reason = self._snapshot.reason or self._start()
        if reason is not None:
            self.__exit__()
            warnings.warn(
                f"assert_parity runs in this process, which an abort of OneFlow would end: {reason}"
                "; keep such an object out of the model, the loss and create_optimizer",
                stacklevel=3,
            )
        return self

    def _start(self) -> Optional[str]:
        """Start the process; the reason if it cannot load the snapshot."""
        path = self._folder / "snapshot.pickle"
        path.write_bytes(self._snapshot.data)
        paths = [os.path.abspath(entry) for entry in sys.path]
        environment = {"GLOG_minloglevel": "2", **os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        command = create_worker_command(sys.executable, WORKER_MODULE)
        log = self._folder / "assert_parity.log"
        self._worker = WorkerProcess("assert_parity", command, environment, log)
        try:
            self._worker.ask("load", self._timeout_s, path=str(path))
        except InputError as error:
            return str(error)
        except WorkerError as error:
            raise self._fail("the process failed in loading the copies", error) from None
        return None

    def __exit__(self, *failure: Any) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker.close()
            self._worker = None

    def run(self, names: Sequence[str], wanted: Wanted) -> List[List[Entry]]:
        """The entries of each run."""
        return [self._run(name, wanted) for name in names]

    def _run(self, name: str, wanted: Wanted) -> List[Entry]:
        request = RunRequest(
            mode=GRAPH if name in (GRAPH, GRAPH + AGAIN) else EAGER,
            steps=self._steps,
            wide=name == REFERENCE,
            seed=PERTURBED_SEEDS.get(name),
            seeded_draws=self.seeds_draws,
            wanted={level: list(names) for level, names in wanted.items()},
            folder=self._folder / name,
        )
        request.folder.mkdir(exist_ok=True)
        (request.folder / STAGE).write_text(FIRST_STAGE)
        answer = self._ask(request)
        if FAILED in answer and request.wide:
            warnings.warn(
                f"the float64 reference cannot run ({answer[FAILED]}), so a run with perturbed "
                "weights takes its place",
                stacklevel=5,
            )
            changes = {"wide": False, "seed": SUBSTITUTE_SEED}
            answer = self._ask(request.model_copy(update=changes))
        if FAILED in answer:
            stage = (request.folder / STAGE).read_text()
            raise ParityError(f"{request.mode} mode failed in {stage}: {answer[FAILED]}")
        self.facts[name] = ForwardFacts.model_validate(answer["forward"])
        return [Entry.model_validate(entry) for entry in answer["entries"]]

    def _ask(self, request: RunRequest) -> Dict[str, Any]:
        try:
            if self._worker is None:
                with keep_generators():
                    return AssertionSession(self._snapshot).run(request)
            return self._worker.ask("run", self._timeout_s, **request.model_dump(mode="json"))
        except InputError as error:
            raise ValueError(str(error)) from None
        except WorkerError as error:
            stage = (request.folder / STAGE).read_text()
            raise self._fail(f"{request.mode} mode failed in {stage}", error) from None

    def _fail(self, stage: str, error: WorkerError) -> ParityError:
        cause = "it raised an error"
        if isinstance(error, WorkerTimeout):
            cause = f"it took longer than timeout_s={self._timeout_s:g}; give more if it needs it"
        elif error.returncode is not None:
            cause = f"OneFlow ended the process: {describe_exit(error.returncode)}"
        tail = f". The last lines of its log:\n{error.log_tail}" if error.log_tail else ""
        return ParityError(f"{stage}: {cause}{tail}")
