"""Parameters that the loss itself reads, such as those of an L2 term.

In a graph `parameters()` gives stand-ins that take no arithmetic. The written files list tensors.
"""

from __future__ import annotations

import ast
from typing import List

from ..lines import Note
from ..training import Training

_METHODS = {"parameters": "values", "named_parameters": "items"}


def replace_parameters(training: Training) -> List[Note]:
    """Let the loss and the metrics call `training.parameter_lister`, and set its name."""
    slicer = training.slicer
    name = "list_parameters"
    change = _Lister(name if name not in slicer.names() else f"{name}_of_step")
    for number in slicer.collect(training.read_in_loss(), stop=[training.module]):
        if isinstance(slicer.lines[number].node, ast.FunctionDef):
            slicer.lines[number].node = change.visit(slicer.lines[number].node)
    for line in training.steps:
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
