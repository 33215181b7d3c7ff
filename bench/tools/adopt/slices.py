"""Which lines before the loop over batches an object is made of."""

from __future__ import annotations

import ast
import builtins
from typing import Collection, Dict, List, Optional, Sequence, Set

from .names import (
    Definition,
    Import,
    find_effects,
    list_assigned,
    list_read,
    list_touched,
    spread,
)
from .script import Line


class Slicer:
    """The lines before the loop over batches, and which of them something is made of."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = list(lines)
        self.refresh()

    def refresh(self) -> None:
        """Read the lines again after one was rewritten."""
        nodes = [ast.fix_missing_locations(one.node) for one in self.lines]
        defined = [one for one in nodes if isinstance(one, (*Definition, *Import))]
        outer = {name for one in defined for name in list_assigned(one)} | set(dir(builtins))
        self.functions: Dict[str, ast.FunctionDef] = {
            one.name: one for one in nodes if isinstance(one, ast.FunctionDef)
        }
        self._outer, self._effects = outer, find_effects(self.functions.values(), outer)
        idle = {
            one.name
            for one in defined
            if isinstance(one, Definition)
            and _only_evaluates(one)
            and not self._effects.get(one.name)
        }
        for line in self.lines:
            line.assigned, line.read = list_assigned(line.node), list_read(line.node)
            line.changed = self.list_touched(line.node, None if line.depth else idle)

    def list_touched(self, node: ast.AST, idle: Optional[Set[str]] = None) -> Set[str]:
        """The names whose objects a statement changes, or with `idle` may change."""
        if isinstance(node, Definition):
            return set()
        return list_touched(node, self._outer, self._effects, idle)

    def list_late(self, names: Set[str]) -> Set[str]:
        """Names, and those that the functions among them read when they are called."""
        lines = [line for line in self.lines if isinstance(line.node, Definition)]
        return spread(names, [(line.assigned, line.read) for line in lines])

    def list_sources(self, names: Set[str], stop: Collection[Optional[str]]) -> Set[str]:
        """Names, and those of the objects that they are made of."""
        lines = self.collect(names, stop=[one for one in stop if one])
        return names.union(*(line.read for line in lines))

    def names(self) -> Set[str]:
        """All names that the lines assign."""
        return set().union(*(line.assigned for line in self.lines))

    def sort(self, lines: Set[Line]) -> List[Line]:
        """The lines in the order of the script."""
        return [line for line in self.lines if line in lines]

    def collect(
        self, names: Collection[str], stop: Collection[str] = (), foreign: Collection[str] = ()
    ) -> List[Line]:
        """The lines that make `names`, but not those that make `stop`.

        A line that changes them and reads a name of `foreign` is left out.
        """
        wanted = set(names) - set(stop)
        found: Set[Line] = set()
        while True:
            more = {
                line
                for line in self.lines
                if line.assigned & wanted or (line.changed & wanted and not line.mentions(foreign))
            }
            if more <= found:
                return self.sort(found)
            found |= more
            for line in more:
                wanted |= (line.read | line.changed) - set(stop)

    def list_left_out(self, names: Set[str], foreign: Collection[str]) -> List[Line]:
        """The lines that `collect` leaves out for a name of `foreign`."""
        return [line for line in self.lines if line.changed & names and line.mentions(foreign)]

    def follow(self, name: str) -> Set[str]:
        """The names that are made from `name`, and itself."""
        return spread({name}, [(line.read, line.assigned) for line in self.lines])


def _only_evaluates(node: ast.AST) -> bool:
    words = {
        one.attr if isinstance(one, ast.Attribute) else one.id
        for one in ast.walk(node)
        if isinstance(one, (ast.Attribute, ast.Name))
    }
    return bool(words & {"no_grad", "eval"})
