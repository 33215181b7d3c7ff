"""`adopt`: from a script to two files' texts and what was found. Nothing of it is run."""

from __future__ import annotations

import ast
import builtins
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import List, Sequence

from ...errors import InputError
from .adjustments import adjust_optimizer, note_shapes, replace_parameters
from .claims.evaluation import find_evaluation
from .claims.loops import check_loops, note_lines
from .cleaning import clean
from .names import Definition, Import, list_assigned, list_read
from .placing import Places, place_lines
from .script import NEW, WRITE, Note, read_script, show_header
from .straight import straighten
from .training import Training, find_training
from .writing import Writer


@dataclass(frozen=True)
class Adoption:
    """The texts of two files, and the parts of the training with their lines of the script."""

    step: str  # its name in the workload file
    workload: str
    graph: str
    parts: List[Note]
    notes: List[Note]


def adopt(path: Path, folder: Path, arguments: Sequence[str] = ()) -> Adoption:
    """Read a training script and write its training as a `TrainingStep` and as a graph.

    `folder` is where the files will be, and `arguments` are the script's own command line. Raises
    InputError for a script whose training is not understood, with the line and what to write.
    """
    if sys.version_info < (3, 9):
        raise InputError("bench adopt needs Python 3.9 or newer; run it with one")
    straight = straighten(read_script(path))
    notes = straight.notes + clean(straight, arguments)
    training = find_training(straight)
    training.evaluation, unusual = find_evaluation(training)
    if training.evaluation is not None:
        training.evaluation_loader = training.evaluation.loader
    notes += (
        training.notes
        + unusual
        + replace_parameters(training)
        + check_loops(training)
        + adjust_optimizer(training)
        + note_shapes(training)
    )
    outer = straight.loops[-2] if len(straight.loops) > 1 else None
    epochs = list_read(outer.iter) if outer is not None else set()
    places = place_lines(training, epochs & training.slicer.names())
    writer = Writer(training, places, folder)
    workload, graph = writer.write_workload(), writer.write_graph()
    unknown = find_unknown(workload, path)
    if unknown:
        text = f"the value of {unknown[0]} was not found; assign it before the loop over batches"
        names = [one for one in ast.walk(straight.script.tree) if isinstance(one, ast.Name)]
        raise training.fail(min(one.lineno for one in names if one.id == unknown[0]), text)
    return Adoption(
        step=writer.step,
        workload=workload,
        graph=graph,
        parts=_list_parts(training),
        notes=sorted(
            notes + places.notes + _note_evaluation(training) + _note_unused(training, places)
        ),
    )


def _note_unused(training: Training, places: Places) -> List[Note]:
    """The lines before the loops that no part of the written files needs."""
    used, told = places.copied, {number for number, _ in places.notes}
    return note_lines(
        [
            line.node.lineno
            for line in training.slicer.lines
            if line not in used
            and line.depth == 0
            and line.original is not NEW
            and line.node.lineno not in told
            and not isinstance(line.node, (*Definition, *Import))
            and not (isinstance(line.node, ast.Expr) and isinstance(line.node.value, ast.Constant))
            and not line.assigned & set(places.imported)
        ]
    )


def _note_evaluation(training: Training) -> List[Note]:
    text = (
        "no data of an evaluation were found beside these; the evaluation takes the first training "
        "batch: write create_evaluation_batches() for others"
    )
    return [(training.loop.lineno, text)] if training.evaluation_loader is None else []


def _list_parts(training: Training) -> List[Note]:
    parts = []
    for kind, name in (
        ("module", training.module),
        ("optimizer", training.optimizer),
        ("scheduler", training.scheduler),
        ("evaluation data", training.evaluation_loader),
    ):
        for line in training.slicer.lines:
            if name in line.assigned:
                parts.append((line.node.lineno, f"{kind}: {name}"))
    loop = training.loop
    parts.append((loop.lineno, f"batches: {show_header(loop)[:-1]}"))
    found = training.evaluation
    if found is not None:
        metrics = found.metrics.items()
        parts += [(found.lineno, f"metric {name}: {ast.unparse(one)}") for name, one in metrics]
    loss = ast.unparse(training.straight.loss)
    parts.append((training.straight.lineno, f"loss: {loss}, of {', '.join(training.batch)}"))
    return sorted(parts)


def find_unknown(text: str, path: Path) -> List[str]:
    """The names that a written file reads and does not define, in their order.

    Raises InputError if it is no Python, such as for a return that has left its function.
    """
    try:
        compile(text, "written", "exec")
    except SyntaxError as error:
        raise InputError(
            f"{path}: the line `{(error.text or '').strip()}` cannot stand outside its loop or "
            f"function ({error.msg}); take it out of the way to the backward pass, or {WRITE}"
        ) from None
    tree = ast.parse(text)
    if any(isinstance(one, ast.alias) and one.name == "*" for one in ast.walk(tree)):
        return []
    known = {name for one in tree.body for name in list_assigned(one)} | set(dir(builtins))
    known |= {"__file__", "__name__"}
    read = [name for one in tree.body for name in sorted(list_read(one))]
    return [name for name in dict.fromkeys(read) if name not in known]
