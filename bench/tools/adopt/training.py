"""The parts of a training: module, batches, loss, optimizer and schedule, by their names."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Dict, List, Optional, Set, Tuple, Union

from ...errors import InputError
from .names import (
    Definition,
    Import,
    find_base,
    list_assigned,
    list_calls,
    list_read,
    list_receivers,
    list_stored,
)
from .script import WRITE, Line, Note, Straight
from .slices import Slicer

_PARAMETERS = {"parameters", "named_parameters"}


@dataclass(frozen=True)
class Evaluation:
    """An evaluation loop. `lines` and `metrics`, by name, are of a batch of the training."""

    loader: str  # the name of its data
    lines: List[ast.stmt]
    metrics: Dict[str, ast.expr]
    source: Line  # that has it, or calls the function that has it
    lineno: int


@dataclass
class Training:
    """Names of the straight line, and the lines of a step.

    `data` makes the batch of a step and `steps` its loss. `batch` are the names that go from one to
    the other.
    """

    straight: Straight
    slicer: Slicer  # of the lines before the loop
    module: str
    optimizer: Optional[str]
    scheduler: Optional[str]
    is_stepped_by_epoch: bool  # the scheduler
    data: List[Line]
    steps: List[Line]
    batch: List[str]
    evaluation_loader: Optional[str]
    notes: List[Note]
    evaluation: Optional[Evaluation] = None
    parameter_lister: str = ""  # the function that gives parameters as tensors, if one is needed
    step_counter: str = ""  # the function that counts the updates of a pass, if one is needed

    @property
    def loop(self) -> ast.For:
        """The loop over batches."""
        return self.straight.loops[-1]

    @property
    def loader(self) -> Set[str]:
        """The names that the loop over batches and the lines of `data` read from before."""
        read = list_read(self.loop.iter)
        read |= {name for one in self.data for name in list_read(one.node)}
        return read & self.slicer.names()

    @property
    def trained(self) -> Set[Optional[str]]:
        """The names of module, optimizer and scheduler."""
        return {self.module, self.optimizer, self.scheduler}

    def fail(self, where: Union[int, ast.AST], text: str) -> InputError:
        """The error of a line of the script, given by its number or its node."""
        return self.straight.script.fail(where, text)

    def find_making(self, name: Optional[str]) -> Optional[ast.Call]:
        """The call that an object is assigned from, if it is the only one."""
        found = [
            line.node.value
            for line in self.slicer.lines
            if line.assigned == {name} and isinstance(line.node, ast.Assign)
        ]
        return found[0] if len(found) == 1 and isinstance(found[0], ast.Call) else None

    def read_in_loss(self) -> Set[str]:
        """The names that loss and metrics read from before the loop, without the module."""
        parts: List[List[ast.AST]] = [[*(one.node for one in self.steps), self.straight.loss]]
        if self.evaluation is not None:
            parts.append([*self.evaluation.lines, *self.evaluation.metrics.values()])
        found: Set[str] = set()
        for nodes in parts:
            made = {name for one in nodes for name in list_assigned(one)}
            found |= {name for one in nodes for name in list_read(one)} - made
        return (found - set(self.batch) - {self.module}) & self.slicer.names()


def find_training(straight: Straight) -> Training:
    """Raises InputError where there is no module, no batch, or more than one optimizer."""
    depth = len(straight.loops)
    before = [one for one in straight.lines if not one.is_after]
    slicer = Slicer([one for one in before if one.depth < depth])
    body = [one for one in before if one.depth == depth]
    stepped = _list_stepped(straight, slicer)
    schedulers = [name for name in stepped if _is_scheduler(name, slicer, set(stepped))]
    others = [name for name in stepped if name not in schedulers]
    optimizer = _take_one("optimizer", others, stepped, straight)
    scheduler = _take_one("scheduler", schedulers, stepped, straight)
    module = _find_module(straight, slicer, body, optimizer)
    data, steps = _split_body(straight, slicer, body, module, optimizer)
    batch = _list_batch(straight, data, steps)
    return Training(
        straight=straight,
        slicer=slicer,
        module=module,
        optimizer=optimizer,
        scheduler=scheduler,
        is_stepped_by_epoch=scheduler is not None and stepped[scheduler].depth < depth,
        data=data,
        steps=steps,
        batch=batch,
        evaluation_loader=_find_evaluation_loader(straight, slicer),
        notes=_note_optimizer(straight, optimizer, stepped),
    )


def _take_one(
    kind: str, names: List[str], stepped: Dict[str, Line], straight: Straight
) -> Optional[str]:
    if len(names) > 1:
        lines = ", ".join(str(stepped[name].node.lineno) for name in names)
        raise InputError(
            f"{straight.script.path}: {' and '.join(names)} are stepped in lines {lines} and one "
            f"{kind} is expected; put their parameters into groups of one, or {WRITE}"
        )
    return names[0] if names else None


def _note_optimizer(
    straight: Straight, optimizer: Optional[str], stepped: Dict[str, Line]
) -> List[Note]:
    if optimizer is None:
        text = (
            "no optimizer.step() was found after this backward pass; write "
            "create_optimizer(model), or give --optimizer and --lr"
        )
        return [(straight.lineno, text)]
    node = stepped[optimizer].node
    text = (
        "the optimizer steps under a condition, and a TrainingStep updates with each batch; "
        "to accumulate gradients make the batches larger, leave the division of the loss out "
        "and give --accumulation-steps"
    )
    return [(node.lineno, text)] if isinstance(node, ast.If) else []


def _list_stepped(straight: Straight, slicer: Slicer) -> Dict[str, Line]:
    """The names whose `step` is called in a loop, with the line of the call."""
    found: Dict[str, Line] = {}
    for line in straight.lines:
        for receiver in list_receivers(line.node, {"step"}) if line.depth else ():
            if isinstance(receiver, ast.Name) and receiver.id in slicer.names():
                found.setdefault(receiver.id, line)
    return found


def _is_scheduler(name: str, slicer: Slicer, stepped: Set[str]) -> bool:
    for line in slicer.lines:
        node = line.node
        if name in line.assigned and isinstance(node, (ast.Assign, ast.AnnAssign)):
            head = ast.unparse(node.value.func) if isinstance(node.value, ast.Call) else ""
            if "lr_scheduler" in head or head.endswith("LR"):
                return True
            if len(line.assigned) == 1 and line.read & (stepped - {name}):
                return True
    return "sched" in name.lower()


def _find_module(
    straight: Straight, slicer: Slicer, body: List[Line], optimizer: Optional[str]
) -> str:
    """The name of the module that is trained."""
    called = [name for one in body for name in list_called(one.node)]
    called += list_called(straight.loss)
    inside = {name for line in slicer.collect(called) for name in line.read}
    reachable = {*called, *inside, *(n for one in body for n in list_read(one.node))}
    found: Set[str] = set()
    for line in slicer.collect([optimizer]) if optimizer else []:
        for receiver in list_receivers(line.node, _PARAMETERS):
            found |= find_base(receiver)
    made = slicer.names() - {
        name
        for line in slicer.lines
        if isinstance(line.node, (*Import, *Definition))
        for name in line.assigned
    }
    found &= made & reachable
    if not found and optimizer is not None:  # made by a function, such as build(model)
        direct = {name for one in slicer.lines if optimizer in one.assigned for name in one.read}
        found = direct & set(called) & made
    if not found:
        found = set([name for name in called if name in made][:1])
    if not found:
        raise straight.script.fail(
            straight.lineno,
            "the module that is trained was not found; assign it before the loop, such as model = "
            "Net(), and call it in the loop",
        )
    if len(found) > 1:
        raise straight.script.fail(
            straight.lineno,
            f"{' and '.join(sorted(found))} are trained together and one module is expected; make "
            "them parts of one nn.Module",
        )
    return found.pop()


def list_called(node: ast.AST) -> List[str]:
    """The names of the functions and objects that a node calls."""
    functions = [one.func for one in list_calls(node)]
    return [one.id for one in functions if isinstance(one, ast.Name)]


def _split_body(
    straight: Straight,
    slicer: Slicer,
    body: List[Line],
    module: str,
    optimizer: Optional[str],
) -> Tuple[List[Line], List[Line]]:
    """The needed lines of the loop that need no module, and those that do."""
    wanted = list_read(straight.loss)
    needed: Set[Line] = set()
    while True:
        more = {
            one
            for one in body
            if list_assigned(one.node) & wanted
            or slicer.list_touched(one.node) & (wanted - {module, optimizer})
        }
        if more <= needed:
            break
        needed |= more
        wanted |= {name for one in more for name in list_read(one.node)}
    dependent = slicer.follow(module)
    data, steps = [], []
    for one in [one for one in body if one in needed]:
        if list_read(one.node) & dependent:
            dependent |= list_assigned(one.node) | slicer.list_touched(one.node)
            steps.append(one)
        else:
            data.append(one)
    return data, steps


def _list_batch(straight: Straight, data: List[Line], steps: List[Line]) -> List[str]:
    """The names that a step reads and the loop or its data lines give, in their order."""
    loop = straight.loops[-1]
    given = [loop.target, *(one.node for one in data)]
    names = [name for node in given for name in list_stored(node)]
    read = {name for one in steps for name in list_read(one.node)} | list_read(straight.loss)
    batch = [name for name in dict.fromkeys(names) if name in read]
    if not batch:
        raise straight.script.fail(
            straight.lineno,
            "the loss reads nothing that the loop over batches gives; take the batch in the loop, "
            "such as `for images, labels in loader:`",
        )
    return batch


def _find_evaluation_loader(straight: Straight, slicer: Slicer) -> Optional[str]:
    """A name made by the same function as the training's loader, and called as for evaluation."""
    loop = straight.loops[-1]
    ours = list_read(loop.iter)
    makers: Dict[str, str] = {}
    for line in slicer.lines:
        node = line.node
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            for name in list_assigned(node):
                makers[name] = ast.unparse(node.value.func)
    kinds = {makers[name] for name in ours if name in makers}
    others = [name for name, maker in makers.items() if maker in kinds and name not in ours]
    words = ("val", "test", "eval", "dev")
    return next((one for one in others if any(word in one.lower() for word in words)), None)
