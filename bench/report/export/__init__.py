"""Records in the formats of other tools, one file a format.

The module of a format is imported when the format is asked for.
"""

from __future__ import annotations

import shutil
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Dict, NamedTuple, Optional, Sequence

from ...errors import InputError

if TYPE_CHECKING:
    from .selection import Selected


class Format(NamedTuple):
    """`module` has `render(selected) -> text`, or `write_folder(selected, folder)`."""

    module: str
    is_folder: bool = False


FORMATS: Dict[str, Format] = {
    "pyperf": Format("pyperf_json"),
    "pytest-benchmark": Format("pytest_benchmark_json"),
    "github-action-benchmark": Format("github_action"),
    "hyperfine": Format("hyperfine_json"),
    "bencher": Format("bencher"),
    "csv": Format("csv_rows"),
    "markdown": Format("markdown"),
    "tensorboard": Format("tensorboard", is_folder=True),
}


def export(selected: Sequence[Selected], format_name: str, out: Optional[Path]) -> Optional[str]:
    """Write `selected` to `out`, whole or not at all; return the text if `out` is None.

    Raises InputError if `out` exists or cannot be written, if a format that writes a folder gets
    none, and if a format refuses the selection.
    """
    chosen = FORMATS[format_name]
    module = import_module(f"{__name__}.{chosen.module}")
    if out is None:
        if chosen.is_folder:
            raise InputError(
                f"--format {format_name} writes a folder and none was given; give --out FOLDER"
            )
        text: str = module.render(selected)
        return text
    if out.exists():
        raise InputError(f"--out {out} exists already; give a new name")
    try:
        if chosen.is_folder:
            _write_folder(module, selected, out)
        else:
            _write_text(module.render(selected), out)
    except OSError as error:
        raise InputError(
            f"--out {out} cannot be written ({error.strerror}); give a name in a folder that "
            "exists and that you may write to"
        ) from None
    return None


def _write_text(text: str, out: Path) -> None:
    from ...record.run import write_atomically

    write_atomically(out, text)


def _write_folder(module: object, selected: Sequence[Selected], out: Path) -> None:
    """Write beside `out`, then rename, so that no half-written folder is ever seen."""
    temporary = Path(tempfile.mkdtemp(dir=str(out.parent), prefix=f".{out.name}-"))
    try:
        module.write_folder(selected, temporary)  # type: ignore[attr-defined]
        temporary.chmod(0o755)
        temporary.rename(out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
