"""Machine 0's side of the others: what is known of each, and of the ranks that run there."""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional

from ...errors import WorkerError
from ...worker.process import END_GRACE_S, describe_death
from ...worker.protocol import AnswerStream, open_answer
from .link import Link, LinkEnded, Message

SILENT_S = 8.0  # an agent says something every half second
NEWS_S = 2.0  # for the agent's word on why a connection has ended
KILL_S = 3.0  # for the agent's word that a rank has ended


@dataclass
class RankState:
    """What an agent has said of one rank."""

    log: Optional[str] = None  # where it is on the agent's machine; None: not started yet
    pid: int = 0
    exit_status: Optional[int] = None
    log_tail: str = ""
    failed: Optional[str] = None  # why it could not be started


@dataclass
class RemoteNode:
    """One machine and its agent. `changed` guards all of it."""

    node_rank: int
    address: str
    cores: List[int]
    dataset: Optional[str]  # the folder that its ranks read
    machine: Dict[str, Any]
    link: Link
    changed: threading.Condition
    heard_s: float = field(default_factory=time.monotonic)
    lost: Optional[str] = None  # why it is not there any more: a clause
    ranks: Dict[int, RankState] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"machine {self.node_rank} ({self.address})"

    def send(self, message: Message) -> None:
        """Without an error where the machine is lost, which whoever waits for it finds out."""
        try:
            self.link.send(message)
        except LinkEnded as error:
            self.lose(f"its link was cut ({error})")

    def lose(self, reason: str) -> None:
        with self.changed:
            self.lost = self.lost or reason
            self.changed.notify_all()
        self.link.cut()

    def hear(self, message: Message) -> None:
        """Take what the agent says; ValueError, KeyError or TypeError for nonsense."""
        with self.changed:
            self.heard_s = time.monotonic()
            if "rank" in message:
                state = self.ranks[message["rank"]]
                for name in ("log", "pid", "exit_status", "log_tail", "failed"):
                    setattr(state, name, message.get(name, getattr(state, name)))
            self.changed.notify_all()

    def wait_for(self, is_there: Callable[[], bool], limit_s: float) -> bool:
        """False where the limit or the machine's loss came first."""
        with self.changed:
            self.changed.wait_for(lambda: is_there() or self.lost is not None, limit_s)
            return is_there()


class RemoteRank:
    """A member of a group on another machine: asked over a connection to its own process.

    Its agent ends it.
    """

    def __init__(
        self,
        title: str,
        key: int,
        node: RemoteNode,
        connection: socket.socket,
        received: bytes = b"",
    ) -> None:
        """`key` is what machine and controller call it; `received` came on the connection."""
        self.title = f"{title} on {node.title}"
        self._key, self._node, self._state = key, node, node.ranks[key]
        self._connection = connection
        self._answers = AnswerStream(connection.fileno(), received)

    @property
    def pid(self) -> int:
        """On its own machine."""
        return self._state.pid

    def fileno(self) -> int:
        """What `select` waits on: there is something to read, or the rank has ended."""
        return self._connection.fileno()

    def send(self, call: str, **arguments: Any) -> None:
        """As `WorkerProcess.send`; the data are those of the rank's machine."""
        if arguments.get("dataset") is not None:
            arguments["dataset"] = self._node.dataset
        try:
            self._connection.sendall(json.dumps({"call": call, **arguments}).encode() + b"\n")
        except OSError:
            raise self._died(call) from None

    def poll(self, call: str) -> Optional[Dict[str, Any]]:
        """As `WorkerProcess.poll`; WorkerError too where the machine is lost."""
        if self._node.lost is not None:
            raise self._lost(call)
        try:
            line = self._answers.take()
        except EOFError:
            raise self._died(call) from None
        if line is None:
            return None
        return open_answer(line, call, self.title, self.log_path, self.read_log_tail)

    @property
    def log_path(self) -> str:
        """Where the whole log is, for an error."""
        return f"{self._state.log} there"

    def _has_ended(self) -> bool:
        return self._state.exit_status is not None

    def _died(self, call: str) -> WorkerError:
        if not self._node.wait_for(self._has_ended, NEWS_S):
            return self._lost(call)
        status = self._state.exit_status
        assert status is not None
        return WorkerError(
            describe_death(self.title, call, status, self.log_path),
            self._state.log_tail,
            status,
        )

    def _lost(self, call: str) -> WorkerError:
        reason = self._node.lost or "its connection ended and its machine does not say why"
        return WorkerError(
            f"{self.title} was lost in its {call} turn: {reason}; look at the output of bench on "
            f"machine {self._node.node_rank}, and at the network"
        )

    def write_stack(self) -> None:
        """As `RankProcess.write_stack`."""
        self._node.send({"do": "stack", "rank": self._key})

    def read_log_tail(self) -> str:
        """The last lines that the rank wrote, once it has ended; it has where it failed."""
        self._node.wait_for(self._has_ended, NEWS_S)
        return self._state.log_tail

    def kill(self) -> None:
        """End the rank at once. One on a machine that is lost is ended by its agent."""
        if self._has_ended() or self._node.lost is not None:
            return
        self._node.send({"do": "kill", "rank": self._key})
        self._node.wait_for(self._has_ended, KILL_S)

    def close_input(self) -> None:
        """Let the rank know that nothing more will be asked."""
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:  # it has ended
            pass

    def close(self) -> None:
        """End the rank in good order if it does so in time, else by force."""
        if self._connection.fileno() < 0:
            return
        self.close_input()
        self._node.wait_for(self._has_ended, END_GRACE_S)
        self.kill()
        self._connection.close()
