"""Metrics of a batch from the sums and lists of an evaluation loop, and from what divides them."""

from __future__ import annotations

import ast
import copy
from typing import Dict, List, Optional, Sequence, Tuple

from ..names import last_name, list_assigned, list_read

_HOST_CALLS = {"item", "numpy", "cpu", "detach", "tolist"}  # a graph has tensors alone
_CONVERSIONS = {"float", "int"}
_SIZES = {"size", "shape", "numel", "len"}
_PREFIXES = ("total_", "sum_", "running_", "epoch_", "val_", "valid_", "test_", "eval_")


class Stripper(ast.NodeTransformer):
    """Leaves out what takes a number out of a tensor, such as `.item()` and `float()`."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in _HOST_CALLS:
            return node.func.value
        if isinstance(node.func, ast.Name) and node.func.id in _CONVERSIONS and node.args:
            return node.args[0]
        return node


def split_body(body: Sequence[ast.stmt]) -> Tuple[Dict[str, ast.expr], List[ast.stmt]]:
    """What is summed or listed, by the name of the sum, and the assignments among the lines."""
    sums: Dict[str, ast.expr] = {}
    lines: List[ast.stmt] = []
    for one in body:
        found = find_sum(one)
        if found is not None:
            sums.update([found])
        elif isinstance(one, ast.Assign):
            lines.append(one)
    return sums, lines


def is_idle(node: ast.stmt) -> bool:
    """Whether a line is `x = x`, as `x.to(device)` leaves it."""
    if not isinstance(node, ast.Assign):
        return False
    return ast.unparse(node.targets[0]) == ast.unparse(node.value)


def find_sum(node: ast.stmt) -> Optional[Tuple[str, ast.expr]]:
    """(name, added) of `s += x`, `s = s + x` and `s.append(x)`."""
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
        return ast.unparse(node.target), node.value
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp):
        name = ast.unparse(node.targets[0])
        is_sum = isinstance(node.value.op, ast.Add) and ast.unparse(node.value.left) == name
        return (name, node.value.right) if is_sum else None
    call = node.value if isinstance(node, ast.Expr) else None
    if isinstance(call, ast.Call) and len(call.args) == 1:
        name, _, method = ast.unparse(call.func).rpartition(".")
        return (name, call.args[0]) if method == "append" else None
    return None


def list_ratios(
    sums: Dict[str, ast.expr], rest: Sequence[ast.stmt], data: str
) -> Dict[str, Optional[ast.expr]]:
    """What each sum is divided by, of a batch: its size, 1 for a count of batches, else None."""
    found: Dict[str, Optional[ast.expr]] = {}
    for one in (each for statement in rest for each in ast.walk(statement)):
        over, under = _find_division(one)
        if over not in sums or over in found:
            continue
        text = ast.unparse(under)
        size = sums.get(text, ast.Constant(1) if text in (f"len({data})", f"len({over})") else None)
        if isinstance(size, ast.Constant) or (size is not None and _is_size(size)):
            found[over] = size
        elif size is None and (isinstance(under, ast.Constant) or text.startswith("len(")):
            found[over] = None
    return found


def _find_division(node: ast.AST) -> Tuple[str, ast.expr]:
    """The name of what is divided, and by what; of `mean(x)` by its length."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _find_number(node.left), Stripper().visit(copy.deepcopy(node.right))
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Div):
        return ast.unparse(node.target), Stripper().visit(copy.deepcopy(node.value))
    if isinstance(node, ast.Call) and last_name(node.func) == "mean" and node.args:
        name = ast.unparse(node.args[0])
        return name, ast.Call(ast.Name("len", ast.Load()), [ast.Name(name, ast.Load())], [])
    return "", ast.Constant(None)


def _find_number(node: ast.expr) -> str:
    """The name of a sum, without factors of 100 and conversions."""
    node = Stripper().visit(copy.deepcopy(node))
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        sides = [node.left, node.right]
        others = [s for s in sides if not (isinstance(s, ast.Constant) and s.value == 100)]
        if len(others) != 1:
            break
        node = others[0]
    while isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and not node.args:
            node = node.func.value  # such as .float() and .double()
        elif ast.unparse(node.func) == "sum" and len(node.args) == 1:
            node = node.args[0]
        else:
            break
    return ast.unparse(node)


def _is_size(node: ast.expr) -> bool:
    return any(last_name(one) in _SIZES for one in ast.walk(node))


def make_metric(name: str, value: ast.expr, rows: ast.expr) -> Tuple[str, ast.expr]:
    """Name and expression of a metric; a share of right ones is an accuracy."""
    calls = {one.attr for one in ast.walk(value) if isinstance(one, ast.Attribute)}
    counts = any(isinstance(one, ast.Compare) for one in ast.walk(value)) or "eq" in calls
    if counts:
        value = ast.Call(ast.Attribute(value, "float", ast.Load()), [], [])
    for prefix in _PREFIXES:
        name = name[len(prefix) * name.startswith(prefix) :]
    label = "accuracy" if counts else "loss" if "loss" in name.lower() else name
    return label, value if isinstance(rows, ast.Constant) else ast.BinOp(value, ast.Div(), rows)


def list_needed(lines: Sequence[ast.stmt], metrics: Dict[str, ast.expr]) -> List[ast.stmt]:
    """The lines that the metrics are made of."""
    wanted = {name for one in metrics.values() for name in list_read(one)}
    needed: List[ast.stmt] = []
    for one in reversed(lines):
        if list_assigned(one) & wanted:
            needed.insert(0, one)
            wanted |= list_read(one)
    return needed
