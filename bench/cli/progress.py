"""Progress on the terminal: a bar with the time left. Without a terminal nothing is drawn.

The bar is drawn only when it is called. A thread of its own would draw while a worker is measured.
"""

from __future__ import annotations

import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .console import Console

DRAWN_EVERY_S = 0.5  # at most, but for another message


class ProgressBar(Progress):
    """`bar(message, done, total)` while the context is open. Shown on stderr."""

    def __init__(self, unit: str) -> None:
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
            disable=not console.is_terminal,
        )
        self._unit, self._message, self._drawn_s = unit, "", 0.0
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

    def seconds(self, message: str, done: int, total: int) -> None:
        """The same as a call, for a part of the job that is counted in seconds."""
        self(message, done, total, "s")

    def print_line(self, line: str) -> None:
        """Print a line that stays above the bar, also without a terminal."""
        self.console.print(line, soft_wrap=True)
