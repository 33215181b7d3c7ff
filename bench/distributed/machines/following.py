"""A machine of several that is not machine 0: what it brings to the run, and its part in it."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import Callable, List

from .... import __version__
from ...config import Contender
from ...errors import InputError, WorkerError
from ...plan.plan import SUBSET_FOLDER, Plan
from ...record.run import Document
from ...worker.environment import RuntimeResolver
from ...worker.process import create_worker_command
from ..group import RankProcess
from ..rendezvous import Address
from ..seat import create_seat_variables, find_contender, restore_seat
from ..starting import RANK, divides_threads
from .agent import Agent, join_run
from .handshake import create_hello, describe_run
from .link import Message
from .nodes import Nodes


def follow_machine_0(
    nodes: Nodes,
    plan: Plan,
    document: Document,
    folder: Path,
    environments: RuntimeResolver,
    show: Callable[[str], None],
) -> None:
    """Take part in the run of machine 0 until it ends it; the logs of the ranks stay in `folder`.

    Raises InputError where machine 0 is not reached or refuses, and then leaves no folder;
    WorkerError where machine 0 is lost or its run failed.
    """
    assert nodes.host is not None and nodes.port is not None
    master = Address(nodes.host, nodes.port)
    _create(folder)
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
        link = join_run(master, hello)
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
    """Starts the rank that machine 0 asks for, in this machine's environment."""

    def start(message: Message, connection: socket.socket) -> RankProcess:
        contender, seat = find_contender(message, contenders), restore_seat(message)
        environment = environments.resolve(contender, contender.interpreter)
        variables = create_seat_variables(seat, divides_threads(contender, environments))
        command = create_worker_command(contender.interpreter, RANK)
        together = {**environment, **variables}
        return RankProcess(contender.name, seat.identity, command, together, logs, connection)

    return start


def _create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"the folder {folder} of this machine cannot be created ({error.strerror}); give "
            "another --out on all machines"
        ) from None
