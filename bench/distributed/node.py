"""The node's side of a rank or a cell in a Ray cluster: plain classes that become actors.

Ray starts an actor's process on a node. The actor starts the rank in a process of its own, with
that node's interpreter and environment, and passes requests and answers. It ends the rank when its
own process ends, and when the head of the cluster is gone. Ray is not imported here.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import tarfile
import threading
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from ... import __version__
from ...data import DatasetInfo, default_dataset_path, load_dataset
from ..config import EMBEDDED_DATA, Contender
from ..errors import InputError, WorkerError
from ..plan.plan import Plan
from ..record.machine import describe_machine
from ..worker.environment import RuntimeResolver
from ..worker.process import create_worker_command, describe_death
from .group import RankProcess
from .placement import RANK, Address, Placement, create_placement_variables, divides_threads
from .rendezvous import PortReservation, is_listening

Reply = Dict[str, Any]  # one of answer, input (a sentence) and failure (a sentence, with its log)
FOREVER_S = 1e8  # the controller ends a turn that takes too long
HEAD_PAUSE_S = 2.0  # between two looks at the head
HEAD_MISSES = 2  # of looks, after which it is gone


def watch_head(head: Address, when_gone: Callable[[], None]) -> threading.Event:
    """Call `when_gone` once the head of the cluster is gone; set the event to end the watch."""
    done = threading.Event()

    def watch() -> None:
        misses = 0
        while misses < HEAD_MISSES:
            if done.wait(HEAD_PAUSE_S):
                return
            misses = 0 if is_listening(head) else misses + 1
        when_gone()

    threading.Thread(target=watch, daemon=True).start()
    return done


def read_node_environment() -> Dict[str, str]:
    """The variables that `ray start` had on this node; Ray sets more in an actor."""
    try:
        content = Path(f"/proc/{os.getppid()}/environ").read_bytes()
    except OSError:
        return dict(os.environ)
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
    if not root.is_dir():
        raise InputError(
            f"the dataset {root} is not on this node; put it at the same path on every node"
        )
    dataset = load_dataset(root)
    if count_samples(dataset) != count_samples(plan.dataset):
        raise InputError(
            f"the dataset {root} of this node is not that of the controller; copy that one to "
            "every node"
        )
    return replace(plan, dataset=dataset)


def count_samples(dataset: DatasetInfo) -> Tuple[int, int]:
    """Images of the training and of the validation split."""
    return dataset.train.num_samples, dataset.val.num_samples


class NodeHost:
    """Answers for its node, and holds one rank or runs cells of a sweep."""

    def __init__(self, address: str, head: Tuple[str, int]) -> None:
        self._address = address
        self._rank: Optional[RankProcess] = None
        self._scratch: List[Path] = []
        watch_head(Address(*head), self._leave)

    def describe(self) -> Dict[str, Any]:
        """What the controller has to know of this node."""
        try:
            oneflow: Optional[str] = metadata.version("oneflow")
        except metadata.PackageNotFoundError:
            oneflow = None
        return {
            "version": __version__,
            "oneflow": oneflow,
            "cores": sorted(os.sched_getaffinity(0)),
            "machine": {"host": socket.gethostname(), **describe_machine()},
        }

    def reserve_port(self) -> int:
        """A port of this node for rank 0, held until this actor ends."""
        self._port = PortReservation(self._address)
        return self._port.address.port

    def start(self, contender: Contender, placement: Placement, plan: Plan, folder: Path) -> Reply:
        """Start the rank, which reads the data of `plan`; its log is in `folder`/logs."""

        def run() -> Reply:
            self._plan, self._folder, logs = plan, folder, folder / "logs"
            environments = RuntimeResolver(read_node_environment())
            python = contender.interpreter
            variables = {
                **environments.resolve(contender, python),
                **create_placement_variables(placement, divides_threads(contender, environments)),
            }
            command = create_worker_command(python, RANK)
            rank = RankProcess(contender.name, placement.identity, command, variables, logs)
            rank.title += f" on node {self._address}"
            self._rank = rank
            return {"log": str(rank.log_path), "pid": rank.pid}

        return self._reply(run)

    def ask(self, call: str, arguments: Dict[str, Any]) -> Reply:
        """The rank's answer to one request. Its dataset is this node's."""

        def run() -> Reply:
            assert self._rank is not None
            if arguments.get("dataset") is not None:
                arguments["dataset"] = str(self._prepare_dataset(Path(arguments["dataset"])))
            return self._rank.ask(call, FOREVER_S, **arguments)

        return self._reply(run)

    def _prepare_dataset(self, wanted: Path) -> Path:
        """A folder that all nodes share has it already; else it is made here."""
        if wanted.is_dir():
            return wanted
        scratch = self._make_scratch(self._folder)
        self._scratch.append(scratch)
        made = localize_plan(self._plan).prepare_dataset(scratch)
        assert made is not None
        return made

    def _make_scratch(self, folder: Path) -> Path:
        scratch = folder / f"node-{self._address}-{os.getpid()}"
        scratch.mkdir(parents=True)
        return scratch

    def watch(self) -> Reply:
        """Return when the rank has ended."""
        assert self._rank is not None
        while self._rank.exit_status is None:
            time.sleep(0.1)
        tail, status = self._rank.read_log_tail(), self._rank.exit_status
        said = describe_death(self._rank.title, "last", status, self._rank.log_path)
        return {"failure": said, "log": tail, "status": status}

    def write_stack(self) -> None:
        if self._rank is not None:
            self._rank.write_stack()

    def read_log_tail(self) -> str:
        return "" if self._rank is None else self._rank.read_log_tail()

    def close(self, at_once: bool) -> None:
        """End the rank, and remove what was made for it."""
        if self._rank is not None:
            if at_once:
                self._rank.kill()
            self._rank.close()
        for folder in self._scratch:
            shutil.rmtree(folder, ignore_errors=True)

    def call(self, function: Callable[..., Any], plan: Optional[Plan], folder: Path) -> Any:
        """`function(plan, folder, environment)` with this node's data; its result, packed files."""
        localized = None if plan is None else localize_plan(plan)
        scratch = self._make_scratch(folder)
        try:
            result = function(localized, scratch, read_node_environment())
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w:gz") as archive:
                archive.add(scratch, arcname=".")
            return result, packed.getvalue()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _reply(self, run: Callable[[], Dict[str, Any]]) -> Reply:
        try:
            return {"answer": run()}
        except InputError as error:
            return {"input": str(error)}
        except WorkerError as error:
            return {"failure": str(error), "log": error.log_tail, "status": error.returncode}

    def _leave(self) -> None:
        """The head is gone, and with it the controller's way to this node."""
        self.close(at_once=True)
        os._exit(1)
