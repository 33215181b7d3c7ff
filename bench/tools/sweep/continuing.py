"""A sweep that goes on in its folder: one at a time, with the results that still hold."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator, Optional

from ...errors import InputError, RecordError
from ...record.events import SetupEvent
from ...record.machine import find_changed_code, list_own_code
from ...record.run import load_record
from .document import SAME_MACHINE, SWEEP_NAME, Cell, CellResult, SweepDocument, load_sweep


def find_stored_sweep(folder: Path) -> Optional[SweepDocument]:
    """The sweep in a folder; None for a new one. Raises InputError for a folder of other things."""
    if (folder / SWEEP_NAME).exists():
        return load_sweep(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"--out {folder} exists and holds no sweep; give a new folder, or that of the sweep "
            "to go on with"
        )
    return None


def carry_results(
    stored: SweepDocument,
    wanted: SweepDocument,
    folder: Path,
    cell_timeout_s: float,
    retry_failed: bool,
) -> int:
    """Give `wanted` the date of `stored`, and its results for cells of the same configuration.

    Returns the number of stored results that are dropped, since their configuration or the user's
    code changed. A sweep may grow by cells and may not lose any. Raises InputError for that, and
    for another machine.
    """
    differing = [k for k in SAME_MACHINE if stored.machine.get(k) != wanted.machine.get(k)]
    if differing:
        raise InputError(
            f"the sweep in {folder} was measured on another machine (other "
            f"{', '.join(differing)}); give --out a new folder"
        )
    by_name = {cell.name: cell for cell in wanted.cells}
    lost = [cell.name for cell in stored.cells if cell.name not in by_name]
    if lost:
        raise InputError(
            f"{folder} holds another sweep, with {len(lost)} cells that were not asked for now "
            f"(first: {lost[0]}); ask for them too, or give --out a new folder"
        )
    wanted.created = stored.created
    changed = 0
    for before in stored.cells:
        now, result = by_name[before.name], before.result
        if result is None:
            continue
        if before.fingerprint != now.fingerprint or _has_other_code(before, folder):
            changed += 1
        elif _stands(result, cell_timeout_s, retry_failed):
            now.result = result
    return changed


def _has_other_code(cell: Cell, folder: Path) -> bool:
    """Whether a result is not known to be of the user's code as it is now.

    The record of the cell has the digests of the files that its workers had loaded. A cell that
    ended before that has none.
    """
    assert cell.result is not None
    if cell.workload is None or not list_own_code(cell.workload):
        return False
    if cell.result.record is None:
        return True
    try:
        setups = load_record(folder / cell.result.record).of_kind(SetupEvent)
    except RecordError:
        return True
    known = [one.environment["code"] for one in setups if "code" in one.environment]
    return not known or any(find_changed_code(code) for code in known)


def _stands(result: CellResult, cell_timeout_s: float, retry_failed: bool) -> bool:
    """Whether a stored result still holds: a longer limit may change a timeout."""
    outlasted = result.status == "timeout" and cell_timeout_s > result.cell_timeout_s
    return result.status == "done" or not (outlasted or retry_failed)


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Lock a folder while its sweep runs. The lock ends with this process, however that ends.

    A second sweep would delete the cells that the first one measures.

    Raises InputError if another process holds it. A file system without locks gives none.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise InputError(
            f"--out {folder} cannot be opened ({error.strerror}); give another folder"
        ) from None
    try:
        with suppress(OSError):  # a file system without locks
            _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _find_holder(os.fstat(descriptor).st_ino)
        who = "another process" if pid is None else f"process {pid}"
        raise InputError(
            f"--out {folder}: a sweep runs there already ({who}); wait for its end, or give "
            "another folder"
        ) from None


def _find_holder(inode: int, locks: Path = Path("/proc/locks")) -> Optional[int]:
    """The process that has locked a file; None if it cannot be found, as in another container."""
    with suppress(OSError, ValueError, IndexError):
        for line in locks.read_text(encoding="ascii").splitlines():
            words = line.split()  # 1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF
            if words[1] == "FLOCK" and words[5].endswith(f":{inode}") and int(words[4]) > 0:
                return int(words[4])
    return None
