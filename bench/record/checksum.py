"""The checksum of a stored document: its key `crc32`, which stands last.

It is the CRC-32 of all other keys and values as JSON with sorted keys and no spaces, so the same
document in another layout has the same checksum. Documents of older versions have none.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, Dict

from pydantic import BaseModel

from ..errors import RecordError

KEY = "crc32"


def format_document(document: BaseModel) -> str:
    """The document as indented JSON with its checksum."""
    text = document.model_dump_json(indent=1)
    return f'{text[:-2]},\n "{KEY}": "{_compute(json.loads(text))}"\n}}\n'


def check_intact(document: Any, path: Path, name: str) -> None:
    """Take the checksum out of a document that was read. Raises RecordError if it is wrong."""
    if isinstance(document, dict) and KEY in document and document.pop(KEY) != _compute(document):
        raise RecordError(
            f"{path} was changed after it was written: its {KEY} is wrong; take the {name} from "
            f"its source or make it again, or delete its {KEY} to read it as it is"
        )


def _compute(document: Dict[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}"
