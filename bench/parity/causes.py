"""Causes in words: why the modes of one model differ.

The evidence is of two kinds: facts that a worker notes beside tensors (`ForwardFacts`), and the
tensors themselves. A cause that no evidence supports is not given.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from pydantic import BaseModel, ConfigDict

from ..config import Contender
from ..errors import BenchError, InputError, WorkerError
from . import result as levels
from .result import REQUIRES_GRADIENT, Cause, ModelCheck, TensorDifference, Verdict
from .tensors import EAGER, GRAPH, ContenderPair, Entry, Pair, split_name

RANDOM = "random operator"
DEPARTED = 0.25  # chosen
_STATE_LEVELS = (levels.FIRST_UPDATE, levels.TRAINED)


class ForwardFacts(BaseModel):
    """What the forward passes of one side did beside operators. Of eager mode unless said."""

    model_config = ConfigDict(extra="ignore")

    output_users: Dict[str, str] = {}  # output -> the module that takes it
    changed_attributes: Dict[str, List[str]] = {}  # by path: values, the first before a forward
    changed_values: Dict[str, List[str]] = {}  # of variables that forward or the loss reads
    changed_options: Dict[str, List[str]] = {}  # of the optimizer's groups, by no scheduler
    host_draws: List[str] = []  # modules of Python whose generator a forward drew from
    hooked_modules: List[str] = []  # with hooks of the user
    changes_input: bool = False
    random_ops: List[Tuple[str, str]] = []  # of the graph: module, operator; unlike eager's draws


def find_obstacle(baseline: Contender, contender: Contender) -> Optional[str]:
    """The reason why the judge cannot run two contenders, as a sentence part; None if it can."""
    for one in (baseline, contender):
        if one.mode not in (EAGER, GRAPH):
            return (
                f"{one.name} trains in the mode '{one.mode}', and only eager and graph are judged"
            )
        if one.ranks > 1:
            return f"{one.name} trains in several processes"
    if baseline.python != contender.python:
        return "the contenders run on two interpreters, whose OneFlow draw other initial weights"
    return None


def find_departure(ours: Sequence[Optional[float]], theirs: Sequence[Optional[float]]) -> int:
    """The first step, from 1, whose losses differ by too much to be left to amplified rounding.

    That is DEPARTED of the largest of `ours`. 0 if there is none. A loss of None is not finite.
    """
    largest = max((abs(a) for a in ours if a is not None), default=0.0)
    steps = enumerate(zip(ours, theirs), start=1)
    finite = ((step, abs(a - b)) for step, (a, b) in steps if a is not None and b is not None)
    return next((step for step, apart in finite if apart > DEPARTED * largest), 0)


def explain(
    pairs: Sequence[Pair],
    first: Union[TensorDifference, Entry, None],
    eager: ForwardFacts,
    graph: ForwardFacts,
) -> Optional[Cause]:
    """The cause of a difference, or of a mode that does not repeat itself, beginning with `first`.

    None if no evidence tells it. Other random draws and frozen values are a cause without a `first`
    too, since the judged steps are not all. `pairs` are all tensors of both modes. Raises
    InputError for the batches of a `TrainingStep` that depend on more than their seed.
    """
    if first is not None and first.level == levels.INITIAL_WEIGHTS:
        return None
    if first is not None and first.level == levels.BATCHES:
        if first.kind == levels.INPUTS and not eager.changes_input:
            raise InputError(
                f"create_batches gives other batches for the same seed ({first.name} differs "
                "between two runs); draw all numbers from a generator of its own, such as "
                "numpy.random.default_rng(seed)"
            )
        return _changed_input() if eager.changes_input else None
    if graph.random_ops:
        return explain_draws(graph.random_ops)
    if first is None:
        return explain_frozen(eager)
    hooked = [name for name in eager.hooked_modules if _may_cause(name, first, pairs)]
    assigned = list_assigned(pairs)
    if hooked:
        return Cause(
            kind="hooks",
            sentence=f"forward hooks of {_list(hooked)} do not run in a graph",
            remedy="call the hook's code in the module's forward",
        )
    if assigned:
        return Cause(
            kind="assigned in forward",
            sentence=f"forward changes {_list(assigned)}; a graph does not keep that",
            remedy="return the new value from forward and assign it outside of the graph",
        )
    if first.kind == REQUIRES_GRADIENT:
        return Cause(
            kind="gradient stopped",
            sentence=f"{first.name} cuts its output off from the backward pass in one mode alone",
            remedy="look for detach() and no_grad() in it",
        )
    return explain_frozen(eager)


def conclude_seeded(
    cause: Cause, verdict: Verdict, reason: str, graph: ForwardFacts
) -> Tuple[Verdict, str]:
    """Verdict and reason of a model whose draws differ, given those with equal draws in both modes.

    Never a pass, since the draws themselves were not compared. `graph` has the draws that could not
    be made equal.
    """
    drawn = describe_cause(cause)
    if graph.random_ops:
        kept = _list([f"{op} in {module}" for module, op in graph.random_ops])
        told = f"no equal numbers could be given to {kept}, so nothing else is told"
        return "inconclusive", f"{drawn}; {told}"
    if verdict == "different":
        return verdict, f"with equal draws in both modes, {reason}; besides, {drawn}"
    return "inconclusive", f"{drawn}; with equal draws in both modes, {verdict}: {reason}"


def describe_cause(cause: Cause) -> str:
    """Sentence and remedy, without a full stop."""
    return f"{cause.sentence}. Remedy: {cause.remedy}"


def explain_draws(random_ops: Sequence[Tuple[str, str]]) -> Cause:
    """The cause of other random numbers."""
    places = _list(list(dict.fromkeys(f"{op} in {module}" for module, op in random_ops)))
    return Cause(
        kind=RANDOM,
        sentence=f"random operator: the modes draw different numbers ({places})",
        remedy="to compare all else, set the probability to 0 (--dropout 0), or use one nn.Dropout "
        "for each call, which draws alike in both modes",
    )


def describe_infinite(pairs: Sequence[Pair]) -> Optional[str]:
    """The first step whose loss is not finite in both modes, in a sentence; None if all are."""
    curve = (p for p in pairs if p.eager.level == levels.LOSS_CURVE)
    first = next((p.eager.name for p in curve if not p.eager.finite and not p.graph.finite), None)
    if first is None:
        return None
    return f"{tell_infinite(first.split()[-1])}, and a fault may hide behind it"


def tell_infinite(step: Union[int, str]) -> str:
    """From which step on losses tell nothing."""
    return f"the loss is not finite from step {step} on"


def explain_frozen(eager: ForwardFacts) -> Optional[Cause]:
    """The cause of a value that Python gave once, when the graph was traced."""
    if eager.host_draws:
        return Cause(
            kind="frozen at trace time",
            sentence=f"forward draws from {_list(eager.host_draws)}; a graph keeps the numbers "
            "that were drawn when it was traced",
            remedy="draw outside of the graph and pass the numbers as an input",
        )
    told = []
    if eager.changed_attributes:
        told.append(f"forward changes {_list_changes(eager.changed_attributes)}")
    if eager.changed_values:
        changes = _list_changes(eager.changed_values)
        told.append(f"forward or the loss reads {changes}, which changes")
    remedies = ["pass the value as an input tensor"] if told else []
    if eager.changed_options:
        told.append(f"a step changes {_list_changes(eager.changed_options)}")
        remedies.append("change a rate by a scheduler, which create_optimizer returns")
    if told:
        remedies.append("compile a graph for each value")
        return Cause(
            kind="frozen at trace time",
            sentence=f"{' and '.join(told)}; a graph keeps the value that it was traced with",
            remedy=", or ".join(remedies),
        )
    return None


def _changed_input() -> Cause:
    return Cause(
        kind="input changed",
        sentence="forward works in place on its input, and changes the batch in eager mode",
        remedy="work on a copy, such as images.clone(), or use the operator without underscore",
    )


def list_assigned(pairs: Sequence[Pair]) -> List[str]:
    """Buffers and tensor attributes that eager mode changed and the graph left as they were."""
    at_start = [p.eager for p in pairs if p.eager.level == levels.INITIAL_WEIGHTS]
    initial = {entry.name: entry.digest for entry in at_start}
    found = (
        pair.eager.name
        for pair in pairs
        if pair.eager.level in _STATE_LEVELS
        and pair.eager.kind in ("buffer", "attribute")
        and not pair.eager.name.endswith("num_batches_tracked")
        and not pair.is_identical
        and pair.graph.digest == initial.get(pair.eager.name)
    )
    return list(dict.fromkeys(found))


def _may_cause(module: str, first: Union[TensorDifference, Entry], pairs: Sequence[Pair]) -> bool:
    """Whether a hook on a module acts before the first difference: its own output was equal."""
    ended = [split_name(p.eager.name)[0] for p in pairs if p.eager.level == levels.FORWARD]
    name = split_name(first.name)[0]
    if first.level not in (levels.FORWARD, levels.EVAL_FORWARD) or name not in ended:
        return True
    return module in ended and ended.index(module) <= ended.index(name)


def name_gradient_layer(name: str, kind: str, eager: ForwardFacts) -> Optional[str]:
    """The module in whose backward pass gradients part; None for a tensor that is no such gradient.

    A module whose output has a gradient in one mode alone is the one that detaches it. An output's
    gradient comes from the module that takes the output.
    """
    if kind == REQUIRES_GRADIENT:
        return name
    return eager.output_users.get(name[: -len(levels.OUTPUT_GRADIENT) - 1])


def _list_changes(changed: Mapping[str, List[str]]) -> str:
    return _list([f"{name} ({' -> '.join(values[:3])})" for name, values in changed.items()])


def _list(names: Sequence[str], most: int = 3) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


class DepartedError(BenchError):
    """A run from a late start did not go on as the training that it was to repeat."""


def check_start(pair: ContenderPair, facts: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise DepartedError if a side's losses are not those that the training had from there on.

    Then the training has state that is in no checkpoint, such as the generator of a dropout or a
    counter of Python. `facts` has the `losses` of both sides.
    """
    if pair.start is None:
        return
    for side in (EAGER, GRAPH):
        found = list(facts[side]["losses"])
        if found != list(pair.start.losses[side][: len(found)]):
            mode, step = pair.sides.describe(side), pair.start.step
            raise DepartedError(
                f"{mode} did not repeat its losses from the checkpoint of step {step} on"
            )


def describe_substitute(error: Optional[str]) -> str:
    """What took the place of a float64 reference that failed, and the remedy; "" if none did."""
    if error is None:
        return ""
    return (
        f"; the float64 reference failed, so a float32 run with perturbed weights took its place: "
        f"{error}. Remedy: give dtype=x.dtype to a constant that forward or the loss makes"
    )


def describe_failure(pair: ContenderPair, error: Exception) -> ModelCheck:
    """The result of a check that an error ended."""
    tail = error.log_tail if isinstance(error, WorkerError) else ""
    return ModelCheck(
        model=pair.workload.model,
        baseline=pair.baseline.name,
        contender=pair.contender.name,
        workload=pair.workload,
        steps=pair.steps,
        verdict="inconclusive",
        reason="the check did not finish",
        reproducible=None,
        error=f"{error}\n{tail}".rstrip(),
        unusable=isinstance(error, InputError),
    )
