"""Stored documents with a schema version, and the folders that they lie in.

A reader refuses what it does not know: another version, a missing key, a key too many.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Optional, Sequence, Type

from pydantic import BaseModel, ValidationError

from ..errors import InputError, RecordError


def find_cache_folder() -> Optional[Path]:
    """The folder, which may not be there yet; None where nothing is to be kept."""
    chosen = os.environ.get("BENCH_CACHE_DIR")
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(caches, "oneflow-bench") if chosen is None else chosen
    return Path(folder) if os.path.isabs(folder) else None  # not so without a home


def load_document(
    path: Path,
    kind: Type[BaseModel],
    versions: Sequence[int],
    name: str,
    remedy: str,
    version_key: str = "schema_version",
) -> Any:
    """Read a JSON document of one of the schema `versions` as an instance of `kind`.

    `name` is what the document is called in errors ("record"), `remedy` what to give where there is
    none. Raises RecordError for a missing file, damage, or another schema version.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"no {name} at {path} ({error.strerror}); {remedy}") from None
    except ValueError:
        raise RecordError(
            f"{path} is not JSON; the {name} is damaged, make it again or take it from its source"
        ) from None
    version = raw.get(version_key) if isinstance(raw, dict) else None
    if version not in versions:
        raise RecordError(
            f"{path} has schema version {version}, this program reads "
            f"{', '.join(map(str, versions))}; "
            "use the version of the suite that wrote it, or make it again"
        )
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{path} is not a valid {name}: {where}: {first['msg']}") from None


def ensure_folder(folder: Path) -> Path:
    """The folder, created where it is not there. Raises InputError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out {folder} cannot be created ({error.strerror}); give another folder"
        ) from None
    return folder


def create_run_folder(folder: Path) -> None:
    """Create a run's folder. Raises InputError where it exists or cannot be created."""
    try:
        folder.mkdir(parents=True, exist_ok=False)
    except FileExistsError:
        raise InputError(
            f"the run folder {folder} exists already; give --out another folder"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot write the run folder {folder} ({error.strerror}); "
            "give --out a folder you may write to"
        ) from None
