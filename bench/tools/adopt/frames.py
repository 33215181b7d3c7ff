"""The names of a function's body, and how they become names of the straight line."""

from __future__ import annotations

import ast
from typing import Callable, Dict, Optional, Set

from .names import list_locals, list_parameters
from .script import Def


class Object:
    """An instance of a class of the script, whose attributes become names."""

    def __init__(self, kind: ast.ClassDef, methods: Dict[str, Def]) -> None:
        self.kind, self.methods = kind, methods
        self.attributes: Dict[str, str] = {}


class Frame:
    """The names of a function while its body is put into the straight line."""

    def __init__(
        self,
        names: Dict[str, str],
        owner: Optional[Object] = None,
        self_name: str = "",
        depth: int = 0,
    ) -> None:
        self.names, self.owner, self.self_name = names, owner, self_name
        self.depth = depth  # of the loops around its call


class Renamer(ast.NodeTransformer):
    """Puts a statement of a frame into the names of the straight line.

    `name_attribute(object, attribute)` gives the name for `self.attribute`.
    """

    def __init__(self, name_attribute: Callable[[Object, str], str], frame: Frame) -> None:
        self._name_attribute, self._frame = name_attribute, frame
        self._hidden: Set[str] = set()  # the names of functions inside

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self._hidden:
            return node
        name = self._frame.names.get(node.id, node.id)
        return ast.copy_location(ast.Name(name, node.ctx), node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        owner = self._frame.owner
        if owner and isinstance(node.value, ast.Name) and node.value.id == self._frame.self_name:
            name = self._name_attribute(owner, node.attr)
            value: ast.expr = ast.Name(name, node.ctx)
            method = owner.methods.get(node.attr)
            words = [ast.unparse(one) for one in method.decorator_list] if method else []
            if "property" in words and isinstance(node.ctx, ast.Load):
                value = ast.Call(value, [], [])
            return ast.copy_location(value, node)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self._frame.names.get(node.name, node.name)
        return self._visit_inside(node, list_locals(node))

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return self._visit_inside(node, list_parameters(node))

    def _visit_inside(self, node: ast.AST, names: Set[str]) -> ast.AST:
        before = self._hidden
        self._hidden = before | names
        changed = self.generic_visit(node)
        self._hidden = before
        return changed


def sets_attributes(method: Def) -> bool:
    """Whether a method assigns attributes of its object."""
    name = method.args.args[0].arg
    return any(
        isinstance(one, ast.Attribute)
        and isinstance(one.ctx, ast.Store)
        and isinstance(one.value, ast.Name)
        and one.value.id == name
        for one in ast.walk(method)
    )
