"""The node's side of a rank or a cell of a sweep in a Ray cluster.

Ray calls these functions on a node, and makes an actor of `NodeHost`. The actor starts the rank in
a process of its own, with that node's interpreter and environment, and passes requests, answers and
errors. It ends the rank when its own process ends, and when the head of the cluster is gone. Ray is
not imported here.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib import metadata
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from ... import __version__
from ...data import default_dataset_path, load_dataset
from ..config import EMBEDDED_DATA, Contender
from ..errors import InputError, WorkerError
from ..plan.plan import Plan
from ..record.machine import describe_machine
from ..worker.environment import RuntimeResolver
from ..worker.process import describe_death
from .placement import Address, Placement, reserve_port
from .starting import RankProcess, start_rank

# plan with the node's own data, folder to write to, environment of the node
NodeFunction = Callable[[Plan, Path, Dict[str, str]], Any]
FOREVER_S = 1e8  # the controller ends a turn that takes too long
HEAD_PAUSE_S = 2.0  # between two looks at the head
HEAD_MISSES = 2  # of looks, after which it is gone


def watch_head(head: Address, when_gone: Callable[[], None]) -> threading.Event:
    """Call `when_gone` once the head of the cluster is gone; set the event to end the watch."""
    done = threading.Event()

    def watch() -> None:
        misses = 0
        while misses < HEAD_MISSES and not done.wait(HEAD_PAUSE_S):
            misses = 0 if head.is_listening() else misses + 1
        if misses == HEAD_MISSES:
            when_gone()

    threading.Thread(target=watch, daemon=True).start()
    return done


def read_node_environment() -> Dict[str, str]:
    """The variables that `ray start` had on this node; Ray sets more in an actor."""
    content = Path(f"/proc/{os.getppid()}/environ").read_bytes()
    pairs = [os.fsdecode(each).partition("=") for each in content.split(b"\0") if each]
    return {name: value for name, _, value in pairs}


def localize_plan(plan: Plan) -> Plan:
    """The plan with this node's own copy of the dataset.

    Raises InputError for a dataset that is not there or is another one.
    """
    if plan.dataset is None:
        return plan
    embedded = plan.workload.data == EMBEDDED_DATA
    root = default_dataset_path() if embedded else plan.dataset.root
    dataset = load_dataset(root) if root.is_dir() else None
    count = attrgetter("train.num_samples", "val.num_samples")
    if dataset is None or count(dataset) != count(plan.dataset):
        raise InputError(
            f"the dataset {root} of this node is missing or is not that of the controller; copy "
            "that one to the same path on every node"
        )
    return replace(plan, dataset=dataset)


def make_scratch(folder: Path, address: str) -> TemporaryDirectory[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return TemporaryDirectory(prefix=f"node-{address}-", dir=folder)


class Node(NamedTuple):
    address: str
    cores: List[int]
    machine: Dict[str, Any]


def describe_node(address: str) -> Tuple[str, Node]:
    """The version of the suite on this node, and its description."""
    try:
        oneflow: Optional[str] = metadata.version("oneflow")
    except metadata.PackageNotFoundError:
        oneflow = None
    machine = {"oneflow": oneflow, "host": socket.gethostname(), **describe_machine()}
    return __version__, Node(address, sorted(os.sched_getaffinity(0)), machine)


def run_cell(
    function: NodeFunction, plan: Plan, folder: Path, address: str, head: Address
) -> Tuple[Any, Dict[Path, bytes]]:
    """The result of the function, and the content of the files that it wrote, by path in `folder`.

    The process ends when the head of the cluster is gone.
    """
    watch = watch_head(head, partial(os._exit, 1))
    try:
        with make_scratch(folder, address) as scratch:
            result = function(localize_plan(plan), Path(scratch), read_node_environment())
            paths = [path for path in Path(scratch).rglob("*") if path.is_file()]
            return result, {path.relative_to(scratch): path.read_bytes() for path in paths}
    finally:
        watch.set()


class NodeHost:
    """Holds a rank on its node, for the controller.

    The errors of a rank are raised as they are; Ray passes them to the controller.
    """

    def __init__(self, address: str, head: Address) -> None:
        self._address = address
        self._rank: RankProcess
        self._scratch = ExitStack()
        watch_head(head, self._leave)

    def reserve_port(self) -> Address:
        """A port of this node for rank 0, held until this actor ends."""
        address, self._reserved = reserve_port(self._address)
        return address

    def start(self, contender: Contender, placement: Placement, plan: Plan, folder: Path) -> str:
        """Start the rank, which reads the data of `plan`; its log, which is in `folder`/logs."""
        self._plan, self._folder = plan, folder
        environments = RuntimeResolver(read_node_environment())
        self._rank = start_rank(contender, placement, environments, folder / "logs")
        return str(self._rank.log_path)

    def ask(self, call: str, arguments: Dict[str, Any]) -> Dict[str, Any]:
        """The rank's answer to one request.

        The dataset is the controller's in a folder that all nodes share; else it is made here.
        """
        wanted = arguments.get("dataset")
        if wanted is not None and not Path(wanted).is_dir():
            scratch = self._scratch.enter_context(make_scratch(self._folder, self._address))
            made = localize_plan(self._plan).prepare_dataset(Path(scratch))
            arguments = {**arguments, "dataset": str(made)}
        return self._rank.ask(call, FOREVER_S, **arguments)

    def watch(self) -> None:
        """Raise WorkerError once the rank has ended."""
        while (status := self._rank.exit_status) is None:
            time.sleep(0.1)
        said = describe_death(self._rank.title, "last", status, self._rank.log_path)
        raise WorkerError(said, self._rank.read_log_tail(), status)

    def write_stack(self) -> None:
        self._rank.write_stack()

    def close(self) -> str:
        """End the rank, and remove what was made for it; the last lines of its log."""
        self._rank.kill()
        self._scratch.close()
        return self._rank.read_log_tail()

    def _leave(self) -> None:
        """The head is gone, and with it the controller's way to this node."""
        try:
            self.close()
        finally:
            os._exit(1)
