"""A script as one straight line of statements that leads to its backward pass.

The calls on the way, such as `main()`, `Trainer(...).fit()` or `train_step(batch)`, are replaced by
their bodies, with parameters and `self.x` as plain names. Each name is then of one object.
"""

from __future__ import annotations

import ast
import copy
from typing import Dict, List, Optional, Sequence

from ...errors import InputError
from .frames import Frame, Object, Renamer, sets_attributes
from .leads import Leads
from .lines import NEW, Line, Note, Straight
from .names import Definition, Import, list_assigned, list_locals, walk_scope
from .script import WRITE, Def, Script, find_backward


def straighten(script: Script) -> Straight:
    """Raises InputError for a script whose backward pass is not reached, or in no loop."""
    target = find_backward(script)
    line = _Straightener(script, target)
    line.follow(script.tree.body, Frame({}))
    problem = (
        "is in no loop over batches; give the whole training loop"
        if line.loss
        else ("is reached by no call at the end of the file; call the function that trains")
    )
    if line.loss is None or not line.loops:
        raise InputError(
            f"{script.path}, line {target.lineno}: this backward pass {problem}, or {WRITE}"
        )
    return Straight(script, line.lines, line.loops, line.loss, target.lineno, line.notes)


class _Straightener:
    def __init__(self, script: Script, target: ast.Call) -> None:
        self._script, self._target = script, target
        self.lines: List[Line] = []
        self.loops: List[ast.For] = []
        self.notes: List[Note] = []
        self.loss: Optional[ast.expr] = None
        self._depth = 0
        self._taken = {name for one in script.tree.body for name in list_assigned(one)}
        self._objects: Dict[str, Object] = {}
        self._leads = Leads(script, target)

    def follow(self, statements: Sequence[ast.stmt], frame: Frame) -> None:
        """Add statements, and replace what leads to the backward pass by what it runs."""
        for statement in statements:
            if isinstance(statement, Definition):
                self._add(statement, frame)
            elif isinstance(statement, ast.Return) and self._depth > frame.depth:
                raise self._fail(statement, "this return ends the loop over batches; take it out")
            elif self.loss is None and self._leads.does_lead(statement):
                self._enter(statement, frame)
            elif self.loss is not None and self._leads_again(statement, frame):
                raise self._fail(
                    statement,
                    f"this trains again by the backward pass in line {self._target.lineno}; keep "
                    "one training in the script",
                )
            elif not any(
                replace(statement, frame)
                for replace in (self._create_object, self._set_up, self._set_alias)
            ):
                self._add(statement, frame)

    def name_attribute(self, owner: Object, attribute: str) -> str:
        """The name that stands for `self.attribute`."""
        if attribute not in owner.attributes:
            owner.attributes[attribute] = self._take(attribute, owner.kind.name.lower())
        return owner.attributes[attribute]

    def _leads_again(self, node: ast.AST, frame: Frame) -> bool:
        """Whether a statement after the training runs the backward pass once more."""
        for call in [one for one in walk_scope(node) if isinstance(one, ast.Call)]:
            receiver = call.func.value if isinstance(call.func, ast.Attribute) else None
            functions = [] if receiver is not None else list(self._leads.list_candidates(call))
            if isinstance(receiver, ast.Name) and isinstance(call.func, ast.Attribute):
                owner = self._find_object(receiver, frame)
                functions = [owner.methods[call.func.attr]] if (
                    owner is not None and call.func.attr in owner.methods
                ) else []  # fmt: skip
            elif isinstance(receiver, ast.Call) and self._leads.find_class(receiver) is not None:
                functions = list(self._leads.list_candidates(call))
            if any(map(self._leads.has_leading_body, functions)):
                return True
        return False

    def _fail(self, node: ast.AST, text: str) -> InputError:
        line = getattr(node, "lineno", self._target.lineno)
        return InputError(f"{self._script.path}, line {line}: {text}, or {WRITE}")

    def _enter(self, statement: ast.stmt, frame: Frame) -> None:
        is_loop = isinstance(statement, (ast.For, ast.AsyncFor, ast.While))
        if is_loop and (not isinstance(statement, ast.For) or statement.orelse):
            raise self._fail(
                statement, "this is no plain loop; write `for ... in ...:`, without an `else`"
            )
        if isinstance(statement, ast.For):
            header = copy.copy(statement)
            header.body, header.orelse = [ast.Pass()], []
            renamed = self._rename(header, frame)
            assert isinstance(renamed, ast.For)
            self.loops.append(renamed)
            self._depth += 1
            self.follow(statement.body, frame)
            self._depth -= 1
        elif isinstance(statement, (ast.If, ast.Try)):
            parts = [statement.body, statement.orelse, getattr(statement, "finalbody", [])]
            leading = [part for part in parts if any(map(self._leads.does_lead, part))]
            self._take_branch(statement, leading)
            self.follow(leading[0], frame)
        elif isinstance(statement, ast.With):
            for item in statement.items:
                if "autocast" in ast.unparse(item.context_expr):
                    raise self._fail(statement, "this `with` is around the training; take it out")
                if self._depth and "tqdm" not in ast.unparse(item.context_expr):
                    raise self._fail(statement, "this `with` is around the step; take it out")
                if item.optional_vars is not None:
                    bound = ast.Assign(targets=[item.optional_vars], value=item.context_expr)
                    self._add(ast.copy_location(bound, statement), frame, NEW)
            self.follow(statement.body, frame)
        else:
            self._enter_call(statement, frame)

    def _take_branch(self, statement: ast.stmt, leading: Sequence[Sequence[ast.stmt]]) -> None:
        """Note a condition around the whole training; InputError for one inside its loops."""
        if len(leading) > 1:
            lines = " and ".join(str(part[0].lineno) for part in leading)
            raise self._fail(statement, f"this trains in lines {lines}; keep one of them")
        if self._depth:
            raise self._fail(
                statement, "this step is made under a condition; make it in each pass of the loop"
            )
        if isinstance(statement, ast.Try):
            self.notes.append((statement.lineno, "`except` and `finally` are left out"))
        elif isinstance(statement, ast.If) and "__name__" not in ast.unparse(statement.test):
            test = ast.unparse(statement.test)
            taken = leading[0] is statement.body
            self.notes.append((statement.lineno, f"`{test}` is taken as {taken}"))

    def _enter_call(self, statement: ast.stmt, frame: Frame) -> None:
        for call in [one for one in walk_scope(statement) if isinstance(one, ast.Call)]:
            if call is self._target:
                assert isinstance(call.func, ast.Attribute)
                renamed = self._rename(call.func.value, frame)
                assert isinstance(renamed, ast.expr)
                self.loss = renamed
                return
            if any(map(self._leads.has_leading_body, self._leads.list_candidates(call))):
                self._run(call, frame)
                for name in sorted(list_assigned(statement)):  # of what it returns
                    bound = ast.Assign([ast.Name(name, ast.Store())], ast.Constant(...))
                    self._add(ast.copy_location(bound, statement), frame, NEW)
                return

    def _run(self, call: ast.Call, frame: Frame) -> None:
        """Put the body of the function that a call runs into the line."""
        func = call.func
        if isinstance(func, ast.Name) and func.id in self._script.functions:
            self._run_function(self._script.functions[func.id], call, frame, None)
        elif isinstance(func, ast.Name):
            self._construct(self._script.classes[func.id], call, frame)
        else:
            assert isinstance(func, ast.Attribute)
            owner = self._find_object(func.value, frame)
            if owner is None or func.attr not in owner.methods:
                raise InputError(
                    f"{self._script.path}, line {call.lineno}: the object of `{func.attr}` is not "
                    f"known here; make it by its class in a line of its own before, or {WRITE}"
                )
            self._run_function(owner.methods[func.attr], call, frame, owner)

    def _find_object(self, receiver: ast.expr, frame: Frame) -> Optional[Object]:
        if isinstance(receiver, ast.Call):
            kind = self._leads.find_class(receiver)
            return self._construct(kind, receiver, frame) if kind is not None else None
        if isinstance(receiver, ast.Name) and receiver.id == frame.self_name:
            return frame.owner
        renamed = self._rename(receiver, frame)
        return self._objects.get(renamed.id) if isinstance(renamed, ast.Name) else None

    def _create_object(self, statement: ast.stmt, frame: Frame) -> bool:
        """Replace `x = Trainer(...)` by the body of `__init__`; whether it was one."""
        if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Call):
            return False
        kind = self._leads.find_class(statement.value)
        target = self._rename(statement.targets[0], frame)
        if kind is None or not isinstance(target, ast.Name):
            return False
        self._objects[target.id] = self._construct(kind, statement.value, frame)
        return True

    def _construct(self, kind: ast.ClassDef, call: ast.Call, frame: Frame) -> Object:
        owner = Object(kind, self._script.list_methods(kind))
        for statement in self._script.list_class_lines(kind):
            names = {name: self.name_attribute(owner, name) for name in list_assigned(statement)}
            self._add(statement, Frame(names))
        start = len(self.lines)
        if "__init__" in owner.methods:
            self._run_function(owner.methods["__init__"], call, frame, owner)
        made = self.lines[start:]
        del self.lines[start:]
        for method in owner.methods.values():
            if method.name != "__init__" and not self._leads.has_leading_body(method):
                self._add_helper(method, owner)
        self.lines += made  # after the functions that they call
        return owner

    def _add_helper(self, method: Def, owner: Object) -> None:
        """A method as a function, with the attributes as names from around it."""
        helper = copy.deepcopy(method)
        self_name = ""
        if "staticmethod" not in map(ast.unparse, helper.decorator_list):
            self_name = helper.args.args.pop(0).arg if helper.args.args else ""
        helper.decorator_list = []
        name = self.name_attribute(owner, helper.name)
        self._add(helper, Frame({helper.name: name}, owner, self_name), NEW)

    def _set_up(self, statement: ast.stmt, frame: Frame) -> bool:
        """Replace `self.build()`, which assigns attributes, by its body; whether it was one."""
        call = statement.value if isinstance(statement, ast.Expr) else None
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            return False
        if isinstance(call.func.value, ast.Call):
            return False
        owner = self._find_object(call.func.value, frame)
        method = owner.methods.get(call.func.attr) if owner is not None else None
        if method is None or not method.args.args or not sets_attributes(method):
            return False
        self._run_function(method, call, frame, owner)
        return True

    def _set_alias(self, statement: ast.stmt, frame: Frame) -> bool:
        """Let `self.x = y` stand for y itself; whether it was one."""
        if not isinstance(statement, ast.Assign) or frame.owner is None:
            return False
        target = statement.targets[0]
        value = self._rename(statement.value, frame)
        if not isinstance(target, ast.Attribute) or not isinstance(value, ast.Name):
            return False
        if not isinstance(target.value, ast.Name) or target.value.id != frame.self_name:
            return False
        return frame.owner.attributes.setdefault(target.attr, value.id) == value.id

    def _run_function(
        self, function: Def, call: ast.Call, frame: Frame, owner: Optional[Object]
    ) -> None:
        parameters = [*function.args.posonlyargs, *function.args.args]
        inner = Frame({}, owner, depth=self._depth)
        if owner is not None and parameters:
            inner.self_name = parameters.pop(0).arg
        given: Dict[str, ast.expr] = {}
        for parameter, value in zip(reversed(parameters), reversed(function.args.defaults)):
            given[parameter.arg] = value
        for parameter, default in zip(function.args.kwonlyargs, function.args.kw_defaults):
            if default is not None:
                given[parameter.arg] = default
        passed = dict(zip((one.arg for one in parameters), call.args))
        passed.update({one.arg: one.value for one in call.keywords if one.arg is not None})
        for name, value in passed.items():
            renamed = self._rename(value, frame)
            assert isinstance(renamed, ast.expr)
            given[name] = renamed
        imports = [one for one in function.body if isinstance(one, Import)]
        imported = {name for one in imports for name in list_assigned(one)}
        for name in sorted(list_locals(function) - imported - {inner.self_name}):
            passed_on = given.get(name)
            alias = passed_on.id if isinstance(passed_on, ast.Name) else None
            inner.names[name] = alias or self._take(name, function.name)
        for name, value in given.items():
            if not isinstance(value, ast.Name) and name in inner.names:
                target = ast.Name(inner.names[name], ast.Store())
                bound = ast.Assign(targets=[target], value=value)
                self._add(ast.copy_location(bound, call), Frame({}), NEW)
        self.follow(function.body, inner)

    def _take(self, name: str, scope: str) -> str:
        taken = name if name not in self._taken else f"{name}_{scope.strip('_')}"
        while taken in self._taken:
            taken += "_"
        self._taken.add(taken)
        return taken

    def _rename(self, node: ast.AST, frame: Frame) -> ast.AST:
        renamed: ast.AST = Renamer(self.name_attribute, frame).visit(copy.deepcopy(node))
        return renamed

    def _add(self, statement: ast.stmt, frame: Frame, original: Optional[ast.stmt] = None) -> None:
        node = self._rename(statement, frame)
        assert isinstance(node, ast.stmt)
        ast.fix_missing_locations(node)
        is_top = statement in self._script.tree.body
        source = original or statement
        self.lines.append(Line(node, source, self._depth, self.loss is not None, is_top))
