"""`assert_loop_parity`: the same judge for your own eager loop and your own graph.

docs/own-tests.md has an example.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from ...errors import describe_type
from ...training.losses import mean_loss
from ...training.oneflow_compat import list_unshared_draws
from ...training.optimizers import capture_eager_state, capture_graph_state
from .. import result as levels
from ..causes import ForwardFacts
from ..difference import move_optimizer, move_weights
from ..isolated_layer import list_tensors
from ..judge import AGAIN, EAGER, GRAPH, PERTURBED_SEEDS, REFERENCE, Comparison
from ..observe import Collector
from ..result import LevelResult
from ..tensors import SUBSTITUTE_SEED, Entry, Observer, Wanted
from .assertion import conclude, find_draws


@dataclass
class Loop:
    """A training loop that has not taken a step.

    `step(number)`, with numbers from 0, takes one training step and returns its loss, as a tensor
    with one number or, of a split batch, one for each part. `optimizer` trains the parameters of
    `model`. `graph` is the graph that trains, None in eager mode. `evaluate()`, called after the
    last step, returns a tensor or a nest of tensors, such as a batch's outputs in eval mode.
    """

    step: Callable[[int], flow.Tensor]
    model: nn.Module
    optimizer: flow.optim.Optimizer
    graph: Optional[nn.Graph] = None
    evaluate: Optional[Callable[[], Any]] = None


def assert_loop_parity(
    create_eager: Callable[[], Loop], create_graph: Callable[[], Loop], steps: int = 5
) -> List[LevelResult]:
    """Raise ParityError, naming the first tensor, if two training loops do not do the same.

    Each call of `create_eager` and of `create_graph` gives a fresh loop, with the same weights,
    batches and seeds each time. Compared are the losses of `steps` steps, parameters, buffers and
    the optimizer's state after each step, and what the loops evaluate.

    If a bit differs, both loops are run again, which shows whether they repeat themselves. A loop
    has no float64 run. So three eager runs follow whose weights are moved to neighbouring float32
    values, and whose updates are moved by the rounding of Adam's bias correction and of clipping.
    The first takes the place of the reference, and the others are the perturbed runs of
    `bench check`. A difference passes if it is as small as that of these runs. Everything runs in
    this process. Returns the levels. Raises ValueError for arguments that cannot be used.
    """
    if steps < 1:
        raise ValueError(f"steps={steps} was given; a comparison of loops takes at least 1")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def run(names: Sequence[str], wanted: Wanted) -> List[List[Entry]]:
            loops = ((name, create[name]()) for name in names)
            return [_run(name, loop, steps, wanted, folder / name, draws) for name, loop in loops]

        graphs = dict.fromkeys((GRAPH, GRAPH + AGAIN), create_graph)
        eagers = (EAGER, EAGER + AGAIN, REFERENCE, *PERTURBED_SEEDS)
        create = {**dict.fromkeys(eagers, create_eager), **graphs}
        draws: List[Tuple[str, str]] = []
        eager, graph = run([EAGER, GRAPH], {})
        comparison = Comparison(eager, graph, str(flow.__version__))
        pairs, facts = comparison.pairs, ForwardFacts(random_ops=list(dict.fromkeys(draws)))
        comparison.settle(run, folder)
    drawn = find_draws(facts)
    return conclude(comparison, pairs, ForwardFacts(), facts, drawn)


def _run(
    name: str,
    loop: Loop,
    steps: int,
    wanted: Wanted,
    folder: Path,
    draws: List[Tuple[str, str]],
) -> List[Entry]:
    """The entries of one run; wanted values go to `folder`, a graph's noisy draws to `draws`."""
    seed = {**PERTURBED_SEEDS, REFERENCE: SUBSTITUTE_SEED}.get(name)
    if seed is not None:
        move_weights(loop.model, seed)
        move_optimizer(loop.optimizer, seed)
    observer = Observer(wanted)
    collector = Collector(observer, EAGER if loop.graph is None else GRAPH)
    collector.note_state(levels.INITIAL_WEIGHTS, loop.model, {})
    for number in range(steps):
        loss = loop.step(number)
        if not isinstance(loss, flow.Tensor):
            raise ValueError(
                f"a loop's step gave {describe_type(loss)} and its loss is expected; return the "
                "loss as a tensor"
            )
        collector.losses.append(mean_loss(loss))
        level = levels.TRAINED if number else levels.FIRST_UPDATE
        prefix = f"step {number + 1} " if number else ""
        collector.note_state(level, loop.model, _capture_optimizer(loop), prefix)
    observer.add(levels.LOSS, "loss", "loss", np.array(collector.losses[0]))
    collector.note_losses(levels.LOSS_CURVE, collector.losses)
    for suffix, tensor in list_tensors(loop.evaluate() if loop.evaluate else None):
        value = np.array(tensor.numpy())
        observer.add(levels.VALIDATION, f"evaluation{suffix}", "evaluation", value)
    if loop.graph is not None:
        prefix = _find_prefix(loop.graph, loop.model)
        draws += list_unshared_draws(loop.graph, loop.model, prefix)
    observer.write(folder)
    return observer.take()


def _capture_optimizer(loop: Loop) -> Dict[str, np.ndarray]:
    if loop.graph is None:
        return capture_eager_state(loop.optimizer, loop.model)
    return capture_graph_state(loop.graph, _find_prefix(loop.graph, loop.model))


def _find_prefix(graph: nn.Graph, model: nn.Module) -> str:
    """The text before the names of the model's parameters in the graph's state."""
    names = [name for name, _ in model.named_parameters()]
    parts = [(block, part) for block, part in graph.state_dict().items() if isinstance(part, dict)]
    state = [f"{block}.{key}" for block, part in parts for key in part]
    first = next(iter(names), "")
    prefixes = [key[: -len(first)] for key in state if first and key.endswith(first)]
    for prefix in sorted(prefixes, key=len):
        if all(f"{prefix}{name}" in state for name in names):
            return prefix
    raise ValueError(
        "the graph of a loop does not hold the parameters of its model by their names; give the "
        "module that is an attribute of the graph"
    )
