"""The straight line of statements that a script becomes."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Dict, List, Tuple

from .script import Script

Note = Tuple[int, str]  # line of the script, and a sentence
NEW = ast.Pass()  # the original of a line that the script does not have


@dataclass
class Line:
    """A statement in the names of the straight line; `depth` is the number of loops around it."""

    node: ast.stmt
    original: ast.stmt
    depth: int
    is_after: bool  # of the backward pass
    is_top: bool  # at the top level of the file


@dataclass(frozen=True)
class Evaluation:
    """An evaluation loop. `lines` and `metrics`, by name, are of a batch of the training."""

    loader: str  # the name of its data
    lines: List[ast.stmt]
    metrics: Dict[str, ast.expr]
    source: Line  # that has it, or calls the function that has it
    lineno: int


@dataclass
class Straight:
    """The straight line. `loops` are around the backward pass, the outermost first."""

    script: Script
    lines: List[Line]
    loops: List[ast.For]
    loss: ast.expr
    lineno: int  # of the backward pass
    notes: List[Note]
