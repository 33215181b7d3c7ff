"""A script as one straight line of statements that leads to its backward pass.

The calls on the way, such as `main()`, `Trainer(...).fit()` or `train_step(batch)`, are replaced by
their bodies, with parameters and `self.x` as plain names. Each name is then of one object.
"""

from __future__ import annotations

import ast
import copy
from typing import Dict, Iterator, List, Optional, Sequence

from ...errors import InputError
from .frames import Frame, Object, Renamer, sets_attributes
from .lines import NEW, Line, Loop, Straight
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
    for loop, start in reversed(list(zip(line.loops[:-1], line.starts))):
        if isinstance(loop, ast.For):  # lines in it may read its target
            text = f"{ast.unparse(loop.target)} = next(iter({ast.unparse(loop.iter)}))"
            node = ast.copy_location(ast.parse(text).body[0], loop)
            line.lines.insert(start, Line(node, NEW, 0, False, False))
    return Straight(script, line.lines, line.loops, line.loss, target.lineno)


class _Straightener:
    def __init__(self, script: Script, target: ast.Call) -> None:
        self._script, self._target = script, target
        self.lines: List[Line] = []
        self.loops: List[Loop] = []
        self.starts: List[int] = []  # of the loops, among the lines
        self.loss: Optional[ast.expr] = None
        self._depth = 0
        self._taken = {name for one in script.tree.body for name in list_assigned(one)}
        self._objects: Dict[str, Object] = {}
        self._leads: Dict[int, bool] = {}

    def follow(self, statements: Sequence[ast.stmt], frame: Frame) -> None:
        """Add statements, and replace what leads to the backward pass by what it runs."""
        for statement in statements:
            if isinstance(statement, Definition):
                self._add(statement, frame)
            elif self.loss is None and self._does_lead(statement):
                self._enter(statement, frame)
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

    def _does_lead(self, node: ast.AST) -> bool:
        """Whether a node has the backward pass in it, or calls a function that has."""
        if id(node) not in self._leads:
            self._leads[id(node)] = False  # while it is looked at: a recursion leads nowhere
            self._leads[id(node)] = any(
                one is self._target
                or any(self._has_leading_body(each) for each in self._list_candidates(one))
                for one in walk_scope(node)
                if isinstance(one, ast.Call)
            )
        return self._leads[id(node)]

    def _has_leading_body(self, function: Def) -> bool:
        return any(self._does_lead(one) for one in function.body)

    def _list_candidates(self, call: ast.Call) -> Iterator[Def]:
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

    def _enter(self, statement: ast.stmt, frame: Frame) -> None:
        if isinstance(statement, (ast.For, ast.While)):
            header = copy.copy(statement)
            header.body, header.orelse = [ast.Pass()], []
            renamed = self._rename(header, frame)
            assert isinstance(renamed, (ast.For, ast.While))
            self.loops.append(renamed)
            self.starts.append(len(self.lines))
            self._depth += 1
            self.follow(statement.body, frame)
            self._depth -= 1
        elif isinstance(statement, (ast.If, ast.Try)):
            parts = [statement.body, statement.orelse, getattr(statement, "finalbody", [])]
            self.follow(next(p for p in parts if any(map(self._does_lead, p))), frame)
        elif isinstance(statement, ast.With):
            for item in statement.items:
                if item.optional_vars is not None:
                    bound = ast.Assign(targets=[item.optional_vars], value=item.context_expr)
                    self._add(ast.copy_location(bound, statement), frame, NEW)
            self.follow(statement.body, frame)
        else:
            self._enter_call(statement, frame)

    def _enter_call(self, statement: ast.stmt, frame: Frame) -> None:
        for call in [one for one in walk_scope(statement) if isinstance(one, ast.Call)]:
            if call is self._target:
                assert isinstance(call.func, ast.Attribute)
                renamed = self._rename(call.func.value, frame)
                assert isinstance(renamed, ast.expr)
                self.loss = renamed
                return
            if any(map(self._has_leading_body, self._list_candidates(call))):
                self._run(call, frame)
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
            kind = self._find_class(receiver)
            return self._construct(kind, receiver, frame) if kind is not None else None
        if isinstance(receiver, ast.Name) and receiver.id == frame.self_name:
            return frame.owner
        renamed = self._rename(receiver, frame)
        return self._objects.get(renamed.id) if isinstance(renamed, ast.Name) else None

    def _find_class(self, call: ast.Call) -> Optional[ast.ClassDef]:
        """The class that a call makes an instance of, if its methods lead to the backward pass."""
        kind = isinstance(call.func, ast.Name) and self._script.classes.get(call.func.id)
        if not kind:
            return None
        leads = any(map(self._has_leading_body, self._script.list_methods(kind).values()))
        return kind if leads else None

    def _create_object(self, statement: ast.stmt, frame: Frame) -> bool:
        """Replace `x = Trainer(...)` by the body of `__init__`; whether it was one."""
        if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Call):
            return False
        kind = self._find_class(statement.value)
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
            if method.name != "__init__" and not self._has_leading_body(method):
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
        inner = Frame({}, owner)
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
