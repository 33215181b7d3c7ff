"""Streams, such as iterators and random generators, of which each use leaves less or another."""

from __future__ import annotations

import ast
from typing import Set

from ....errors import InputError
from ..script import WRITE
from ..training import Training

_MAKERS = {"iter", "map", "zip", "filter", "enumerate", "cycle", "count", "chain"}
_MAKERS |= {"default_rng", "RandomState", "Generator", "Random"}


def find_streams(training: Training) -> Set[int]:
    """The lines before the loops whose stream the loop over batches reads; each pass makes it anew.

    Raises InputError where this would begin a stream again that goes on in the script.
    """
    slicer = training.slicer
    generators = {
        line.node.name
        for line in slicer.lines
        if isinstance(line.node, ast.FunctionDef)
        and any(isinstance(one, (ast.Yield, ast.YieldFrom)) for one in ast.walk(line.node))
    }
    read = training.loader
    found: Set[int] = set()
    for number, line in enumerate(slicer.lines):
        value = line.node.value if isinstance(line.node, ast.Assign) else None
        maker = ast.unparse(value.func).split(".")[-1] if isinstance(value, ast.Call) else ""
        is_stream = maker in _MAKERS | generators or isinstance(value, ast.GeneratorExp)
        if not is_stream or line.depth or not slicer.assigned[number] & read:
            continue
        shared = [
            other
            for other, names in enumerate(slicer.read)
            if names & slicer.assigned[number] and not slicer.lines[other].depth
        ]
        if len(training.straight.loops) > 1 or shared:
            name = min(slicer.assigned[number])
            raise InputError(
                f"{training.straight.script.path}, line {line.node.lineno}: {name} is used up or "
                f"goes on from pass to pass; make it in the loop over epochs, or {WRITE}"
            )
        found.add(number)
    return found
