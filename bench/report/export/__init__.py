"""Records in the formats of other tools."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, Optional, Sequence, Union

from ...errors import InputError
from ...record.checkpoint import read_state
from ...record.flow_checkpoint import write_flow_folder
from ...record.run import replace_atomically
from . import benchmarks, tables, tensorboard
from .selection import Selected

TEXT_FORMATS: Dict[str, Callable[[Sequence[Selected]], Union[str, Iterable[str]]]] = {
    "pyperf": benchmarks.render_pyperf,
    "pytest-benchmark": benchmarks.render_pytest_benchmark,
    "github-action-benchmark": benchmarks.render_github_action,
    "hyperfine": benchmarks.render_hyperfine,
    "bencher": benchmarks.render_bencher,
    "csv": tables.render_csv,
    "series": tables.render_series,
    "markdown": tables.render_markdown,
}
FOLDER_FORMATS = {"tensorboard": tensorboard.write_folder}
CHECKPOINT_FORMAT = "oneflow"  # of a checkpoint's weights and not of a record
FORMATS = [CHECKPOINT_FORMAT, *TEXT_FORMATS, *FOLDER_FORMATS]


def export(
    selected: Sequence[Selected], format_name: str, out: Optional[Path]
) -> Optional[Iterable[str]]:
    """Write `selected` to `out`, whole or not at all; return the text's parts if `out` is None.

    Raises InputError if `out` exists or cannot be written, if a format that writes a folder gets
    none, and if a format refuses the selection.
    """
    if format_name in FOLDER_FORMATS:
        if out is None:
            raise InputError(
                f"--format {format_name} writes a folder and none was given; give --out FOLDER"
            )
        with _refusing(out), _new_folder(out) as folder:
            FOLDER_FORMATS[format_name](selected, folder)
        return None
    if out is None:
        return _render(selected, format_name)
    with _refusing(out):
        parts = _render(selected, format_name)
        with replace_atomically(out) as stream:
            stream.writelines(part.encode(errors="backslashreplace") for part in parts)
    return None


def _render(selected: Sequence[Selected], format_name: str) -> Iterable[str]:
    text = TEXT_FORMATS[format_name](selected)
    return [text] if isinstance(text, str) else text


@contextmanager
def _refusing(out: Path) -> Iterator[None]:
    """Raise InputError if `out` exists, or cannot be written within."""
    if out.exists():
        raise InputError(f"--out {out} exists already; give a new name")
    try:
        yield
    except OSError as error:
        raise InputError(
            f"--out {out} cannot be written ({error.strerror}); give a name in a folder that "
            "exists and that you may write to"
        ) from None


def export_checkpoint(path: Path, out: Path) -> None:
    """Write the weights of a checkpoint, or of a run's last one, as a folder for `oneflow.load`.

    Raises InputError if `out` exists or cannot be written, or if there is no such checkpoint.
    """
    state = read_state(path)
    with _refusing(out), _new_folder(out) as folder:
        write_flow_folder(state, folder)


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that is renamed at the end: no half-written folder is ever seen."""
    temporary = Path(tempfile.mkdtemp(dir=str(out.parent), prefix=f".{out.name}-"))
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
