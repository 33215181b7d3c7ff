"""What a worker writes: one JSON answer a line, read as it comes, from a pipe or a connection."""

from __future__ import annotations

import json
import os
import select
import time
from typing import Any, Callable, Dict, Optional

from .errors import InputError, WorkerError

_DECODER = json.JSONDecoder()  # fewer calls than json.loads, which counts between two turns


class AnswerStream:
    """The answers that come from a descriptor, which stays the caller's to close."""

    def __init__(self, descriptor: int, received: bytes = b"") -> None:
        """`received` has been read of it already."""
        self._descriptor, self._buffer = descriptor, received

    def take(self, timeout_s: float = 0.0) -> Optional[bytes]:
        """The next line, or None where it is not there in time; EOFError where none will come."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            left_s = max(0.0, deadline - time.monotonic())
            if not select.select([self._descriptor], [], [], left_s)[0]:
                return None
            try:
                received = os.read(self._descriptor, 65536)
            except OSError:  # a connection that was reset, or whose machine is gone
                received = b""
            if not received:
                raise EOFError
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


def open_answer(
    line: bytes, call: str, title: str, log: str, read_log_tail: Callable[[], str]
) -> Dict[str, Any]:
    """What the worker `title` answered to `call`; `log` says where its whole log is.

    Raises InputError where it found what it was given unusable, WorkerError where it failed.
    """
    answer: Dict[str, Any] = _DECODER.raw_decode(line.decode())[0]
    if answer.pop("ok"):
        return answer
    if answer["kind"] == "input":
        raise InputError(answer["error"])
    raise WorkerError(
        f"{title} failed in its {call} turn: {answer['error']}; the whole log is {log}",
        read_log_tail(),
    )
