"""The terminal as this suite writes to it: results, and the progress towards them."""

from __future__ import annotations

import io
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, List, Optional, Sequence

import click
from rich import console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text as Prose

from ..errors import InputError
from ..measure.training_log import Kind
from ..record.run import create_run_folder
from ..report.blocks import Block, Text, print_blocks

BELOW = 3  # lines of a screen below a report: the folder and the prompt
ALL, VERDICTS = "all", "verdicts"  # of a report; without one of them a summary is printed
DRAWN_EVERY_S = 0.5  # at most, but for another message
MOST_SILENT_S = 30.0  # without a terminal


class Console(console.Console):
    """Prints names and errors as they are: `[red]` in a path is data and no markup.

    NO_COLOR leaves bold type out too. A closed pipe is an error like any other of the output; rich
    would exit with status 1.
    """

    def __init__(self, **options: Any) -> None:
        if os.environ.get("NO_COLOR"):
            options["color_system"] = None
        super().__init__(markup=False, highlight=False, **options)

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704 - called where the error is handled


def detail_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the flags that choose how much of a report is printed."""
    more = click.option("-v", "--verbose", "detail", flag_value=ALL, help="Print all numbers.")
    less = click.option(
        "--quiet", "detail", flag_value=VERDICTS, help="Print the verdicts alone, and no progress."
    )
    return more(less(command))


def print_detail(
    detail: Optional[str], report: List[Block], summary: List[Block], verdicts: List[Block]
) -> bool:
    """The whole report, its summary or its verdicts, to standard output.

    False if a terminal has lost its first lines by then.
    """
    blocks, console = {ALL: report, VERDICTS: verdicts}.get(str(detail), summary), Console()
    print_blocks(blocks, console)
    if not console.is_terminal:
        return True
    lines = io.StringIO()
    print_blocks(blocks, Console(file=lines, width=console.width))
    return lines.getvalue().count("\n") + BELOW <= console.height


def print_place(what: str, folder: Optional[Path], verdicts: Sequence[str] = ()) -> None:
    """Where the results are, in one line that can be copied, and the verdicts once more."""
    console = Console()
    if folder is not None:
        fits = not console.is_terminal or len(f"{what}: {folder}") <= console.width
        click.echo(f"\n{what}:{' ' if fits else os.linesep}{folder}")
    if verdicts:
        console.print()
        print_blocks([Text(list(verdicts))], console)


@contextmanager
def fresh_run_folder(folder: Path) -> Iterator[None]:
    """A new run folder, which an InputError inside removes, since then nothing was run."""
    create_run_folder(folder)
    try:
        yield
    except InputError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


class ProgressBar(Progress):
    """`bar(message, done, total)` while the context is open. Shown on stderr, unless `quiet`.

    A bar has the time left. Without a terminal it is lines. It is drawn only when it is called: a
    thread of its own would draw while a worker is measured.
    """

    def __init__(self, unit: str, quiet: bool = False) -> None:
        self._status, self._quiet = "", quiet
        screen = Console(stderr=True)
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeRemainingColumn(),
            console=screen,
            transient=True,
            auto_refresh=False,
            disable=quiet or not screen.is_terminal,
        )
        self._unit, self._message, self._drawn_s = unit, "", 0.0
        self._told_s = time.monotonic()
        self._bar = self.add_task("", total=None, unit=unit)

    def __call__(self, message: str, done: int, total: int, unit: str = "") -> None:
        now_s = time.monotonic()
        if message == self._message and now_s - self._drawn_s < DRAWN_EVERY_S:
            return
        self._message, self._drawn_s = message, now_s
        self.update(
            self._bar, description=message, completed=done, total=total, unit=unit or self._unit
        )
        self.refresh()
        if self.disable and now_s - self._told_s > MOST_SILENT_S:
            self.print_line(f"{message}: {done} of {total} {unit or self._unit}")

    def get_renderables(self) -> Iterable[console.RenderableType]:
        """The status above the bar."""
        if self._status:
            yield Prose(self._status)
        yield from super().get_renderables()

    def seconds(self, message: str, done: int, total: int) -> None:
        """The same as a call, for a part of the job that is counted in seconds."""
        self(message, done, total, "s")

    def tell(self, line: str, kind: Kind) -> None:
        """Show a line of a training above the bar until the next one; print what stays."""
        self._status = "" if kind == "epoch" else line
        if kind == "epoch" or (self.disable and kind == "step"):
            self.print_line(line)

    def print_line(self, line: str) -> None:
        """Print a line that stays above the bar, also without a terminal."""
        self._told_s = time.monotonic()
        if not self._quiet:
            self.console.print(line, soft_wrap=not self.console.is_terminal)
