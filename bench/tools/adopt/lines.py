"""The straight line of statements that a script becomes."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import List, Union

from .script import Script

Loop = Union[ast.For, ast.While]
NEW = ast.Pass()  # the original of a line that the script does not have


@dataclass
class Line:
    """A statement in the names of the straight line; `depth` is the number of loops around it."""

    node: ast.stmt
    original: ast.stmt
    depth: int
    is_after: bool  # of the backward pass
    is_top: bool  # at the top level of the file


@dataclass
class Straight:
    """The straight line. `loops` are around the backward pass, the outermost first."""

    script: Script
    lines: List[Line]
    loops: List[Loop]
    loss: ast.expr
    lineno: int  # of the backward pass
