"""A machine other than machine 0: it joins the run and obeys machine 0 until the end.

It starts ranks, each with a connection of its own to machine 0, and ends them. It sends a message
twice a second, so that machine 0 notices its loss. It judges nothing and records nothing.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import time
from pathlib import Path
from typing import Callable, Dict, List

from .... import __version__
from ...config import Contender
from ...errors import BenchError, InputError, WorkerError
from ...plan.plan import SUBSET_FOLDER, Plan
from ...record.run import Document
from ...worker.environment import RuntimeResolver
from ...worker.process import create_worker_command
from ..group import RankProcess
from ..placement import Address, RankStart, create_placement_variables
from ..starting import RANK, divides_threads
from .handshake import create_hello, describe_run
from .link import Link, LinkEnded, Message, pack, unpack
from .nodes import Nodes


def join_run(
    nodes: Nodes,
    plan: Plan,
    document: Document,
    folder: Path,
    environments: RuntimeResolver,
    show: Callable[[str], None],
) -> None:
    """Take part in the run of machine 0 until its end; the logs of the ranks stay in `folder`.

    Raises InputError if machine 0 is not reached or refuses this machine, and then leaves no
    folder. Raises WorkerError if machine 0 is lost or its run failed.
    """
    assert nodes.host is not None and nodes.port is not None
    master = Address(nodes.host, nodes.port)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"the folder {folder} of this machine cannot be created ({error.strerror}); give "
            "another --out on all machines"
        ) from None
    try:
        dataset = plan.prepare_dataset(folder)
        show(f"joining machine 0 at {master} as machine {nodes.node_rank} of {nodes.nodes}")
        hello = create_hello(
            nodes.token,
            __version__,
            node_rank=nodes.node_rank,
            nodes=nodes.nodes,
            run=describe_run(document),
            cores=sorted(os.sched_getaffinity(0)),
            machine=document.environment_start,
            dataset=None if dataset is None else str(dataset.resolve()),
        )
        link = connect_to_machine_0(master, hello)
        show(f"machine 0 runs the benchmark; the logs of the ranks here are in {folder / 'logs'}")
        start = create_rank_starter(document.contenders, environments, folder / "logs")
        last_word = Agent(link, master, create_hello(nodes.token, __version__), start).serve()
    except InputError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(folder / SUBSET_FOLDER, ignore_errors=True)
    if "record" not in last_word:
        raise WorkerError(f"machine 0 ended the run: {last_word.get('error')}")
    show(f"done; the record is on machine 0, in {last_word['record']}")


def create_rank_starter(
    contenders: List[Contender], environments: RuntimeResolver, logs: Path
) -> Callable[[Message, socket.socket], RankProcess]:
    """A function that starts the rank of a message, in this machine's environment."""

    def start(message: Message, connection: socket.socket) -> RankProcess:
        asked = RankStart.model_validate(message)
        asked.check_contender(contenders)
        contender, identity = asked.contender, asked.placement.identity
        divide = divides_threads(contender, environments)
        variables = {
            **environments.resolve(contender, contender.interpreter),
            **create_placement_variables(asked.placement, divide),
        }
        command = create_worker_command(contender.interpreter, RANK)
        return RankProcess(contender.name, identity, command, variables, logs, connection)

    return start


JOIN_S = 60.0  # to reach machine 0, which checks its data first
ATTEMPT_S = 5.0
PAUSE_S = 0.5  # between two attempts
REPORT_S = 0.5

StartRank = Callable[[Message, socket.socket], RankProcess]


def connect_to_machine_0(master: Address, hello: Message, limit_s: float = JOIN_S) -> Link:
    """The link to machine 0, after it has admitted this machine.

    Raises InputError if machine 0 is not reached or refuses.
    """
    connection = _reach(master, limit_s)
    try:
        connection.sendall(pack(hello))
        answer = unpack(_read_line(connection))
    except (OSError, ValueError):
        answer = {}
    if answer.get("welcome"):
        return Link(connection)
    connection.close()
    node_rank = hello["node_rank"]
    if "refused" in answer:
        raise InputError(f"machine 0 refuses machine {node_rank}: {answer['refused']}")
    raise InputError(
        f"what listens at --master {master} does not answer as machine 0 of a run; check the "
        "address, and start machine 0 there"
    )


def _read_line(connection: socket.socket) -> bytes:
    """One line and no more: the following bytes belong to the link."""
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            raise ValueError("no answer")
        line += byte
    return line


def _reach(master: Address, limit_s: float) -> socket.socket:
    end = time.monotonic() + limit_s
    while True:
        try:
            return socket.create_connection(master, ATTEMPT_S)
        except OSError as error:
            if time.monotonic() >= end:
                raise InputError(
                    f"machine 0 was not reached at --master {master} within {limit_s:g} s "
                    f"({error.strerror or error}); start it, and check the address and the firewall"
                ) from None
        time.sleep(PAUSE_S)


class Agent:
    """The ranks of this machine. For the main thread alone, because the ranks end with it."""

    def __init__(
        self, link: Link, master: Address, rank_hello: Message, start_rank: StartRank
    ) -> None:
        """`rank_hello`, with a key, is the first message of a rank's connection."""
        self._link, self._master, self._hello = link, master, rank_hello
        self._start_rank = start_rank
        self._ranks: Dict[int, RankProcess] = {}

    def serve(self) -> Message:
        """Obey machine 0 and return its last message. No rank is left in any case.

        Raises WorkerError if machine 0 is lost.
        """
        try:
            next_s = time.monotonic()
            while True:
                left_s = max(0.0, next_s - time.monotonic())
                if select.select([self._link], [], [], left_s)[0]:
                    for message in self._link.receive():
                        if message["do"] == "end":
                            return message
                        self._obey(message)
                if time.monotonic() >= next_s:
                    self._report()
                    next_s = time.monotonic() + REPORT_S
        except (LinkEnded, KeyError, TypeError):
            raise WorkerError(
                f"machine 0 at {self._master} ended or the connection to it was cut; the ranks "
                "here were ended, and what was measured is in the record on machine 0"
            ) from None
        finally:
            for rank in self._ranks.values():
                rank.kill()
                rank.close()
            self._link.close()

    def _obey(self, message: Message) -> None:
        key = message["rank"]
        if message["do"] == "start":
            self._start(key, message)
        elif key in self._ranks and message["do"] == "kill":
            self._ranks[key].kill()
            self._report_end(key)
        elif key in self._ranks and message["do"] == "stack":
            self._ranks[key].write_stack()

    def _start(self, key: int, message: Message) -> None:
        try:
            connection = socket.create_connection(self._master, ATTEMPT_S)
            connection.settimeout(None)
            connection.sendall(pack({**self._hello, "key": key}))
            rank = self._ranks[key] = self._start_rank(message, connection)
        except (BenchError, OSError, ValueError, TypeError) as error:
            self._link.send({"rank": key, "failed": str(error)})
        else:
            self._link.send({"rank": key, "pid": rank.pid, "log": str(rank.log_path)})

    def _report(self) -> None:
        for key in [key for key, rank in self._ranks.items() if rank.exit_status is not None]:
            self._report_end(key)
        # a machine 0 that is stopped reads nothing, and this machine must not wait for it
        if select.select([], [self._link], [], 0.0)[1]:
            self._link.send({})  # still here

    def _report_end(self, key: int) -> None:
        rank = self._ranks.pop(key)
        rank.close()
        ended = {"rank": key, "exit_status": rank.exit_status, "log_tail": rank.read_log_tail()}
        self._link.send(ended)
