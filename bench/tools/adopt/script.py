"""A training script as a syntax tree, with its functions, classes and backward pass."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Union

from ....data.files import read_regular
from ...errors import InputError

Def = Union[ast.FunctionDef, ast.AsyncFunctionDef]
MOST_BYTES = 1 << 20
WRITE = "write a TrainingStep by docs/your-own-step.md"


@dataclass
class Script:
    """A parsed script with its functions and classes by name."""

    path: Path
    text: str
    tree: ast.Module
    functions: Dict[str, Def] = field(default_factory=dict)
    classes: Dict[str, ast.ClassDef] = field(default_factory=dict)

    def find_method(self, kind: ast.ClassDef, name: str) -> Optional[Def]:
        """A method of a class or of its bases in this file."""
        for one in kind.body:
            if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)) and one.name == name:
                return one
        bases = [self.classes.get(one.id) for one in kind.bases if isinstance(one, ast.Name)]
        found = [self.find_method(one, name) for one in bases if one is not None]
        return next((one for one in found if one is not None), None)

    def list_methods(self, kind: ast.ClassDef) -> Dict[str, Def]:
        """The methods of a class and of its bases in this file."""
        found: Dict[str, Def] = {}
        for one in kind.bases:
            if isinstance(one, ast.Name) and one.id in self.classes:
                found.update(self.list_methods(self.classes[one.id]))
        found.update({one.name: one for one in kind.body if isinstance(one, ast.FunctionDef)})
        return found

    def list_class_lines(self, kind: ast.ClassDef) -> List[ast.stmt]:
        """The assignments in the body of a class and of its bases in this file."""
        bases = [self.classes.get(one.id) for one in kind.bases if isinstance(one, ast.Name)]
        found = [line for one in bases if one is not None for line in self.list_class_lines(one)]
        return [*found, *(one for one in kind.body if isinstance(one, ast.Assign))]


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
    script = Script(path, text, tree)
    _refuse_imports(script)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            script.classes[node.name] = node
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            script.functions[node.name] = node
    return script


def _refuse_imports(script: Script) -> None:
    imports = [
        one for one in ast.walk(script.tree) if isinstance(one, (ast.Import, ast.ImportFrom))
    ]
    for node in imports:
        if any(one.name == "*" for one in node.names):
            raise InputError(
                f"{script.path}, line {node.lineno}: `{ast.unparse(node)}` hides which names it "
                "gives; import each by its name"
            )
    modules = {
        (one.name if isinstance(node, ast.Import) else str(node.module)).split(".")[0]
        for node in imports
        for one in node.names
    }
    if "torch" in modules and "oneflow" not in modules:
        raise InputError(f"{script.path}: this is a PyTorch script; give one that uses OneFlow")


def _explain_no_backward(script: Script) -> str:
    """A sentence about a script without `loss.backward()`."""
    for node in ast.walk(script.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("autograd.backward"):
            return (
                f"{script.path}, line {node.lineno}: `{ast.unparse(node.func)}` is not read; write "
                f"loss.backward(), or {WRITE}"
            )
    local = []
    for node in ast.walk(script.tree):
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [str(node.module)] if node.module else [one.name for one in node.names]
        for name in names:
            place = script.path.parent / name.split(".")[0]
            if getattr(node, "level", 0) or place.with_suffix(".py").is_file() or place.is_dir():
                local.append(f"{'.' * getattr(node, 'level', 0)}{name}")
    if local:
        return (
            f"{script.path}: no loss.backward() was found, and imports are not followed "
            f"({', '.join(dict.fromkeys(local))}); put the training loop into the script, or "
            f"{WRITE}"
        )
    return (
        f"{script.path}: no loss.backward() was found; give a script that trains in eager mode, or "
        f"{WRITE}"
    )


def find_backward(script: Script) -> ast.Call:
    """The call of `loss.backward()`. Raises InputError if there is none, or several."""
    found = [
        node
        for node in ast.walk(script.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "backward"
        and not _is_in_graph(script.tree, node)
        and not ast.unparse(node.func).endswith("autograd.backward")
    ]
    if not found:
        raise InputError(_explain_no_backward(script))
    if len(found) > 1:
        lines = ", ".join(str(one.lineno) for one in found)
        raise InputError(
            f"{script.path}: backward passes were found in lines {lines} and one is expected; add "
            f"the losses and call backward() once, or {WRITE}"
        )
    call = found[0]
    _refuse_backward(script, call)
    return call


def _refuse_backward(script: Script, call: ast.Call) -> None:
    """Raise InputError for a backward pass that is scaled, weighted or in a nested function."""
    assert isinstance(call.func, ast.Attribute)
    problem = ""
    if call.args or any(one.arg != "retain_graph" for one in call.keywords):
        problem = "this backward pass has arguments; put them into the loss"
    scalers = [one for one in ast.walk(script.tree) if isinstance(one, ast.Call)]
    if any(ast.unparse(one.func).split(".")[-1] == "GradScaler" for one in scalers):
        problem = "a GradScaler changes the update; call loss.backward() and opt.step() without it"
    outer = [one for one in ast.walk(script.tree) if isinstance(one, ast.FunctionDef)]
    around = [one for one in outer if any(each is call for each in ast.walk(one))]
    if len(around) > 1:
        problem = (
            f"this backward pass is in the function {around[-1].name} inside {around[0].name}, "
            "which is not followed; move it to the top level of the file"
        )
    if problem:
        raise InputError(f"{script.path}, line {call.lineno}: {problem}, or {WRITE}")


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
