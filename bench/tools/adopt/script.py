"""A training script as a syntax tree, its backward pass, and the straight line that it becomes."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Collection, Dict, List, Set, Tuple, Union

from ....data.files import read_regular
from ...errors import InputError
from .names import Import, last_name, list_calls

Def = Union[ast.FunctionDef, ast.AsyncFunctionDef]
Note = Tuple[int, str]  # line of the script, and a sentence
MOST_BYTES = 1 << 20
WRITE = "write a TrainingStep by docs/your-own-step.md"
WIDTH = 96  # of a written line
NEW = ast.Pass()  # the original of a line that the script does not have


@dataclass
class Script:
    """A parsed script with its functions and classes by name."""

    path: Path
    text: str
    tree: ast.Module
    functions: Dict[str, Def]
    classes: Dict[str, ast.ClassDef]

    def fail(self, where: Union[int, ast.AST], text: str) -> InputError:
        """The error of a line, given by its number or its node."""
        line = where if isinstance(where, int) else getattr(where, "lineno", 0)
        return InputError(f"{self.path}, line {line}: {text}, or {WRITE}")

    def list_body(self, kind: ast.ClassDef) -> List[ast.stmt]:
        """The statements of a class and of its bases in this file, those of the bases first."""
        names = [one.id for one in kind.bases if isinstance(one, ast.Name) and one.id != kind.name]
        bases = [self.classes[name] for name in names if name in self.classes]
        return [*(line for one in bases for line in self.list_body(one)), *kind.body]

    def list_methods(self, kind: ast.ClassDef) -> Dict[str, Def]:
        """The methods of a class and of its bases in this file."""
        body = self.list_body(kind)
        return {one.name: one for one in body if isinstance(one, ast.FunctionDef)}

    def list_modules(self) -> Set[str]:
        """The modules and packages that the script imports, without those inside of them."""
        return {
            (one.name if isinstance(node, ast.Import) else str(node.module)).split(".")[0]
            for node in ast.walk(self.tree)
            if isinstance(node, Import)
            for one in node.names
        }

    def is_beside(self, module: str) -> bool:
        """Whether a module is a file or a folder beside the script."""
        place = self.path.resolve().parent / module.split(".")[0]
        return place.with_suffix(".py").is_file() or place.is_dir()


@dataclass(eq=False)
class Line:
    """A statement in the names of the straight line; `depth` is the number of loops around it.

    A `Slicer` sets the names of those before the loop over batches.
    """

    node: ast.stmt
    original: ast.stmt
    depth: int
    is_after: bool  # of the backward pass
    is_top: bool  # at the top level of the file
    assigned: Set[str] = field(default_factory=set)
    read: Set[str] = field(default_factory=set)
    changed: Set[str] = field(default_factory=set)

    def mentions(self, names: Collection[str]) -> bool:
        """Whether the line reads or changes one of these names."""
        return bool((self.read | self.changed) & set(names))


@dataclass
class Straight:
    """The straight line. `loops` are around the backward pass, the outermost first."""

    script: Script
    lines: List[Line]
    loops: List[ast.For]
    loss: ast.expr
    lineno: int  # of the backward pass
    notes: List[Note]


def read_script(path: Path) -> Script:
    """Parse a script. Raises InputError for a file that cannot be read or is no Python."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a Python file in it")
    try:
        text = read_regular(path, MOST_BYTES).decode("utf-8-sig")
        tree = ast.parse(text, str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give a Python file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text in UTF-8; save it in this encoding") from None
    except (SyntaxError, ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise InputError(f"{path}{line}: this is no Python 3 ({reason}); mend the file") from None
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    script = Script(
        path,
        text,
        tree,
        functions={one.name: one for one in tree.body if isinstance(one, functions)},
        classes={one.name: one for one in ast.walk(tree) if isinstance(one, ast.ClassDef)},
    )
    _refuse_imports(script)
    return script


def _refuse_imports(script: Script) -> None:
    for node in ast.walk(script.tree):
        if isinstance(node, Import) and any(one.name == "*" for one in node.names):
            raise InputError(
                f"{script.path}, line {node.lineno}: `{ast.unparse(node)}` hides which names it "
                "gives; import each by its name"
            )
    modules = script.list_modules()
    if "torch" in modules and "oneflow" not in modules:
        raise InputError(f"{script.path}: this is a PyTorch script; give one that uses OneFlow")


def _explain_no_backward(script: Script) -> str:
    """A sentence about a script without `loss.backward()`."""
    for call in list_calls(script.tree):
        if _is_of_autograd(call):
            return (
                f"{script.path}, line {call.lineno}: `{ast.unparse(call.func)}` is not read; write "
                f"loss.backward(), or {WRITE}"
            )
    local = []
    for node in ast.walk(script.tree):
        if isinstance(node, Import):
            module, level = getattr(node, "module", None), getattr(node, "level", 0)
            names = [module] if module else [one.name for one in node.names]
            local += ["." * level + one for one in names if level or script.is_beside(one)]
    reason = "; give a script that trains in eager mode"
    if local:
        shown = ", ".join(dict.fromkeys(local))
        reason = f", and imports are not followed ({shown}); put the training loop into the script"
    return f"{script.path}: no loss.backward() was found{reason}, or {WRITE}"


def _is_of_autograd(call: ast.Call) -> bool:
    return ast.unparse(call.func).endswith("autograd.backward")


def find_backward(script: Script) -> ast.Call:
    """The call of `loss.backward()`. Raises InputError if there is none, or several."""
    found = [
        call
        for call in list_calls(script.tree)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "backward"
        and not _is_in_graph(script.tree, call)
        and not _is_of_autograd(call)
    ]
    if not found:
        raise InputError(_explain_no_backward(script))
    if len(found) > 1:
        lines = ", ".join(str(one.lineno) for one in found)
        raise InputError(
            f"{script.path}: backward passes were found in lines {lines} and one is expected; add "
            f"the losses and call backward() once, or {WRITE}"
        )
    _refuse_backward(script, found[0])
    return found[0]


def _refuse_backward(script: Script, call: ast.Call) -> None:
    """Raise InputError for a backward pass that is scaled, weighted or in a nested function."""
    problem = ""
    if call.args or any(one.arg != "retain_graph" for one in call.keywords):
        problem = "this backward pass has arguments; put them into the loss"
    if any(last_name(one.func) == "GradScaler" for one in list_calls(script.tree)):
        problem = "a GradScaler changes the update; call loss.backward() and opt.step() without it"
    outer = [one for one in ast.walk(script.tree) if isinstance(one, ast.FunctionDef)]
    around = [one for one in outer if any(each is call for each in ast.walk(one))]
    if len(around) > 1:
        problem = (
            f"this backward pass is in the function {around[-1].name} inside {around[0].name}, "
            "which is not followed; move it to the top level of the file"
        )
    if problem:
        raise script.fail(call, problem)


def _is_in_graph(tree: ast.Module, call: ast.Call) -> bool:
    """Whether a call is in the `build` of a class, an nn.Graph."""
    return any(
        isinstance(node, ast.FunctionDef)
        and node.name == "build"
        and any(one is call for one in ast.walk(node))
        for kind in ast.walk(tree)
        if isinstance(kind, ast.ClassDef)
        for node in kind.body
    )


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
