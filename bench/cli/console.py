"""The terminal as this suite writes to it."""

from __future__ import annotations

from typing import Any

from rich import console


class Console(console.Console):
    """Prints names and errors as they are: `[red]` in a path is data and no markup.

    A closed pipe is an error like any other of the output; rich would exit with status 1.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, **options)

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704 - called where the error is handled
