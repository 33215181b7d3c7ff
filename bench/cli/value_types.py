"""Types of values on the command line that click does not bring."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

import click
from click.shell_completion import CompletionItem

from ...models import list_models
from ..config import LOSS_ARGUMENTS, OPTIMIZERS
from ..plan.graph_options import parse_option

# what click says of a part, in plain words
_WORDS = {
    "a valid integer range": "a whole number",
    "a valid float range": "a number",
    "a valid integer": "a whole number",
}


RESULTS = "results"  # the folder of the runs
LATEST = "latest"  # the run that was begun last


class RunFolder(click.ParamType):
    """A run folder: its path, the beginning of its name in `results`, or `latest`.

    `kinds` are those of the documents in such folders: record, check, sweep. A word that names no
    run is kept as it is, and its reader says what is not there.
    """

    name = "run"

    def __init__(self, *kinds: str) -> None:
        self.kinds = kinds or ("record",)

    def convert(
        self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]
    ) -> str:
        text = str(value)
        if os.path.exists(text) or os.sep in text:
            folder, file = os.path.split(text)
            return folder or os.curdir if file in [f"{kind}.json" for kind in self.kinds] else text
        runs = self._find_runs()
        if text == LATEST:
            if not runs:
                kind = self.kinds[0]
                noun, maker = ("run", "compare") if kind == "record" else (kind, kind)
                self.fail(f"{RESULTS} holds no {noun} yet; `bench {maker}` makes one", param, ctx)
            return str(max(runs.values(), key=_read_creation).parent)
        found = [name for name in runs if name.startswith(text)]
        if len(found) > 1:
            self.fail(
                f"{text} begins the names of {len(found)} runs in {RESULTS}: {', '.join(found)}; "
                "give more letters of one",
                param,
                ctx,
            )
        return str(runs[found[0]].parent) if found else text

    def _find_runs(self) -> Dict[str, Path]:
        """The documents in `results` by the names of their folders."""
        found = [path for kind in self.kinds for path in Path(RESULTS).glob(f"*/{kind}.json")]
        return {path.parent.name: path for path in sorted(found)}

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> List[CompletionItem]:
        """The names of the runs; paths are completed by the shell."""
        names = [LATEST, *self._find_runs()]
        found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return found or [CompletionItem(incomplete, type="dir")]


class NameOrCode(click.ParamType):
    """A known name, or MODULE:NAME of the user's own code. Whoever builds it checks it."""

    name = "text"

    def __init__(self, list_names: Callable[[], Iterable[str]]) -> None:
        self._list_names = list_names

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> List[CompletionItem]:
        """The known names."""
        names = self._list_names()
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


# of the configuration's fields whose values a shell completes
FIELD_TYPES: Dict[str, click.ParamType] = {
    **dict.fromkeys(["model", "teacher"], NameOrCode(list_models)),
    "loss": NameOrCode(lambda: LOSS_ARGUMENTS),
    "optimizer": NameOrCode(lambda: OPTIMIZERS),
    **dict.fromkeys(["load_checkpoint", "teacher_checkpoint", "resume"], RunFolder()),
}


def _read_creation(path: Path) -> str:
    """When a run was begun; a damaged record is older than any other."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["created"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


class NumberRange(click.FloatRange):
    """A finite number within bounds. Click itself lets nan pass every bound."""

    def convert(
        self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]
    ) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


class ValueList(click.ParamType):
    """Values of another type, separated by commas."""

    def __init__(self, inner: click.ParamType) -> None:
        self.inner = inner
        self.name = f"{inner.name} list"

    def get_metavar(self, *arguments: Any, **named: Any) -> str:
        return "V1,V2,..."

    def convert(
        self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]
    ) -> Tuple[Any, ...]:
        if not isinstance(value, str):
            return tuple(value)
        parts = [part.strip() for part in value.split(",")]
        if not all(parts):
            self.fail(f"'{value}' has an empty place; give values separated by commas", param, ctx)
        try:
            converted = [self.inner.convert(part, param, ctx) for part in parts]
        except click.BadParameter as error:
            said = error.message
            for jargon, word in _WORDS.items():
                said = said.replace(jargon, word)
            self.fail(f"in the list '{value}', {said}", param, ctx)
        return tuple(dict.fromkeys(converted))


def percent(text: str) -> float:
    """A share above 0 and below 1, typed as 3% or 0.03; the type of a flag."""
    number = text.strip()
    try:
        share = float(number[:-1]) / 100 if number.endswith("%") else float(number)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise click.BadParameter(f"{text} is no share between 0 and 1; give one such as 3% or 0.03")
    return share


def parse_pairs(
    context: click.Context, parameter: click.Parameter, values: Tuple[str, ...]
) -> Optional[Dict[str, Any]]:
    """KEY=VALUE pairs; the value is a number, true or false where it looks like one."""
    arguments: Dict[str, Any] = {}
    for pair in values:
        key, separator, text = pair.partition("=")
        if not separator or not key.isidentifier():
            raise click.BadParameter(f"{pair} is not KEY=VALUE, such as depth=40")
        arguments[key] = parse_option(text)
    return arguments or None
