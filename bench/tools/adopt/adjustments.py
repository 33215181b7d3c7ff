"""Optimizer, schedule and parameters as a `TrainingStep` takes them, and as both modes run them."""

from __future__ import annotations

import ast
from typing import List, Optional, Sequence, Set

from .names import last_name, list_calls
from .script import NEW, Line, Note, Straight
from .training import Training, list_called

# the argument of a scheduler that counts its steps: place and name
_COUNTS = {
    "StepLR": (1, "step_size"),
    "MultiStepLR": (1, "milestones"),
    "CosineAnnealingLR": (1, "T_max"),
    "CosineDecayLR": (1, "decay_steps"),
    "LinearLR": (3, "total_iters"),
    "ConstantLR": (2, "total_iters"),
    "PolynomialLR": (1, "decay_batch"),
}
_METHODS = {"parameters": "values", "named_parameters": "items"}
_NOT_IN_GRAPH = ("LambdaLR", "ReduceLROnPlateau", "ChainedScheduler")
STEPS_PER_EPOCH = "steps_per_epoch"


def adjust_optimizer(training: Training) -> List[Note]:
    """Rewrite clipping and a schedule by epochs; notes of what was done and could not be done."""
    text = (
        "a graph does not see a rate that is set in param_groups; make a scheduler of "
        "oneflow.optim.lr_scheduler in create_optimizer"
    )
    straight = training.straight
    notes: List[Note] = [(one, text) for one in sorted(list_rates(straight, straight.lines))]
    for line in straight.lines:
        for call in list_calls(line.node) if line.depth == len(straight.loops) else ():
            name = last_name(call.func)
            if name in ("clip_grad_norm_", "clip_grad_value_"):
                notes.append((call.lineno, _clip(training, call, name)))
    if training.scheduler is not None:
        notes += _adjust_schedule(training, training.scheduler)
    return notes


def list_rates(straight: Straight, lines: Sequence[Line]) -> Set[int]:
    """The lines of the script that set a rate in `param_groups`, of those here that are in loops.

    Those in the functions that they call count too.
    """
    nodes: List[ast.AST] = [one.node for one in lines if one.depth]
    functions = {
        one.node.name: one.node for one in straight.lines if isinstance(one.node, ast.FunctionDef)
    }
    for node in nodes:  # grows by the functions that are called
        names = list_called(node)
        nodes += [functions[name] for name in names if functions.get(name, node) not in nodes]
    return {
        one.lineno
        for node in nodes
        if "param_groups" in ast.unparse(node)
        for one in ast.walk(node)
        if isinstance(one, ast.Subscript)
        and isinstance(one.ctx, ast.Store)
        and isinstance(one.slice, ast.Constant)
        and one.slice.value == "lr"
    }


def _clip(training: Training, call: ast.Call, name: str) -> str:
    made = training.find_making(training.optimizer)
    whole = f"{training.module}.parameters()"
    words = {one.arg: one.value for one in call.keywords}
    parameters = made.args[0] if made is not None and made.args else None
    if name == "clip_grad_value_" or parameters is None or ast.unparse(parameters) != whole:
        return (
            f"{name} does nothing in a graph and is left out; give the parameter groups of the "
            "optimizer clip_grad_max_norm and clip_grad_norm_type in create_optimizer"
        )
    assert made is not None
    largest = call.args[1] if len(call.args) > 1 else words.get("max_norm", ast.Constant(1.0))
    kind = call.args[2] if len(call.args) > 2 else words.get("norm_type", ast.Constant(2.0))
    group = {"params": parameters, "clip_grad_max_norm": largest, "clip_grad_norm_type": kind}
    keys: List[Optional[ast.expr]] = [ast.Constant(one) for one in group]
    made.args[0] = ast.List([ast.Dict(keys, list(group.values()))], ast.Load())
    training.slicer.refresh()
    return "clip_grad_norm_ does nothing in a graph; the optimizer's parameter group clips instead"


def _adjust_schedule(training: Training, name: str) -> List[Note]:
    made = training.find_making(name)
    kind = last_name(made.func) if made is not None else ""
    line = made.lineno if made is not None else training.straight.lineno
    if made is None or kind in _NOT_IN_GRAPH:
        training.scheduler = None
        text = (
            f"the scheduler {kind or name} is left out, because a graph cannot run it or it was "
            "not understood; return another of oneflow.optim.lr_scheduler in create_optimizer"
        )
        return [(line, text)]
    if not training.is_stepped_by_epoch:
        return []
    is_stepped = f"{kind} is stepped once an epoch and a graph steps it at every update"
    place, word = _COUNTS.get(kind, (0, ""))
    exponential = kind == "ExponentialLR" and isinstance(made.func, ast.Attribute)
    if not (word or exponential):
        training.scheduler = None
        text = "it is left out: count its steps in updates and return it in create_optimizer"
        return [(line, f"{is_stepped}; {text}")]
    if kind == "ExponentialLR":  # the same as a StepLR of one epoch
        assert isinstance(made.func, ast.Attribute)
        made.func.attr = "StepLR"
        made.keywords.insert(0, ast.keyword("step_size", ast.Constant(1)))
        if len(made.args) > 1:
            made.keywords.append(ast.keyword("gamma", made.args.pop()))
        word = "step_size"
    _multiply(made, place, word)
    _count_before(training, name)
    return [(line, f"{is_stepped}; {word} is multiplied by the updates of a pass")]


def _multiply(call: ast.Call, place: int, word: str) -> None:
    factor = ast.Name(STEPS_PER_EPOCH, ast.Load())

    def times(value: ast.expr) -> ast.expr:
        if word == "milestones":
            text = f"[{STEPS_PER_EPOCH} * milestone for milestone in {ast.unparse(value)}]"
            return ast.parse(text, mode="eval").body
        is_one = isinstance(value, ast.Constant) and value.value == 1
        return factor if is_one else ast.BinOp(value, ast.Mult(), factor)

    if word and place and len(call.args) > place:
        call.args[place] = times(call.args[place])
    for one in call.keywords:
        if one.arg == word:
            one.value = times(one.value)


def find_source(training: Training) -> ast.expr:
    """What the loop over batches goes over, without a counter."""
    source = training.loop.iter
    is_counted = isinstance(source, ast.Call) and ast.unparse(source.func) == "enumerate"
    return source.args[0] if is_counted else source  # type: ignore[attr-defined]


def note_shapes(training: Training) -> List[Note]:
    """A note that batches of another shape are dropped, unless the loaders surely give none."""
    found = [find_source(training)]
    if training.evaluation_loader is not None:
        found.append(ast.Name(training.evaluation_loader, ast.Load()))
    calls = [training.find_making(one.id) for one in found if isinstance(one, ast.Name)]
    words = [(one.arg, ast.unparse(one.value)) for call in calls if call for one in call.keywords]
    if words.count(("drop_last", "True")) == len(found) and "collate_fn" not in dict(words):
        return []
    text = (
        "batches of another shape than the first, such as a smaller last one, are left out; a "
        "graph is compiled for one shape"
    )
    return [(training.loop.lineno, text)]


def _count_before(training: Training, name: str) -> None:
    """Add the line that counts the steps of an epoch, before the scheduler is made."""
    lines = training.slicer.lines
    number = next(n for n, line in enumerate(lines) if name in line.assigned)
    taken = training.slicer.names() | set(training.batch)
    training.step_counter = "count_steps" if "count_steps" not in taken else "count_steps_of_step"
    counter = ast.Name(training.step_counter, ast.Load())
    call = ast.Call(counter, [find_source(training)], [])
    target = ast.Name(STEPS_PER_EPOCH, ast.Store())
    node = ast.copy_location(ast.Assign([target], call), lines[number].node)
    lines.insert(number, Line(node, NEW, 0, False, False))
    training.slicer.refresh()


def replace_parameters(training: Training) -> List[Note]:
    """Let the loss and the metrics call `training.parameter_lister`, and set its name.

    In a graph `parameters()` gives stand-ins that take no arithmetic. The written files list
    tensors.
    """
    slicer = training.slicer
    name = "list_parameters"
    change = _Lister(name if name not in slicer.names() else f"{name}_of_step")
    made = slicer.collect(training.read_in_loss(), stop=[training.module])
    for line in [*training.steps, *(one for one in made if isinstance(one.node, ast.FunctionDef))]:
        line.node = change.visit(line.node)
    training.straight.loss = change.visit(training.straight.loss)
    if not change.linenos:
        return []
    training.parameter_lister = change.name
    slicer.refresh()
    text = f"parameters() gives stand-ins in a graph, so {change.name}() gives their tensors"
    return [(number, text) for number in sorted(set(change.linenos))]


class _Lister(ast.NodeTransformer):
    """`m.parameters()` becomes `list_parameters(m).values()`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.linenos: List[int] = []

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        func = node.func
        if not isinstance(func, ast.Attribute) or func.attr not in _METHODS or node.args:
            return node
        self.linenos.append(node.lineno)
        listed = ast.Call(ast.Name(self.name, ast.Load()), [func.value], [])
        method = ast.Attribute(listed, _METHODS[func.attr], ast.Load())
        return ast.copy_location(ast.Call(method, [], []), node)
