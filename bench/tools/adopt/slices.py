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
    """The lines before the loop, with the names that each assigns, reads and changes."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = list(lines)
        self.refresh()

    def refresh(self) -> None:
        """Read the lines again after one was rewritten."""
        nodes = [ast.fix_missing_locations(one.node) for one in self.lines]
        self.assigned = [list_assigned(one) for one in nodes]
        self.read = [list_read(one) for one in nodes]
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
        self.changed = [
            self.list_touched(line.node, None if line.depth else idle) for line in self.lines
        ]

    def list_touched(self, node: ast.AST, idle: Optional[Set[str]] = None) -> Set[str]:
        """The names whose objects a statement changes, or with `idle` may change."""
        if isinstance(node, Definition):
            return set()
        return list_touched(node, self._outer, self._effects, idle)

    def list_late(self, names: Set[str]) -> Set[str]:
        """Names, and those that the functions among them read when they are called."""
        lines = zip(self.lines, self.assigned, self.read)
        return spread(names, [(a, r) for line, a, r in lines if isinstance(line.node, Definition)])

    def list_sources(self, names: Set[str], stop: Collection[Optional[str]]) -> Set[str]:
        """Names, and those of the objects that they are made of."""
        numbers = self.collect(names, stop=[one for one in stop if one])
        return names.union(*(self.read[one] for one in numbers))

    def names(self) -> Set[str]:
        """All names that the lines assign."""
        return set().union(*self.assigned)

    def collect(
        self, names: Collection[str], stop: Collection[str] = (), foreign: Collection[str] = ()
    ) -> List[int]:
        """The numbers of the lines that make `names`, but not those that make `stop`.

        A line that changes them and reads a name of `foreign` is left out.
        """
        wanted = set(names) - set(stop)
        found: Set[int] = set()
        while True:
            more = {
                number
                for number in range(len(self.lines))
                if self.assigned[number] & wanted
                or (self.changed[number] & wanted and not self._mentions(number, foreign))
            }
            if more <= found:
                return sorted(found)
            found |= more
            for number in more:
                wanted |= (self.read[number] | self.changed[number]) - set(stop)

    def list_left_out(self, names: Collection[str], foreign: Collection[str]) -> List[Line]:
        """The lines that `collect` leaves out for a name of `foreign`."""
        return [
            line
            for number, line in enumerate(self.lines)
            if self.changed[number] & set(names) and self._mentions(number, foreign)
        ]

    def follow(self, name: str) -> Set[str]:
        """The names that are made from `name`, and itself."""
        return spread({name}, list(zip(self.read, self.assigned)))

    def _mentions(self, number: int, names: Collection[str]) -> bool:
        return bool((self.read[number] | self.changed[number]) & set(names))


def _only_evaluates(node: ast.AST) -> bool:
    words = {
        one.attr if isinstance(one, ast.Attribute) else one.id
        for one in ast.walk(node)
        if isinstance(one, (ast.Attribute, ast.Name))
    }
    return bool(words & {"no_grad", "eval"})
