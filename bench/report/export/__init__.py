"""Records in the formats of other tools.

The module of a format is imported when the format is asked for.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterable, Iterator, NamedTuple, Optional, Sequence, Union

from ...errors import InputError

if TYPE_CHECKING:
    from .selection import Selected


class Format(NamedTuple):
    """The function of a module that gives a text, or fills a folder given as second argument."""

    module: str
    function: str
    is_folder: bool = False


FORMATS: Dict[str, Format] = {
    "pyperf": Format("step_times", "render_pyperf"),
    "pytest-benchmark": Format("step_times", "render_pytest_benchmark"),
    "github-action-benchmark": Format("metrics", "render_github_action"),
    "hyperfine": Format("step_times", "render_hyperfine"),
    "bencher": Format("metrics", "render_bencher"),
    "csv": Format("tables", "render_csv"),
    "series": Format("tables", "render_series"),
    "markdown": Format("tables", "render_markdown"),
    "tensorboard": Format("tensorboard", "write_folder", is_folder=True),
}


CHECKPOINT_FORMAT = "oneflow"  # of a checkpoint's weights and not of a record


def export(
    selected: Sequence[Selected], format_name: str, out: Optional[Path]
) -> Optional[Iterable[str]]:
    """Write `selected` to `out`, whole or not at all; return the text's parts if `out` is None.

    Raises InputError if `out` exists or cannot be written, if a format that writes a folder gets
    none, and if a format refuses the selection.
    """
    from ...record.run import replace_atomically

    chosen = FORMATS[format_name]
    write = getattr(import_module(f"{__name__}.{chosen.module}"), chosen.function)
    if out is None:
        if chosen.is_folder:
            raise InputError(
                f"--format {format_name} writes a folder and none was given; give --out FOLDER"
            )
        return _list_parts(write(selected))
    with _refusing(out):
        if chosen.is_folder:
            with _new_folder(out) as folder:
                write(selected, folder)
        else:
            parts = _list_parts(write(selected))
            with replace_atomically(out) as stream:
                stream.writelines(part.encode(errors="backslashreplace") for part in parts)
    return None


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
    from ...record.checkpoint import read_state
    from ...record.flow_checkpoint import write_flow_folder

    state = read_state(path)
    with _refusing(out), _new_folder(out) as folder:
        write_flow_folder(state, folder)


def _list_parts(text: Union[str, Iterable[str]]) -> Iterable[str]:
    return [text] if isinstance(text, str) else text


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
