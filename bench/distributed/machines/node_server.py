"""Machine 0's port for the other machines, open as long as the run.

One thread listens to all machines, so that it notices a silent one while the controller is busy.
Anyone can connect. A connection that sends no valid handshake is closed.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from ...errors import InputError, WorkerError
from .handshake import refuse_caller, refuse_run
from .link import LineBuffer, Link, LinkEnded, Message, pack, watch_connection
from .remote import SILENT_S, RankState, RemoteNode, RemoteRank

HELLO_S = 5.0  # for the handshake of a caller
HELLO_BYTES = 1 << 16
MOST_CALLERS = 64  # before their handshake
TICK_S = 0.5
PAUSE_S = 3.0  # after a longer pause between two ticks, this process was stopped itself
START_S = 15.0  # for a machine to start a rank


class _Caller(NamedTuple):
    until_s: float
    lines: LineBuffer


class Incoming(NamedTuple):
    """The connection to a rank."""

    connection: socket.socket
    received: bytes


class NodeServer:
    """The other machines of a run: those that have joined, and those that are awaited."""

    def __init__(
        self, host: str, port: int, nodes: int, token: str, version: str, run: Dict[str, Any]
    ) -> None:
        """`host` is an IPv4 address of this machine; `run` from `handshake.describe_run`.

        Raises InputError if the port cannot be used.
        """
        self.host, self.count = host, nodes
        self._token, self._version, self._run = token, version, run
        self._listener = _listen(host, port)
        self.port = int(self._listener.getsockname()[1])
        self._changed = threading.Condition()
        self._nodes: Dict[int, RemoteNode] = {}
        self._incoming: Dict[int, Optional[Incoming]] = {}  # None: waited for
        self._callers: Dict[socket.socket, _Caller] = {}
        self._keys = 0
        self._closing = False
        self._thread = threading.Thread(target=self._listen_to_all, daemon=True)
        self._thread.start()

    def wait_for_nodes(self, limit_s: float, show: Callable[[str], None]) -> List[RemoteNode]:
        """All other machines by their rank. Raises InputError that names the missing ones."""
        shown = 0
        end = time.monotonic() + limit_s
        with self._changed:
            while len(self._nodes) < self.count - 1:
                if time.monotonic() >= end:
                    raise InputError(self._describe_missing(limit_s))
                self._changed.wait(min(TICK_S, max(0.01, end - time.monotonic())))
                for node in list(self._nodes.values())[shown:]:
                    show(f"{node.title} has come")
                    shown += 1
        return self.others

    @property
    def others(self) -> List[RemoteNode]:
        """The machines that have joined, by their rank."""
        with self._changed:
            return [self._nodes[node_rank] for node_rank in sorted(self._nodes)]

    def _describe_missing(self, limit_s: float) -> str:
        missing = [str(one) for one in range(1, self.count) if one not in self._nodes]
        plural, verb = ("", "has") if len(missing) == 1 else ("s", "have")
        return (
            f"machine{plural} {' and '.join(missing)} of {self.count} {verb} not come within "
            f"{limit_s:g} s; run there what bench launch --plan prints, and let TCP connections "
            f"to this machine through"
        )

    def start_ranks(
        self, titles: Sequence[str], nodes: Sequence[RemoteNode], starts: Sequence[Message]
    ) -> List[RemoteRank]:
        """Start a rank for each of `starts` on its machine in `nodes`, all at once.

        Raises WorkerError if one cannot be started, and then ends the others.
        """
        keys = []
        for node, start in zip(nodes, starts):
            with self._changed:
                key, self._keys = self._keys, self._keys + 1
                node.ranks[key] = RankState()
                self._incoming[key] = None
            node.send({"do": "start", "rank": key, **start})
            keys.append(key)
        members: List[RemoteRank] = []
        try:
            for title, node, key in zip(titles, nodes, keys):
                members.append(self._take_member(title, node, key))
        except BaseException:
            for incoming in [self._incoming.pop(key, None) for key in keys]:
                if incoming is not None:
                    incoming.connection.close()
            for member in members:
                member.kill()
                member.close()
            for node, key in zip(nodes, keys):
                node.send({"do": "kill", "rank": key})
            raise
        return members

    def _take_member(self, title: str, node: RemoteNode, key: int) -> RemoteRank:
        state = node.ranks[key]

        def is_decided() -> bool:
            started = state.log is not None and self._incoming[key] is not None
            return started or state.failed is not None

        node.wait_for(is_decided, START_S)
        incoming = self._incoming.pop(key)
        if incoming is not None and state.log is None:
            incoming.connection.close()
        if incoming is None or state.log is None:
            reason = state.failed or node.lost or f"nothing came of it within {START_S:g} s"
            raise WorkerError(f"{title} on {node.title} could not be started: {reason}")
        return RemoteRank(title, key, node, *incoming)

    def close(self, last_word: Message) -> None:
        """Tell the others the result of the run, and release the port."""
        for node in self.others:
            if node.lost is None:
                node.send(last_word)
        self._closing = True
        self._thread.join()
        for connection in [self._listener, *self._callers]:
            connection.close()
        for node in self.others:
            node.link.close()

    def _listen_to_all(self) -> None:
        last_s = time.monotonic()
        while not self._closing:
            links = {node.link.fileno(): node for node in self._nodes.values() if not node.lost}
            waited = [self._listener, *self._callers, *links]
            ready = select.select(waited, [], [], TICK_S)[0]
            now = time.monotonic()
            was_stopped, last_s = now - last_s > PAUSE_S, now
            for one in ready:
                if one is self._listener:
                    self._accept(now)
                elif isinstance(one, socket.socket):
                    self._hear_caller(one)
                else:
                    self._hear_node(links[one])
            self._send_silent_away(now)
            for node in links.values():
                if was_stopped:
                    node.heard_s = now
                elif now - node.heard_s > SILENT_S:
                    node.lose(f"nothing was heard of it for {SILENT_S:g} s")

    def _accept(self, now: float) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        if len(self._callers) >= MOST_CALLERS:
            connection.close()
            return
        self._callers[connection] = _Caller(now + HELLO_S, LineBuffer(HELLO_BYTES))

    def _send_silent_away(self, now: float) -> None:
        for connection in [one for one, caller in self._callers.items() if now > caller.until_s]:
            del self._callers[connection]
            connection.close()

    def _hear_caller(self, connection: socket.socket) -> None:
        lines = self._callers[connection].lines
        try:
            received = connection.recv(65536)
            # the first answers of a rank may follow its handshake at once
            line, end, rest = (lines.rest + received).partition(b"\n")
            messages = lines.add(received if not end else line[len(lines.rest) :] + end)
            if received and not messages:
                return
            del self._callers[connection]
            if not messages or not self._admit(connection, messages[0], rest):
                connection.close()
        except (OSError, ValueError, TypeError, KeyError):
            self._callers.pop(connection, None)
            connection.close()

    def _admit(self, connection: socket.socket, hello: Message, rest: bytes) -> bool:
        """False if the connection is to be closed."""
        refusal = refuse_caller(hello, self._token, self._version)
        if refusal is None and "key" in hello:
            return self._admit_rank(connection, int(hello["key"]), rest)
        if refusal is None:
            refusal = self._refuse_node(hello)
        if refusal is not None:
            connection.sendall(pack({"refused": refusal}))
            return False
        self._admit_node(connection, hello, rest)
        return True

    def _admit_rank(self, connection: socket.socket, key: int, rest: bytes) -> bool:
        with self._changed:
            if self._incoming.get(key, rest) is not None:  # nobody waits for it
                return False
            watch_connection(connection)
            connection.setblocking(True)
            self._incoming[key] = Incoming(connection, rest)
            self._changed.notify_all()
        return True

    def _refuse_node(self, hello: Message) -> Optional[str]:
        node_rank = hello["node_rank"]
        if hello["nodes"] != self.count or not 0 < node_rank < self.count:
            return (
                f"it says that it is machine {node_rank} of {hello['nodes']} and the run has "
                f"{self.count}; give every machine the same --nodes and its own --node-rank"
            )
        if node_rank in self._nodes:
            return f"machine {node_rank} has come already; give each its own --node-rank"
        return refuse_run(hello["run"], self._run)

    def _admit_node(self, connection: socket.socket, hello: Message, rest: bytes) -> None:
        address = connection.getpeername()[0]
        cores, machine = [int(core) for core in hello["cores"]], dict(hello["machine"])
        node = RemoteNode(
            node_rank=hello["node_rank"],
            address=address,
            cores=cores,
            dataset=hello["dataset"],
            machine=machine,
            link=Link(connection, rest),
            changed=self._changed,
        )
        connection.sendall(pack({"welcome": True}))
        with self._changed:
            self._nodes[node.node_rank] = node
            self._changed.notify_all()

    def _hear_node(self, node: RemoteNode) -> None:
        try:
            for message in node.link.receive():
                node.hear(message)
        except LinkEnded:
            node.lose("bench ended there, or the connection to it was cut")
        except (ValueError, KeyError, TypeError, AttributeError):
            node.lose("it said what machine 0 does not understand")


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise InputError(
            f"--master {host}:{port} cannot be listened on ({error.strerror}); give an address of "
            "this machine, which is machine 0, and a port that is free"
        ) from None
    listener.setblocking(False)
    return listener
