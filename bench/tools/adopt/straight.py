"""A script as one straight line of statements that leads to its backward pass.

The calls on the way, such as `main()`, `Trainer(...).fit()` or `train_step(batch)`, are replaced by
their bodies, with parameters and `self.x` as plain names. Each name is then of one object.
"""

from __future__ import annotations

import ast
import copy
from typing import Dict, List, Optional, Sequence, TypeVar

from ...errors import InputError
from .calls import Frame, Leads, Object, Renamer, sets_attributes
from .names import Definition, Import, list_assigned, list_locals, match_arguments, walk_scope
from .script import NEW, Def, Line, Note, Script, Straight, find_backward

Node = TypeVar("Node", bound=ast.AST)


def straighten(script: Script) -> Straight:
    """Raises InputError for a script whose backward pass is not reached, or in no loop."""
    target = find_backward(script)
    line = _Straightener(script, target)
    line.follow(script.tree.body, Frame({}))
    if line.loss is None:
        problem = "reached by no call at the end of the file; call the function that trains"
        raise script.fail(target, f"this backward pass is {problem}")
    if not line.loops:
        problem = "in no loop over batches; give the whole training loop"
        raise script.fail(target, f"this backward pass is {problem}")
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
                text = f"this trains again by the backward pass in line {self._target.lineno}"
                raise self._fail(statement, f"{text}; keep one training in the script")
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
            functions = list(self._leads.list_candidates(call))
            if isinstance(call.func, ast.Attribute):
                receiver = call.func.value
                if isinstance(receiver, ast.Name):
                    owner = self._find_object(receiver, frame)
                    method = owner.methods.get(call.func.attr) if owner is not None else None
                    functions = [method] if method is not None else []
                elif not isinstance(receiver, ast.Call) or not self._leads.find_class(receiver):
                    continue
            if any(map(self._leads.has_leading_body, functions)):
                return True
        return False

    def _fail(self, node: ast.AST, text: str) -> InputError:
        return self._script.fail(getattr(node, "lineno", self._target.lineno), text)

    def _enter(self, statement: ast.stmt, frame: Frame) -> None:
        is_loop = isinstance(statement, (ast.For, ast.AsyncFor, ast.While))
        if is_loop and (not isinstance(statement, ast.For) or statement.orelse):
            text = "this is no plain loop; write `for ... in ...:`, without an `else`"
            raise self._fail(statement, text)
        if isinstance(statement, ast.For):
            header = copy.copy(statement)
            header.body, header.orelse = [ast.Pass()], []
            self.loops.append(self._rename(header, frame))
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
            text = "this step is made under a condition; make it in each pass of the loop"
            raise self._fail(statement, text)
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
                self.loss = self._rename(call.func.value, frame)
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
                text = f"the object of `{func.attr}` is not known here"
                raise self._fail(call, f"{text}; make it by its class in a line of its own before")
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
        for line in [one for one in self._script.list_body(kind) if isinstance(one, ast.Assign)]:
            names = {name: self.name_attribute(owner, name) for name in list_assigned(line)}
            self._add(line, Frame(names))
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
        defaults = zip(reversed(parameters), reversed(function.args.defaults))
        given = {parameter.arg: value for parameter, value in defaults}
        for parameter, default in zip(function.args.kwonlyargs, function.args.kw_defaults):
            if default is not None:
                given[parameter.arg] = default
        for name, value in match_arguments(parameters, call).items():
            given[name] = self._rename(value, frame)
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

    def _rename(self, node: Node, frame: Frame) -> Node:
        renamed: Node = Renamer(self.name_attribute, frame).visit(copy.deepcopy(node))
        return renamed

    def _add(self, statement: ast.stmt, frame: Frame, original: Optional[ast.stmt] = None) -> None:
        node = ast.fix_missing_locations(self._rename(statement, frame))
        is_top = statement in self._script.tree.body
        source = original or statement
        self.lines.append(Line(node, source, self._depth, self.loss is not None, is_top))
