"""JSON lines over a TCP connection between two machines of a run."""

from __future__ import annotations

import json
import socket
from typing import Any, Dict, List

PROTOCOL = 1  # version of the messages, equal at both ends
LONGEST_LINE = 1 << 20  # bytes
DEAD_AFTER_S = 8  # a machine that answers no packet for this time is gone
SEND_LIMIT_S = 5.0

Message = Dict[str, Any]


class LinkEnded(Exception):
    """The other end is gone."""


class LineBuffer:
    """Joins the pieces that a connection receives into messages."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._longest, self.rest = longest, b""

    def add(self, received: bytes) -> List[Message]:
        """The messages that are complete now. Raises ValueError for an invalid one."""
        *lines, self.rest = (self.rest + received).split(b"\n")
        if max(map(len, [*lines, self.rest])) > self._longest:
            raise ValueError("a line that is too long")
        return [unpack(line) for line in lines]


def pack(message: Message) -> bytes:
    return json.dumps(message).encode() + b"\n"


def unpack(line: bytes) -> Message:
    """The message of a line. Raises ValueError if it is invalid."""
    try:
        message = json.loads(line)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(message, dict):
        raise ValueError("not an object")
    return message


def watch_connection(connection: socket.socket) -> None:
    """Let the kernel notice that the other machine is gone, even while nothing is sent.

    A machine whose programs are stopped still answers, so it does not count as gone.
    """
    tcp = socket.IPPROTO_TCP
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(tcp, socket.TCP_KEEPIDLE, 2)
    connection.setsockopt(tcp, socket.TCP_KEEPINTVL, 1)
    connection.setsockopt(tcp, socket.TCP_KEEPCNT, DEAD_AFTER_S - 2)
    connection.setsockopt(tcp, socket.TCP_USER_TIMEOUT, DEAD_AFTER_S * 1000)
    connection.setsockopt(tcp, socket.TCP_NODELAY, 1)


class Link:
    """One end of a control link. One thread may read while another sends."""

    def __init__(self, connection: socket.socket, received: bytes = b"") -> None:
        watch_connection(connection)
        connection.settimeout(SEND_LIMIT_S)
        self._connection, self._lines = connection, LineBuffer()
        self._lines.rest = received

    def fileno(self) -> int:
        return self._connection.fileno()

    def send(self, message: Message) -> None:
        """Raises LinkEnded if the other end is gone or reads nothing any more."""
        try:
            self._connection.sendall(pack(message))
        except OSError as error:
            raise LinkEnded(str(error)) from None

    def receive(self) -> List[Message]:
        """The messages that have come, after `select`. Raises LinkEnded, for invalid ones too."""
        try:
            received = self._connection.recv(65536)
            if not received:
                raise LinkEnded("closed")
            return self._lines.add(received)
        except (OSError, ValueError) as error:
            raise LinkEnded(str(error)) from None

    def cut(self) -> None:
        """End the connection at once for both ends."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # it was cut before
            pass

    def close(self) -> None:
        self._connection.close()
