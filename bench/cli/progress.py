"""Progress on the terminal: a bar with the time left. Without a terminal it is lines.

The bar is drawn only when it is called. A thread of its own would draw while a worker is measured.
"""

from __future__ import annotations

import time
from typing import Iterable

from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..measure.training_log import Kind
from .console import Console

DRAWN_EVERY_S = 0.5  # at most, but for another message
MOST_SILENT_S = 30.0  # without a terminal


class ProgressBar(Progress):
    """`bar(message, done, total)` while the context is open. Shown on stderr, unless `quiet`."""

    def __init__(self, unit: str, quiet: bool = False) -> None:
        self._status, self._quiet = "", quiet
        console = Console(stderr=True)
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            auto_refresh=False,
            disable=quiet or not console.is_terminal,
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

    def get_renderables(self) -> Iterable[RenderableType]:
        """The status above the bar."""
        if self._status:
            yield Text(self._status)
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
