"""The workload file and the graph script of a training, as text."""

from __future__ import annotations

import ast
import copy
import os
import re
import textwrap
from pathlib import Path
from typing import Any, Dict, List, Sequence, Set, Tuple, Union

import jinja2

from .claims.evaluation import list_parts
from .names import Definition, Import, Replacer, list_assigned, list_read, split_counter
from .placing import Places
from .script import Line, show, show_header
from .training import Training

_TEMPLATE = Path(__file__).with_name("files.template")


def name_file(script: Path, kind: str) -> Path:
    """Such as `train_bench.py` for `train.py`, which Python can import."""
    name = re.sub(r"\W", "_", script.stem)
    return Path(f"{name}_{kind}.py")


class Writer:
    """Writes both files from the same parts, for a folder that they will be in."""

    def __init__(self, training: Training, places: Places, folder: Path) -> None:
        self._training, self._places, self._folder = training, places, folder
        self._script = training.straight.script
        self._source = self._script.text.splitlines()
        self._taken = self._list_taken()
        self.step = "step" if "step" not in self._taken else "training_step"

    def write_workload(self) -> str:
        """The file that defines the `TrainingStep`."""
        return self._render("a TrainingStep", is_workload=True)

    def write_graph(self) -> str:
        """The script that trains by an nn.Graph and needs OneFlow alone."""
        return self._render("a compiled graph")

    def _render(self, kind: str, is_workload: bool = False) -> str:
        training, places = self._training, self._places
        template = _TEMPLATE.read_text(encoding="utf-8")
        functions = re.findall(r"names\.(\w+)", template)
        names = {one: one if one not in self._taken else f"{one}_of_step" for one in functions}
        words = {one: self._find_alias(one) for one in ("random", "numpy", "oneflow")}
        header, epoch = describe_epochs(training)
        evaluates = training.evaluation_loader is not None
        context: Dict[str, Any] = {
            "training": training,
            "places": places,
            "title": f"The training of {self._script.path.name} as {kind}.",
            "script": self._script.path.name,
            "script_module": self._script.path.stem,
            "module_name": name_file(self._script.path, "bench").stem,
            "step": self.step if is_workload else "",
            "folder": self._find_folder(),
            "top": self._show_top(),
            "names": names,
            "batch_dict": self._describe_batch(),
            "create_module": self._show_all(places.module),
            "read_batches": self._show_batches(places.batches, {}, training.data),
            "create_evaluation_batches": self._show_evaluation() if evaluates else "",
            "compute_loss": self._show_function(
                list(map(self._show, training.steps)), ast.unparse(training.straight.loss)
            ),
            "evaluate": self._show_metrics(),
            "create_optimizer": self._show_all(places.optimizer),
            "epochs": header,
            "epoch": epoch,
            **words,
        }
        context["imports"] = self._list_imports(words, context, is_workload)
        environment = jinja2.Environment(
            trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
            undefined=jinja2.StrictUndefined,
        )  # fmt: skip
        return environment.from_string(template).render(context)

    # -- names and imports

    def _list_taken(self) -> Set[str]:
        """The names that the copied lines use."""
        nodes: List[ast.AST] = [one.node for one in (*self._training.data, *self._training.steps)]
        if self._training.evaluation is not None:
            nodes += [*self._training.evaluation.lines, *self._training.evaluation.metrics.values()]
        nodes += [line.node for line in self._places.copied]
        found = {name for one in nodes for name in list_read(one) | list_assigned(one)}
        return {*found, *self._places.imported, *self._training.batch}

    def _find_alias(self, module: str) -> str:
        """The name of a module in the copied lines, or a free one."""
        for line in self._training.slicer.lines:
            if isinstance(line.node, ast.Import) and line.is_top:
                for one in line.node.names:
                    if one.name == module:
                        return one.asname or one.name
        usual = {"numpy": "np", "oneflow": "flow"}.get(module, module)
        return f"_{usual}" if usual in self._training.slicer.names() else usual

    def _show_top(self) -> str:
        """The copied lines at the top of the file, with room around functions and classes."""
        text, after = "", False
        for line in [one for one in self._places.top if not isinstance(one.node, Import)]:
            is_definition = isinstance(line.node, Definition)
            room = "\n\n\n" if is_definition or after else "\n"
            text += f"{room if text else room[1:]}{self._show(line)}"
            after = is_definition
        return text

    def _list_imports(
        self, words: Dict[str, str], context: Dict[str, Any], is_workload: bool
    ) -> List[str]:
        """The copied imports without what is not read, and those that the file needs itself."""
        parts = ("top", "create_module", "read_batches", "create_evaluation_batches")
        texts = [context[one] for one in (*parts, "compute_loss", "evaluate", "create_optimizer")]
        read = list_read(ast.parse("\n".join([*texts, f"{context['epochs']}\n    pass"])))
        found: List[Union[ast.Import, ast.ImportFrom]] = []
        for node in [copy.deepcopy(line.node) for line in self._places.top]:
            if isinstance(node, Import):
                is_future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
                node.names = [one for one in node.names if is_future or list_assigned(one) & read]
                found += [node] if node.names else []
        plain = [node for node in found if isinstance(node, ast.Import)]
        present = {(one.name, one.asname or one.name) for node in plain for one in node.names}
        wanted = [
            f"import {module}" + ("" if alias == module else f" as {alias}")
            for module, alias in words.items()
            if (module, alias) not in present
        ]
        if context["folder"] is not None:
            wanted += ["import sys", "from pathlib import Path"]
        future = [
            ast.unparse(one.node)
            for one in self._training.slicer.lines
            if isinstance(one.node, ast.ImportFrom) and one.node.module == "__future__"
        ]
        others = {*map(ast.unparse, found), *wanted} - {*future}
        own = ["", "from oneflow_bench import TrainingStep"] if is_workload else []
        return [*future, *sorted(others, key=lambda one: (one.startswith("from"), one)), *own]

    def _find_folder(self) -> Any:
        """What leads from the written file to the script's folder; None where it is not needed."""
        local = any(map(self._script.is_beside, self._script.list_modules()))
        if not local and not self._places.imported:
            return None
        way = os.path.relpath(self._script.path.resolve().parent, self._folder.resolve())
        return "" if way == "." else f" / {way!r}"

    # -- text

    def _show(self, line: Line) -> str:
        """A line as it stands in the script if nothing of it was rewritten."""
        original = line.original
        if ast.dump(line.node) != ast.dump(original):
            return show(line.node)
        first = min([original.lineno, *(d.lineno for d in getattr(original, "decorator_list", []))])
        last = original.end_lineno or first
        text = self._source[first - 1 : last]
        is_alone = not text[0][: original.col_offset].strip() or first != original.lineno
        shown = textwrap.dedent("\n".join(text))
        try:
            is_alone = is_alone and len(ast.parse(shown).body) == 1
        except SyntaxError:
            is_alone = False
        return shown if is_alone else show(original)

    def _show_all(self, lines: Sequence[Line]) -> str:
        return "\n".join(map(self._show, lines))

    def _describe_batch(self) -> str:
        return "{" + ", ".join(f'"{name}": {name}' for name in self._training.batch) + "}"

    def _show_batches(
        self, made: Sequence[Line], replaced: Dict[str, ast.expr], data: Sequence[Line]
    ) -> str:
        """The loop over batches, which yields each; `replaced` stand for names."""
        change = Replacer(replaced)
        body = [
            show(change.visit(copy.deepcopy(one.node))) if replaced else self._show(one)
            for one in data
        ]
        body.append(f"yield {self._describe_batch()}")
        header = change.visit(copy.deepcopy(describe_loop(self._training)))
        before = self._show_all(made)
        shown = textwrap.indent("\n".join(body), "    ")
        return "\n".join([*([before] if before else []), show_header(header), shown])

    def _show_evaluation(self) -> str:
        training = self._training
        ours = list_read(training.loop.iter)
        assert training.evaluation_loader is not None
        made = {one for one in ours if one in training.loader}
        callables = {"enumerate", "range", "len", "zip", "iter"}
        loader: ast.expr = ast.Name(training.evaluation_loader, ast.Load())
        replaced, data = dict.fromkeys(made - callables, loader), training.data
        if training.evaluation is not None:
            names, rest = list_parts(describe_loop(training).target, [one.node for one in data])
            if set(training.batch) <= set(names):  # what else changes them is of the training
                data = data[: len(data) - len(rest)]
        return self._show_batches(self._places.evaluation, replaced, data)

    def _show_metrics(self) -> str:
        """The body of `evaluate`, beside whose metrics the loss stands."""
        found = self._training.evaluation
        if found is None:
            return ""
        metrics = {name: ast.unparse(value) for name, value in found.metrics.items()}
        name = "compute_loss" if "compute_loss" not in self._taken else "compute_loss_of_step"
        metrics.setdefault("loss", f"{name}({self._training.module}, batch)")
        shown = "".join(f'    "{name}": {text},\n' for name, text in metrics.items())
        return self._show_function(list(map(show, found.lines)), f"{{\n{shown}}}")

    def _show_function(self, lines: Sequence[str], value: str) -> str:
        """The lines of a function of the module and a batch."""
        batch = self._training.batch
        values = ", ".join(f'batch["{name}"]' for name in batch)
        parts = [self._show_all(self._places.loss), f"{', '.join(batch)} = {values}", *lines]
        return "\n".join(one for one in (*parts, f"return {value}") if one)


def describe_loop(training: Training) -> ast.For:
    """The loop over batches, without a counter that nothing reads."""
    loop = copy.copy(training.loop)
    read = {name for one in training.data for name in list_read(one.node)} | set(training.batch)
    counter, target, data = split_counter(loop)
    if counter is not None and not list_assigned(counter) & read:
        loop.target, loop.iter = target, data
    return loop


def describe_epochs(training: Training) -> Tuple[str, str]:
    """The first line of the loop over epochs, and the name of its number."""
    outer = training.straight.loops[-2] if len(training.straight.loops) > 1 else None
    if outer is None:
        return "for epoch in range(1):", "epoch"
    if isinstance(outer.target, ast.Name):
        return show_header(outer), outer.target.id
    return f"for epoch, _ in enumerate({ast.unparse(outer.iter)}):", "epoch"
