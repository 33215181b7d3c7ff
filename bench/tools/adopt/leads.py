"""Which statements and functions of a script lead to its backward pass."""

from __future__ import annotations

import ast
from typing import Dict, Iterator, Optional

from .names import walk_scope
from .script import Def, Script


class Leads:
    """Follows the calls of a script to `target`, its backward pass."""

    def __init__(self, script: Script, target: ast.Call) -> None:
        self._script, self._target = script, target
        self._known: Dict[int, bool] = {}

    def does_lead(self, node: ast.AST) -> bool:
        """Whether a node has the backward pass in it, or calls a function that has."""
        if id(node) not in self._known:
            self._known[id(node)] = False  # while it is looked at: a recursion leads nowhere
            self._known[id(node)] = any(
                one is self._target
                or any(self.has_leading_body(each) for each in self.list_candidates(one))
                for one in walk_scope(node)
                if isinstance(one, ast.Call)
            )
        return self._known[id(node)]

    def has_leading_body(self, function: Def) -> bool:
        """Whether a statement of a function leads to the backward pass."""
        return any(self.does_lead(one) for one in function.body)

    def list_candidates(self, call: ast.Call) -> Iterator[Def]:
        """The functions of this script that a call may run."""
        func = call.func
        if isinstance(func, ast.Name):
            if func.id in self._script.functions:
                yield self._script.functions[func.id]
            if func.id in self._script.classes:
                methods = self._script.list_methods(self._script.classes[func.id])
                yield from [methods["__init__"]] if "__init__" in methods else []
        elif isinstance(func, ast.Attribute):
            for kind in self._script.classes.values():
                method = self._script.list_methods(kind).get(func.attr)
                yield from [method] if method is not None else []

    def find_class(self, call: ast.Call) -> Optional[ast.ClassDef]:
        """The class that a call makes an instance of, if its methods lead to the backward pass."""
        kind = isinstance(call.func, ast.Name) and self._script.classes.get(call.func.id)
        if not kind:
            return None
        leads = any(map(self.has_leading_body, self._script.list_methods(kind).values()))
        return kind if leads else None
