"""The lines of `samples.jsonl`: an event each, with a checksum.

The last key of a line is the CRC-32 of the text before it, continued from the line above, so that a
changed, missing or doubled line breaks the chain. Records before schema 6 have no checksums.
"""

from __future__ import annotations

import gc
import os
import zlib
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple, Union

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import Annotated

from ..errors import RecordError
from . import events as kinds
from .events import BlockEvent, RecordEvent

# of every class of an event, by its field `event`
_KINDS = [one for one in vars(kinds).values() if "event" in getattr(one, "model_fields", ())]
_EVENT: TypeAdapter[Any] = TypeAdapter(
    Annotated[Union[tuple(_KINDS)], Field(discriminator="event")]
)
_ENDING = b',"crc32":"%08x"}'  # of a line
_ENDING_BYTES = 20


class SampleLines:
    """The chain of lines that are written; `checksum` is the last one's."""

    def __init__(self) -> None:
        self._crc = 0

    @property
    def checksum(self) -> str:
        return f"{self._crc:08x}"

    def format(self, event: RecordEvent) -> str:
        """The next line."""
        text = event.model_dump_json()[:-1]
        self._crc = zlib.crc32(text.encode(), self._crc)
        return text + (_ENDING % self._crc).decode() + "\n"


def load_events(path: Path, has_checksums: bool) -> Tuple[List[Any], str]:
    """The events and the checksum of the last. A last line that was cut short is left out.

    Raises RecordError, with the line, for damage anywhere else and for a missing file.
    """
    events, crc, shared = [], 0, _Shared()
    validate = _EVENT.validator.validate_json  # without a call of Python's for each line
    seen: Set[bytes] = set()
    gc.disable()  # it would search every event for cycles, many times
    try:
        with open(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                text = line.rstrip(b"\n")
                try:
                    if has_checksums:
                        text, crc = _check_line(text, crc)
                    elif text in seen:
                        raise ValueError("an earlier line is the same")
                    else:
                        seen.add(text)
                    event = validate(text)
                    events.append(shared.join(event) if type(event) is BlockEvent else event)
                except ValueError as error:  # pydantic's ValidationError is one
                    if not line.endswith(b"\n"):
                        break
                    reason = (
                        error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
                    )
                    raise RecordError(
                        f"{path} line {number} is not a sample of this schema ({reason}); the "
                        "record is damaged, take it from its source or run it again"
                    ) from None
    except OSError as error:
        raise RecordError(
            f"no samples at {path} ({error.strerror}); the record is damaged"
        ) from None
    finally:
        gc.enable()
    return events, f"{crc:08x}"


def find_damage(path: Path, checksum: Optional[str]) -> Optional[str]:
    """Why the samples of a complete run cannot be whole, by their last line; None if they can be.

    `checksum` is that of the run's document, None in records without one.
    """
    try:
        with open(path, "rb") as lines:
            lines.seek(max(0, lines.seek(0, os.SEEK_END) - _ENDING_BYTES - 1))
            end = lines.read()
    except OSError as error:
        return f"no samples at {path} ({error.strerror}); the record is damaged"
    if end and checksum in (None, end[:-1].decode(errors="replace")[-_ENDING_BYTES:][10:18]):
        return None
    return f"{path} lacks samples of the complete run; the record is damaged, run it again"


class _Shared:
    """Makes what repeats in blocks one object: a million steps take a third of the memory."""

    def __init__(self) -> None:
        self._rates: List[float] = []  # of the last block
        self._digests: Dict[Any, Any] = {}
        self._given: Set[str] = set()  # the fields that the last block was given

    def join(self, event: BlockEvent) -> BlockEvent:
        if event.lr != self._rates:
            self._rates = event.lr
        digests = event.labels_digest, event.images_digest  # those of other contenders
        shared = [self._digests.setdefault(digest, digest) for digest in digests]
        event.__dict__.update(lr=self._rates, labels_digest=shared[0], images_digest=shared[1])
        given = event.__pydantic_fields_set__  # without the call of `model_fields_set`
        if self._given != given:
            self._given = given
        object.__setattr__(event, "__pydantic_fields_set__", self._given)
        return event


def _check_line(line: bytes, before: int) -> Tuple[bytes, int]:
    """The line without its checksum, and that. Raises ValueError where it breaks the chain."""
    text, ending = line[:-_ENDING_BYTES], line[-_ENDING_BYTES:]
    crc = zlib.crc32(text, before)
    if ending != _ENDING % crc:
        if not ending.startswith(b',"crc32":"'):
            raise ValueError("it has no checksum")
        raise ValueError("this line or the one before was changed: its checksum is wrong")
    return text + b"}", crc
