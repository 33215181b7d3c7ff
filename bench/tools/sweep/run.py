"""Runs the cells of a sweep one after the other and stores each as it ends."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Callable, List, Optional, Sequence

from ...errors import BenchError, Interrupted
from .document import Cell, CellResult, SweepDocument, save_sweep

# position of a cell in the document -> what became of it
Execute = Callable[[int], CellResult]
# (cell that is starting or has ended, cells done, cells in all, seconds left or None)
CellObserver = Callable[[Cell, int, int, Optional[float]], None]


def run_sweep(
    document: SweepDocument,
    folder: Path,
    order: Sequence[int],
    execute: Execute,
    observe: CellObserver = lambda cell, done, total, left_s: None,
) -> None:
    """Run the cells that have no result, in `order`. `sweep.json` is true after every cell.

    `observe` is told of each cell before it starts and after it ended (then it has a result).
    Raises Interrupted on Ctrl-C, and InputError where the folder cannot be written to.
    """
    durations_s: List[float] = []
    waiting = [position for position in order if document.cells[position].result is None]
    total = len(document.cells)
    document.status = "running"
    save_sweep(folder, document)
    try:
        for count, position in enumerate(waiting):
            cell, left = document.cells[position], len(waiting) - count
            observe(cell, total - left, total, estimate_remaining_s(durations_s, left))
            cell.result = execute(position)
            durations_s.append(cell.result.duration_s)
            save_sweep(folder, document)
            observe(cell, total - left + 1, total, estimate_remaining_s(durations_s, left - 1))
        document.status = "complete"
    except (Interrupted, KeyboardInterrupt):
        document.status = "interrupted"
        done = sum(cell.result is not None for cell in document.cells)
        raise Interrupted(
            f"ended by the user; {done} of {total} cells are done and kept in {folder}, and the "
            f"same command with --out {folder} goes on"
        ) from None
    except BenchError:
        document.status = "failed"
        raise
    finally:
        if document.status != "failed":
            save_sweep(folder, document)


def estimate_remaining_s(durations_s: Sequence[float], left: int) -> Optional[float]:
    """Seconds that `left` cells will take: the mean of those done, since the order is random."""
    if not left:
        return 0.0
    return statistics.mean(durations_s) * left if durations_s else None
