"""What a script says that this suite decides, and what no graph can have, is taken out of it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import List, Sequence, Set

from ...errors import InputError
from .names import find_base, last_name, list_assigned, list_calls, list_read
from .script import Line, Note, Straight

_LOADER_WORDS = {"num_workers", "pin_memory", "persistent_workers", "prefetch_factor"}
_PARSERS = {"parse_args", "parse_known_args"}


def clean(straight: Straight, arguments: Sequence[str]) -> List[Note]:
    """Rewrite the lines in place; a note for each kind of change.

    Devices, workers of a loader and progress bars go. The command line becomes `arguments`. Raises
    InputError where these lack one that the script requires.
    """
    cleaner = _Cleaner(straight.script.path, arguments, _find_epoch_setters(straight))
    for line in straight.lines:
        line.node = cleaner.visit(line.node)
    straight.loops = [cleaner.visit(one) for one in straight.loops]
    straight.loss = cleaner.visit(straight.loss)
    straight.lines = [one for one in straight.lines if not _does_nothing(one)]
    return cleaner.notes


class _Cleaner(ast.NodeTransformer):
    def __init__(self, path: Path, arguments: Sequence[str], kept: Set[str]) -> None:
        self._path, self._arguments = path, list(arguments)
        self._kept = kept  # names whose `set_epoch` does more than to choose an order
        self.notes: List[Note] = []

    def _note(self, node: ast.AST, text: str) -> None:
        if text not in [known for _, known in self.notes]:
            self.notes.append((getattr(node, "lineno", 0), text))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if isinstance(node.func, ast.Attribute) and _moves(node):
            self._note(node, f"`.{name}(...)` to a device is left out; --device chooses it")
            return node.func.value
        if name == "add_argument":
            self._refuse_missing(node)
        elif name in _PARSERS and not node.args and not node.keywords:
            node.args = [ast.List([ast.Constant(one) for one in self._arguments], ast.Load())]
            shown = " ".join(self._arguments) or "none"
            self._note(node, f"the command line of the script is taken as: {shown}")
        elif last_name(node.func) == "tqdm" and node.args:
            return node.args[0]
        node.keywords = [one for one in node.keywords if not self._is_dropped(node, one)]
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if ast.unparse(node) != "sys.argv":
            return node
        words = [self._path.name, *self._arguments]
        self._note(node, f"sys.argv is taken as: {words}")
        return ast.copy_location(ast.List([ast.Constant(one) for one in words], ast.Load()), node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        self.generic_visit(node)
        call = node.value
        is_epoch = isinstance(call, ast.Call) and last_name(call.func) == "set_epoch"
        if is_epoch and not find_base(call) & self._kept:
            self._note(node, "set_epoch is left out; each pass draws by a seed of its own")
            return ast.copy_location(ast.Pass(), node)
        return node

    def _refuse_missing(self, node: ast.Call) -> None:
        """Raise InputError for an argument that the script requires and that was not given."""
        words = {one.arg: one.value for one in node.keywords}
        names = [one.value for one in node.args if isinstance(one, ast.Constant)]
        flags = [one for one in names if str(one).startswith("-")]
        required = ast.unparse(words["required"]) == "True" if "required" in words else False
        counts = ast.unparse(words["nargs"]) if "nargs" in words else ""
        is_missing = required and not {word.split("=")[0] for word in self._arguments} & set(flags)
        if not flags and "?" not in counts and "*" not in counts:
            is_missing = not self._arguments
        if is_missing and names:
            shown = f"{names[0]} VALUE" if flags else "VALUE"
            raise InputError(
                f"{self._path}, line {node.lineno}: the script requires {names[0]}; give its "
                f"command line behind two hyphens: bench adopt {self._path} -- {shown}"
            )

    def _is_dropped(self, node: ast.Call, keyword: ast.keyword) -> bool:
        if keyword.arg == "device" and _is_device(keyword.value):
            return True
        name = last_name(node.func)
        if keyword.arg == "generator" and name.endswith(("Loader", "RandomSampler")):
            self._note(node, "the generator is left out; each pass draws by its own seed")
            return True
        if keyword.arg in _LOADER_WORDS and "Loader" in name:
            self._note(
                node, f"{keyword.arg} is left out; a process with a graph must not be forked"
            )
            return True
        return False


def _find_epoch_setters(straight: Straight) -> Set[str]:
    """The names of modules, and of what is made of the script's own classes but samplers.

    Their `set_epoch` may change the loss or the data, that of a sampler or loader only an order.
    """
    script = straight.script
    own = {
        name
        for name, kind in script.classes.items()
        if "set_epoch" in script.list_methods(kind)
        and not any(ast.unparse(one).endswith("Sampler") for one in kind.bases)
    }
    found = set()
    for node in [*(line.node for line in straight.lines), straight.loss]:
        for call in list_calls(node):
            if isinstance(call.func, ast.Name):
                found.add(call.func.id)
            elif isinstance(call.func, ast.Attribute) and call.func.attr == "parameters":
                found |= find_base(call.func)
        value = node.value if isinstance(node, ast.Assign) else None
        if value is not None and own & list_read(value):
            own |= list_assigned(node)
    return found | own


def _moves(call: ast.Call) -> bool:
    """Whether a call is `x.cuda()` or `x.to(device)`."""
    assert isinstance(call.func, ast.Attribute)
    if call.func.attr == "cuda":
        return True
    words = [*call.args, *(one.value for one in call.keywords)]
    return call.func.attr == "to" and len(words) == 1 and _is_device(words[0])


def _is_device(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and node.value.split(":")[0] in ("cpu", "cuda")
    if isinstance(node, ast.Call):
        return last_name(node.func) == "device"
    if isinstance(node, ast.Subscript):
        return _is_device(node.value)
    return "device" in last_name(node).lower()


def _does_nothing(line: Line) -> bool:
    """Whether a line is `pass`, `x` or `x = x`, as `x.to(device)` leaves it."""
    node = line.node
    if isinstance(node, ast.Pass):
        return True
    if isinstance(node, ast.Assign):
        targets = [ast.unparse(one) for one in node.targets]
        return targets == [ast.unparse(node.value)]
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Name)
