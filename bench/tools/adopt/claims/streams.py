"""Streams, such as iterators and random generators, of which each use leaves less or another."""

from __future__ import annotations

import ast
from typing import Iterator, Optional, Set, Tuple

from ..names import find_base, last_name, match_arguments
from ..script import Def, Line
from ..training import Training

_ITERATORS = {"iter", "map", "zip", "filter", "enumerate", "cycle", "count", "chain"}
_SOURCES = {"default_rng", "RandomState", "Generator", "Random"}
_READERS = {"OFRecordReader", "OfrecordReader", "COCOReader", "OneRecReader", "RawReader"}
_READERS |= {"GPTIndexedBinDataReader", "reader", "DictReader"}


def find_streams(training: Training) -> Set[Line]:
    """The lines before the loops whose stream the loop over batches reads; each pass makes it anew.

    Raises InputError where this would begin a stream again that goes on in the script.
    """
    slicer = training.slicer
    made = slicer.collect(training.loader, stop=[training.module])
    inside = {name for line in made if line.depth for name in line.read}
    read = slicer.list_late(training.loader | inside)
    streams = {n for line in made if _is_stream(training, line, set()) for n in line.assigned}
    found: Set[Line] = set()
    for line in made:
        is_stream = _is_stream(training, line, streams)
        keeps_it = is_stream and _find_kind(training, line) is not None
        if line.depth or not is_stream or not (line.assigned & read or keeps_it):
            continue
        shared = any(one.read & line.assigned and not one.depth for one in slicer.lines)
        if len(training.straight.loops) > 1 or shared:
            raise training.fail(
                line.node,
                f"{min(line.assigned)} is used up or goes on from pass to pass; make it in the "
                "loop over epochs, or draw from numpy.random, which each pass seeds",
            )
        found.add(line)
    return found


def _is_stream(training: Training, line: Line, streams: Set[str]) -> bool:
    """Whether a line makes a stream, or an object of a class of the script that keeps one."""
    value = line.node.value if isinstance(line.node, ast.Assign) else None
    generators = {
        name
        for name, function in training.slicer.functions.items()
        if any(isinstance(one, (ast.Yield, ast.YieldFrom)) for one in ast.walk(function))
    }
    kind = _find_kind(training, line)
    if kind is None:
        return value is not None and _makes_stream(value, generators)
    assert isinstance(value, ast.Call)
    return _keeps_stream(training, kind, value, streams)


def _find_kind(training: Training, line: Line) -> Optional[ast.ClassDef]:
    """The class of the script that a line makes an object of."""
    value = line.node.value if isinstance(line.node, ast.Assign) else None
    name = value.func.id if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else ""
    return training.straight.script.classes.get(name)


def _makes_stream(value: ast.expr, generators: Set[str]) -> bool:
    if not isinstance(value, ast.Call):
        return isinstance(value, ast.GeneratorExp)
    name = last_name(value.func)
    is_free = isinstance(value.func, ast.Name) or ast.unparse(value.func).startswith("itertools.")
    return name in _SOURCES | _READERS | generators or (name in _ITERATORS and is_free)


def _keeps_stream(training: Training, kind: ast.ClassDef, call: ast.Call, kept: Set[str]) -> bool:
    """Whether an object goes on from use to use; `kept` are names of streams that it may be given.

    It keeps a stream that it makes or is given, or counts an attribute on that no `__iter__` sets.
    """
    methods = training.straight.script.list_methods(kind)
    begun = {name for _, name, _ in _list_stored(methods.get("__iter__"))}
    maker = methods.get("__init__")
    given = match_arguments(maker.args.args[1:] if maker is not None else [], call)
    streams = {name for name, value in given.items() if find_base(value) & kept}
    for node, _, value in _list_stored(maker):
        is_given = isinstance(value, ast.Name) and value.id in streams
        if isinstance(node, ast.Assign) and (is_given or _makes_stream(value, set())):
            return True
    return any(
        isinstance(node, ast.AugAssign) or (isinstance(value, ast.BinOp) and _reads(value, name))
        for method in methods.values()
        if method.name not in ("__init__", "__iter__")
        for node, name, value in _list_stored(method)
        if name not in begun
    )


def _list_stored(method: Optional[Def]) -> Iterator[Tuple[ast.stmt, str, ast.expr]]:
    """The assignments of a method to attributes of its object, with attribute and value."""
    own = method.args.args[0].arg if method is not None and method.args.args else ""
    for one in ast.walk(method) if method is not None else ():
        if not isinstance(one, (ast.Assign, ast.AugAssign)):
            continue
        for target in one.targets if isinstance(one, ast.Assign) else [one.target]:
            if isinstance(target, ast.Attribute) and ast.unparse(target.value) == own:
                yield one, target.attr, one.value


def _reads(value: ast.expr, attribute: str) -> bool:
    return any(isinstance(one, ast.Attribute) and one.attr == attribute for one in ast.walk(value))
