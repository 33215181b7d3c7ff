"""Opens files of which nothing is known: a pipe or a device would be read forever."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO, Tuple, Union

AnyPath = Union[str, "os.PathLike[str]"]


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read. Raises OSError, with a reason, also for all but regular files."""
    return os.fdopen(_open_regular(path)[0], "rb")


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a regular file. Raises OSError, with a reason, also above `most` bytes."""
    descriptor, size = _open_regular(path)
    try:
        if size > most:
            raise OSError(errno.EFBIG, f"it has {size} bytes and at most {most} are read")
        data = os.read(descriptor, size)
        while len(data) < size and (more := os.read(descriptor, size - len(data))):
            data += more
        return data
    finally:
        os.close(descriptor)


def read_text(path: Path, most: int) -> str:
    """The text of a regular file in UTF-8, with a byte order mark or without.

    Raises OSError, with a reason, also for other bytes and above `most` of them.
    """
    try:
        return read_regular(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OSError(errno.EILSEQ, f"byte {error.start} is not of UTF-8") from None


def _open_regular(path: Path) -> Tuple[int, int]:
    """The descriptor of a regular file, and its size in bytes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode):
        return descriptor, found.st_size
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is a pipe or a device and no regular file")


def digest_file(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
