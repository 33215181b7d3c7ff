"""The terminal as this suite writes to it."""

from __future__ import annotations

import io
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Sequence

import click
from rich import console

from ..errors import InputError
from ..record.run import create_run_folder
from ..report.blocks import Block, Text, print_blocks

BELOW = 3  # lines of a screen below a report: the folder and the prompt
ALL, VERDICTS = "all", "verdicts"  # of a report; without one of them a summary is printed


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
        "--quiet",
        "detail",
        flag_value=VERDICTS,
        help="Print the verdicts alone, and no progress.",
    )
    return more(less(command))


def print_detail(
    detail: Optional[str],
    report: Callable[[], List[Block]],
    summary: Callable[[], List[Block]],
    verdicts: Callable[[], List[Block]],
) -> bool:
    """The whole report, its summary or its verdicts, to standard output.

    False if a terminal has lost its first lines by then.
    """
    blocks, console = {ALL: report, VERDICTS: verdicts}.get(str(detail), summary)(), Console()
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
