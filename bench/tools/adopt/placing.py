"""The place of each needed line: in a function of the written file, at its top, or imported."""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass
from typing import Dict, List, Sequence, Set

from .claims.streams import find_streams
from .names import Definition, Import, last_name, list_calls, list_read, walk_scope
from .script import Line, Note
from .training import Training

Parts = Dict[str, List[Line]]  # the lines that each function of a written file needs
_SAFE_CALLS = ("logging.getLogger", "Path", "pathlib.Path", "os.environ.get", "os.getenv")


@dataclass
class Places:
    """Lines before the loop over batches, in their order.

    `top` stand at the top of the written file. `imported` are names of the script itself. The
    others are inside one function each.
    """

    top: List[Line]
    imported: List[str]
    module: List[Line]
    optimizer: List[Line]
    batches: List[Line]
    evaluation: List[Line]
    loss: List[Line]
    has_seed: bool  # the script's own, at the top
    notes: List[Note]

    @property
    def copied(self) -> Set[Line]:
        """All lines that a written file copies."""
        inside = (self.module, self.optimizer, self.batches, self.evaluation, self.loss)
        return {*self.top, *(line for lines in inside for line in lines)}


def place_lines(training: Training, epochs: Set[str]) -> Places:
    """`epochs` are the names that the loop over epochs reads.

    Raises InputError for a loss that is made of the module outside the step, and for a module and
    an optimizer that are made together.
    """
    slicer, module = training.slicer, training.module
    steered = {name for name in (training.optimizer, training.scheduler) if name}
    foreign = {*steered, *_find_loaders(training)}
    _refuse_made_together(training)
    parts: Parts = {
        "module": slicer.collect([module], foreign=foreign),
        "optimizer": slicer.collect(steered, stop=[module], foreign=[module]),
        "batches": slicer.collect(training.loader, stop=[module]),
        "evaluation": slicer.collect(
            [training.evaluation_loader] if training.evaluation_loader else [], stop=[module]
        ),
        "loss": slicer.collect(training.read_in_loss(), stop=[module]),
    }
    dependent = slicer.follow(module) - {module}
    _refuse_made_of_module(training, parts["loss"], dependent)
    seeds = _find_seeds(training)
    kept_once = [*slicer.collect(epochs, stop=[module]), *_find_data_made_once(training, parts)]
    top = _choose_top(training, parts, [*kept_once, *seeds], dependent)
    inside = {part: [one for one in lines if one not in top] for part, lines in parts.items()}
    nodes: List[ast.AST] = [one.node for one in (*training.data, *training.steps)]
    nodes += [*training.straight.loops[-2:], training.straight.loss]
    nodes += [line.node for lines in inside.values() for line in lines]
    read = {name for one in nodes for name in list_read(one)}
    names = set(_find_importable(training, top))
    read |= {name for line in seeds for name in line.read}
    read |= {name for name in [training.evaluation_loader] if name}
    kept = top & {*seeds, *slicer.collect(read, stop={module, *names})}
    read |= {name for line in kept for name in line.read}
    text = (
        "this is left out, because it uses the module together with the optimizer or the data; "
        "give weights by --load-checkpoint, or write it into create_module"
    )
    notes = [(line.node.lineno, text) for line in slicer.list_left_out({module}, foreign)]
    imported = sorted(names & read)
    return Places(slicer.sort(kept), imported, has_seed=bool(seeds), notes=notes, **inside)


def _find_seeds(training: Training) -> List[Line]:
    """The lines before the loops that begin the random numbers."""
    found = []
    for line in training.slicer.lines:
        calls = [one.value for one in walk_scope(line.node) if isinstance(one, ast.Expr)]
        names = [last_name(one.func) for one in calls if isinstance(one, ast.Call)]
        if line.depth == 0 and names and all("seed" in one for one in names):
            found.append(line)
    return found


def _find_data_made_once(training: Training, parts: Parts) -> List[Line]:
    """The lines before the loops that make data, without the streams that a pass uses up."""
    lines, streams = (*parts["batches"], *parts["evaluation"]), find_streams(training)
    return [line for line in lines if line.depth == 0 and line not in streams]


def _choose_top(
    training: Training, parts: Parts, kept_once: List[Line], dependent: Set[str]
) -> Set[Line]:
    """The lines at the top: definitions, what several parts need, and what the loss needs.

    A line that is made of the module (`dependent`) stays inside the functions that get one.
    """
    needed = [line for lines in parts.values() for line in lines]
    inside = {line for line in needed if line.assigned & dependent}
    top = {
        line
        for line in needed
        if needed.count(line) > 1 or isinstance(line.node, (*Import, *Definition))
    }
    return _close(training, {*top, *parts["loss"], *kept_once} - inside, inside)


def _find_loaders(training: Training) -> Set[str]:
    made = {
        name
        for line in training.slicer.lines
        if not isinstance(line.node, (*Import, *Definition))
        for name in line.assigned
    }
    return {*(training.loader & made), *filter(None, [training.evaluation_loader])}


def _refuse_made_together(training: Training) -> None:
    for line in training.slicer.lines:
        if {training.module, training.optimizer} <= line.assigned:
            raise training.fail(
                line.node,
                f"{training.module} and {training.optimizer} are made together; make each in a "
                "line of its own",
            )


def _refuse_made_of_module(training: Training, loss: Sequence[Line], dependent: Set[str]) -> None:
    for line in loss:
        made = line.assigned & dependent
        if made and not isinstance(line.node, Definition):
            raise training.fail(
                line.node,
                f"{min(made)} is made of the module outside the step and the loss reads it; make "
                "it a part of the module",
            )


def _close(training: Training, top: Set[Line], inside: Set[Line]) -> Set[Line]:
    """The lines at the top, with all that they read."""
    while True:
        read = {name for line in top for name in line.read}
        made = {name for line in top for name in line.assigned}
        more = {
            line
            for line in training.slicer.collect(read | made, stop=[training.module])
            if line not in inside and line.assigned | line.changed & made
        }
        if more <= top:
            return top
        top |= more


def _find_importable(training: Training, top: Set[Line]) -> List[str]:
    """The names that can be imported from the script without running its training."""
    script, slicer = training.straight.script, training.slicer
    if not script.path.stem.isidentifier() or not all(map(_is_harmless, script.tree.body)):
        return []
    names: Set[str] = set(dir(builtins)) | {
        name
        for line in slicer.lines
        if isinstance(line.node, Import) and line.is_top
        for name in line.assigned
    }
    found: List[str] = []
    made = [name for line in slicer.lines for name in line.assigned]
    while True:
        more = [
            line
            for line in slicer.sort(top)
            if line.is_top
            and isinstance(line.node, (*Definition, ast.Assign))
            and ast.dump(line.node) == ast.dump(line.original)
            and line.read <= names
            and not line.assigned <= names
            and all(made.count(name) == 1 for name in line.assigned)
        ]
        if not more:
            return found
        for line in more:
            names |= line.assigned
            found += sorted(line.assigned)


def _is_harmless(statement: ast.stmt) -> bool:
    """Whether a statement at the top of a script can be run without training anything."""
    if isinstance(statement, ast.Assign):
        return all(ast.unparse(one.func) in _SAFE_CALLS for one in list_calls(statement.value))
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    guard = isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)
    return guard or isinstance(statement, (*Import, *Definition))
