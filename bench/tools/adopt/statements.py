"""Statements as text."""

from __future__ import annotations

import ast
import copy
from typing import Tuple

from .names import list_assigned, list_read
from .training import Training

WIDTH = 96  # of a written line


def show(node: ast.AST) -> str:
    """A statement as text, without brackets around the targets of an assignment."""
    if isinstance(node, ast.Assign):
        text = " = ".join(map(_show_bare, [*node.targets, node.value]))
        if len(text) <= WIDTH or not isinstance(node.value, ast.Call):
            return text
        parts = [*map(ast.unparse, node.value.args), *map(ast.unparse, node.value.keywords)]
        head = " = ".join([*map(_show_bare, node.targets), ast.unparse(node.value.func)])
        return "\n".join([f"{head}(", *(f"    {part}," for part in parts), ")"])
    return ast.unparse(node)


def _show_bare(node: ast.expr) -> str:
    if isinstance(node, ast.Tuple) and len(node.elts) > 1:
        return ", ".join(map(ast.unparse, node.elts))
    return ast.unparse(node)


def show_header(loop: ast.For) -> str:
    """The first line of a loop."""
    return f"for {_show_bare(loop.target)} in {ast.unparse(loop.iter)}:"


def describe_loop(training: Training) -> ast.For:
    """The loop over batches, without a counter that nothing reads."""
    loop = training.loop
    if not isinstance(loop.iter, ast.Call):
        return loop
    read = {name for one in training.data for name in list_read(one.node)} | set(training.batch)
    if ast.unparse(loop.iter.func) != "enumerate" or not isinstance(loop.target, ast.Tuple):
        return loop
    number, item = loop.target.elts
    if list_assigned(number) & read:
        return loop
    bare = copy.copy(loop)
    bare.target, bare.iter = item, loop.iter.args[0]
    return bare


def describe_epochs(training: Training) -> Tuple[str, str]:
    """The first line of the loop over epochs, and the name of its number."""
    outer = training.straight.loops[-2] if len(training.straight.loops) > 1 else None
    if outer is None:
        return "for epoch in range(1):", "epoch"
    if isinstance(outer.target, ast.Name):
        return show_header(outer), outer.target.id
    return f"for epoch, _ in enumerate({ast.unparse(outer.iter)}):", "epoch"
