"""Writes part files and says what an index holds of them."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterable, Iterator, List, Sequence

from .ofrecord_file import Record, frame_message, serialize_record


class PartWriter:
    """Appends records to one part file and says what the index holds of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._count = 0
        self._size = 0
        self.digest = hashlib.sha256()

    def write(self, record: Record) -> None:
        self.write_message(serialize_record(record))

    def write_message(self, message: bytes) -> None:
        """Append a record that is serialized already, byte for byte."""
        framed = frame_message(message)
        self._file.write(framed)
        self.digest.update(framed)
        self._size += len(framed)
        self._count += 1

    def describe(self) -> Dict[str, Any]:
        return {
            "sha256": self.digest.hexdigest(),
            "num_samples": self._count,
            "size_bytes": self._size,
        }


@contextmanager
def open_parts(folder: Path, numbers: Iterable[int]) -> Iterator[List[PartWriter]]:
    """Writers of the part files of these numbers, in their order."""
    with ExitStack() as stack:
        yield [
            PartWriter(stack.enter_context((folder / f"part-{number:05d}").open("wb")))
            for number in numbers
        ]


def describe_parts(writers: Sequence[PartWriter]) -> Dict[str, Any]:
    """What the index holds of all part files of a split: `checksum` and `parts`."""
    return {
        "checksum": combine_checksums([writer.digest.hexdigest() for writer in writers]),
        "parts": [writer.describe() for writer in writers],
    }


def combine_checksums(checksums: Sequence[str]) -> str:
    """One sha256 for a split: over its parts' sha256, in order."""
    return hashlib.sha256("\n".join(checksums).encode()).hexdigest()
