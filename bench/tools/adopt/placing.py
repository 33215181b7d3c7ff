"""The place of each needed line: in a function of the written file, at its top, or imported."""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass
from typing import Dict, List, Sequence, Set

from .claims.streams import find_streams
from .names import Definition, Import, last_name, list_calls, list_read, walk_scope
from .script import Note
from .training import Training

_SAFE_CALLS = ("logging.getLogger", "Path", "pathlib.Path", "os.environ.get", "os.getenv")


@dataclass
class Places:
    """Numbers of lines before the loop.

    `top` stand at the top of the written file. `imported` are names of the script itself. The
    others are inside one function each.
    """

    top: List[int]
    imported: List[str]
    module: List[int]
    optimizer: List[int]
    batches: List[int]
    evaluation: List[int]
    loss: List[int]
    has_seed: bool  # the script's own, at the top
    notes: List[Note]

    @property
    def numbers(self) -> Set[int]:
        """All lines that a written file copies."""
        inside = (self.module, self.optimizer, self.batches, self.evaluation, self.loss)
        return {*self.top, *(number for numbers in inside for number in numbers)}


def place_lines(training: Training, epochs: Set[str]) -> Places:
    """`epochs` are the names that the loop over epochs reads.

    Raises InputError for a loss that is made of the module outside the step, and for a module and
    an optimizer that are made together.
    """
    slicer, module = training.slicer, training.module
    steered = {name for name in (training.optimizer, training.scheduler) if name}
    foreign = {*steered, *_find_loaders(training)}
    _refuse_made_together(training)
    parts: Dict[str, List[int]] = {
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
    inside = {part: [one for one in numbers if one not in top] for part, numbers in parts.items()}
    nodes: List[ast.AST] = [one.node for one in (*training.data, *training.steps)]
    nodes += [*training.straight.loops[-2:], training.straight.loss]
    nodes += [slicer.lines[one].node for numbers in inside.values() for one in numbers]
    read = {name for one in nodes for name in list_read(one)}
    names = set(_find_importable(training, top))
    read |= {name for number in seeds for name in slicer.read[number]}
    read |= {name for name in [training.evaluation_loader] if name}
    kept = top & {*seeds, *slicer.collect(read, stop={module, *names})}
    read |= {name for number in kept for name in slicer.read[number]}
    text = (
        "this is left out, because it uses the module together with the optimizer or the data; "
        "give weights by --load-checkpoint, or write it into create_module"
    )
    notes = [(line.node.lineno, text) for line in slicer.list_left_out([module], foreign)]
    return Places(sorted(kept), sorted(names & read), has_seed=bool(seeds), notes=notes, **inside)


def _find_seeds(training: Training) -> List[int]:
    """The lines before the loops that begin the random numbers."""
    found = []
    for number, line in enumerate(training.slicer.lines):
        calls = [one.value for one in walk_scope(line.node) if isinstance(one, ast.Expr)]
        names = [last_name(one.func) for one in calls if isinstance(one, ast.Call)]
        if line.depth == 0 and names and all("seed" in one for one in names):
            found.append(number)
    return found


def _find_data_made_once(training: Training, parts: Dict[str, List[int]]) -> List[int]:
    """The lines before the loops that make data, without the streams that a pass uses up."""
    lines, streams = training.slicer.lines, find_streams(training)
    return [
        number
        for number in (*parts["batches"], *parts["evaluation"])
        if lines[number].depth == 0 and number not in streams
    ]


def _choose_top(
    training: Training, parts: Dict[str, List[int]], epochs: List[int], dependent: Set[str]
) -> Set[int]:
    """The lines at the top: definitions, what several parts need, and what the loss needs.

    A line that is made of the module (`dependent`) stays inside the functions that get one.
    """
    slicer = training.slicer
    counts = [number for numbers in parts.values() for number in numbers]
    inside = {number for number in counts if slicer.assigned[number] & dependent}
    top = {
        number
        for number in counts
        if counts.count(number) > 1 or isinstance(slicer.lines[number].node, (*Import, *Definition))
    }
    return _close(training, {*top, *parts["loss"], *epochs} - inside, inside)


def _find_loaders(training: Training) -> Set[str]:
    made = {
        name
        for line, names in zip(training.slicer.lines, training.slicer.assigned)
        if not isinstance(line.node, (*Import, *Definition))
        for name in names
    }
    return {*(training.loader & made), *filter(None, [training.evaluation_loader])}


def _refuse_made_together(training: Training) -> None:
    for line, assigned in zip(training.slicer.lines, training.slicer.assigned):
        if {training.module, training.optimizer} <= assigned:
            raise training.fail(
                line.node,
                f"{training.module} and {training.optimizer} are made together; make each in a "
                "line of its own",
            )


def _refuse_made_of_module(training: Training, loss: Sequence[int], dependent: Set[str]) -> None:
    for number in loss:
        node = training.slicer.lines[number].node
        made = training.slicer.assigned[number] & dependent
        if made and not isinstance(node, Definition):
            raise training.fail(
                node,
                f"{min(made)} is made of the module outside the step and the loss reads it; make "
                "it a part of the module",
            )


def _close(training: Training, top: Set[int], inside: Set[int]) -> Set[int]:
    """The lines at the top, with all that they read."""
    slicer = training.slicer
    while True:
        read = {name for number in top for name in slicer.read[number]}
        made = {name for number in top for name in slicer.assigned[number]}
        more = {
            number
            for number in slicer.collect(read | made, stop=[training.module])
            if number not in inside and slicer.assigned[number] | slicer.changed[number] & made
        }
        if more <= top:
            return top
        top |= more


def _find_importable(training: Training, top: Set[int]) -> List[str]:
    """The names that can be imported from the script without running its training."""
    script, slicer = training.straight.script, training.slicer
    if not script.path.stem.isidentifier() or not all(map(_is_harmless, script.tree.body)):
        return []
    names: Set[str] = set(dir(builtins)) | {
        name
        for line, assigned in zip(slicer.lines, slicer.assigned)
        if isinstance(line.node, Import) and line.is_top
        for name in assigned
    }
    found: List[str] = []
    made = [name for assigned in slicer.assigned for name in assigned]
    while True:
        more = [
            number
            for number in sorted(top)
            if slicer.lines[number].is_top
            and isinstance(slicer.lines[number].node, (*Definition, ast.Assign))
            and ast.dump(slicer.lines[number].node) == ast.dump(slicer.lines[number].original)
            and slicer.read[number] <= names
            and not slicer.assigned[number] <= names
            and all(made.count(name) == 1 for name in slicer.assigned[number])
        ]
        if not more:
            return found
        for number in more:
            names |= slicer.assigned[number]
            found += sorted(slicer.assigned[number])


def _is_harmless(statement: ast.stmt) -> bool:
    """Whether a statement at the top of a script can be run without training anything."""
    if isinstance(statement, ast.Assign):
        return all(ast.unparse(one.func) in _SAFE_CALLS for one in list_calls(statement.value))
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    guard = isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)
    return guard or isinstance(statement, (*Import, *Definition))
