"""Ranks and cells of a sweep on the nodes of a Ray cluster: the controller's side.

Ray places one actor for each rank (`node.py`), passes its calls and notices its death. Ray is the
optional extra `oneflow-bench[cluster]`. Nothing of it is imported without `--cluster`.
"""

from __future__ import annotations

import logging
import queue
import shutil
import threading
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, List, Sequence

from ... import __version__
from ..errors import BenchError, InputError, WorkerError
from ..plan.plan import Plan
from .node import Node, NodeFunction, NodeHost, describe_node, run_cell, watch_head
from .placement import Address

PLACING_S = 60.0  # for Ray to find the cores and the memory
CALL_S = 60.0  # for a short answer of an actor, which starts first
NEWS_S = 5.0  # for an actor to end its rank and to tell the last lines of its log
PAUSE_S = 1.0  # between two looks for a free node
RANK_MEMORY_BYTES = 500 << 20  # asked for each rank; a worker's peak, by `bench doctor --json`
_PLACE = f"one core and {RANK_MEMORY_BYTES >> 20} MiB each"
_RESUME = "run the same command with the same --out to go on"
_INSTALL = "pip install 'oneflow-bench[cluster]'"


class Cluster:
    """A connection to a running cluster, with a place for each of `ranks`; a context manager.

    Without ranks each node is a place. `address` is HOST:PORT of the cluster's head, or "auto" on
    one of its nodes. Raises InputError, which names the node, for a cluster, a place or a node that
    cannot be used.
    """

    def __init__(self, address: str, ranks: int, placement: str, show: Callable[[str], None]):
        self._wanted, self._ranks, self._placement = address, ranks, placement
        self._show = show
        self.lost = threading.Event()  # the head is gone
        self._free: queue.Queue[int] = queue.Queue()
        self._lost_places: List[int] = []

    def __enter__(self) -> Cluster:
        try:
            import ray
        except ImportError:
            raise InputError(f"--cluster needs Ray, which is not here; {_INSTALL}") from None
        self._ray = ray
        self._connect()
        try:
            addresses = self._reserve_places()
            asked = [self._run_at(place, describe_node, at) for place, at in enumerate(addresses)]
            self.nodes = [self._check_node(*one) for one in zip(addresses, asked)]
        except BaseException:
            self.__exit__()
            raise
        for place in range(len(self.nodes)):
            self._free.put(place)
        return self

    def __exit__(self, *failure: Any) -> None:
        self._watch.set()
        if not self.lost.is_set():  # else each call would wait for the head
            self._ray.shutdown()

    def _connect(self) -> None:
        host, _, port = self._wanted.rpartition(":")
        known = Address(host, int(port)) if host and port.isdigit() else None
        remedy = "start one with `ray start --head`, and give its address as HOST:PORT"
        if self._wanted != "auto" and (known is None or not known.is_listening()):
            raise InputError(f"no Ray cluster answers at --cluster {self._wanted}; {remedy}")
        try:
            self._ray.init(self._wanted, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # of several classes, by what is wrong
            last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise InputError(
                f"--cluster {self._wanted} cannot be joined ({last[0][:300]}); {remedy}"
            ) from None
        host, _, port = self._ray.get_runtime_context().gcs_address.rpartition(":")
        self.head = Address(host, int(port))
        self._watch = watch_head(self.head, self.lost.set)

    def _reserve_places(self) -> List[str]:
        """Hold the places until the run ends; the address of each."""
        alive = {node["NodeID"]: node for node in self._ray.nodes() if node["Alive"]}
        bundles = [{"CPU": 1, "memory": RANK_MEMORY_BYTES} for _ in range(self._ranks)]
        wanted, strategy = f"{self._ranks} ranks of {_PLACE}", self._placement.upper()
        if not self._ranks:
            cores = [node["Resources"].get("CPU") for node in alive.values()]
            bundles = [{"CPU": count} for count in cores if count]
            wanted, strategy = f"cells on {len(bundles)} whole nodes", "STRICT_SPREAD"
        self._show(f"asking the cluster at {self.head} for {wanted}")
        self._group = self._ray.util.placement_group(bundles, strategy=strategy)
        if not self._group.wait(PLACING_S):
            free = self._ray.available_resources().get("CPU", 0)
            raise InputError(
                f"the cluster at {self.head} has no place for {wanted} within {PLACING_S:g} s; "
                f"{free:g} cores are free; give fewer --ranks, add nodes or end what runs there"
            )
        ids = self._ray.util.placement_group_table(self._group)["bundles_to_node_id"]
        return [alive[ids[place]]["NodeManagerAddress"] for place in range(len(bundles))]

    def _run_at(self, place: int, what: Any, *arguments: Any, **options: Any) -> Any:
        """A call of a function, or an actor of a class, at a place."""
        strategy = self._ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy
        options = {"num_cpus": 0, "scheduling_strategy": strategy(self._group, place), **options}
        return self._ray.remote(what).options(**options).remote(*arguments)

    def create_actor(self, place: int) -> Any:
        """An actor at a place. Its `watch` and `ask` each hold a thread."""
        address = self.nodes[place].address
        return self._run_at(place, NodeHost, address, self.head, max_concurrency=4)

    def _check_node(self, address: str, asked: Any) -> Node:
        """The node of an address by the answer to `describe_node`."""
        try:
            version, node = self._ray.get(asked, timeout=CALL_S)
        except Exception as error:  # it cannot be called there
            lines = [line for line in str(error).splitlines() if "Error" in line] or [str(error)]
            said = f"cannot run ranks ({lines[-1].strip()[:200]})"
        else:
            said = f"has oneflow-bench {version} and this machine has {__version__}"
            if node.machine["oneflow"] is None:
                said = "has no OneFlow"
            elif version == __version__:
                return Node(*node)
        raise InputError(
            f"node {address} of the cluster {said}; install oneflow-bench {__version__} there, for "
            "the Python that runs Ray"
        )

    def reserve_port(self, actor: Any) -> Address:
        address: Address = self._ray.get(actor.reserve_port.remote(), timeout=CALL_S)
        return address

    def get(self, reference: Any, timeout_s: float) -> Any:
        """The value of a call, or None where it does not come in time or its actor is gone."""
        with suppress(Exception):
            return None if self.lost.is_set() else self._ray.get(reference, timeout=timeout_s)
        return None

    def call_on_free_node(self, function: NodeFunction, plan: Plan, folder: Path) -> Any:
        """`function(plan, folder, environment)` on a node that does nothing else.

        The files that it writes to `folder` arrive in the controller's. A node that is lost costs
        its call, which is made again on another. Raises WorkerError when no node is left.
        """
        while len(self._lost_places) < len(self.nodes):
            try:
                place = self._free.get(timeout=PAUSE_S)
            except queue.Empty:
                continue
            address = self.nodes[place].address
            given = (function, plan, folder.resolve(), address, self.head)
            try:
                result, files = self._ray.get(self._run_at(place, run_cell, *given, max_retries=0))
            except self._ray.exceptions.RayTaskError as error:
                self._free.put(place)
                raise error.cause from None
            except Exception as error:  # the process or its node is gone
                said = str(error).strip().splitlines()[:1]
                self._show(f"node {address} is lost ({''.join(said)[:200]})")
                for left in folder.glob(f"node-{address}-*"):
                    shutil.rmtree(left, ignore_errors=True)  # in a folder that the nodes share
                self._lost_places.append(place)
                continue
            self._free.put(place)
            for path, content in files.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
            return result
        raise WorkerError(f"all nodes of the cluster at {self.head} are lost; {_RESUME}")


class ClusterRank:
    """A member of a `RankGroup` on a node of the cluster."""

    def __init__(self, cluster: Cluster, actor: Any, title: str, *start: Any) -> None:
        """Start the rank; `start` are the arguments of `NodeHost.start`.

        Raises WorkerError and InputError if it cannot be started.
        """
        self._cluster, self._actor, self.title = cluster, actor, title
        self._tail = ""
        started = actor.start.remote(*start).future()
        self.log_path = f"{self._open('start', started)} there"
        self._end = actor.watch.remote().future()
        self._answer: Any = None

    @property
    def future(self) -> Any:
        """Is done when there is an answer, or the rank has ended."""
        return self._end if self._answer is None else self._answer

    def send(self, call: str, **arguments: Any) -> None:
        """As `WorkerProcess.send`; the dataset becomes that of the node."""
        self._answer = self._actor.ask.remote(call, arguments).future()

    def poll(self, call: str) -> Any:
        """As `WorkerProcess.poll`. Raises WorkerError too if the node or the head is lost."""
        future = self.future
        if not future.done() and not self._cluster.lost.is_set():
            return None
        self._answer = None
        return self._open(call, future)

    def _open(self, call: str, future: Any) -> Any:
        """The result of a call of the actor, or the node's or Ray's error."""
        try:
            return future.result(0 if self._cluster.lost.is_set() else CALL_S)
        except Exception as error:
            told = [line.strip()[:300] for line in str(error).splitlines() if line.strip()]
            kind, head = type(error).__name__, self._cluster.head
            said = f"Ray says {kind}: {''.join(told[:1])}; look at `ray status`, and at the network"
            cause = getattr(error, "cause", None)
            if self._cluster.lost.is_set() or not head.is_listening():  # nodes end ranks for that
                self._cluster.lost.set()
                said = f"the head of the Ray cluster at {head} does not answer; see `ray status`"
            elif isinstance(cause, BenchError):  # raised on the node
                raise cause from None
            raise WorkerError(f"{self.title} was lost in its {call} turn: {said}") from None

    def write_stack(self) -> None:
        """As `RankProcess.write_stack`."""
        self._cluster.get(self._actor.write_stack.remote(), NEWS_S)

    def read_log_tail(self) -> str:
        """The last lines of the log of a rank that was ended."""
        return self._tail

    def close_input(self) -> None:
        """Nothing: the actor ends the rank."""

    def kill(self) -> None:
        """End the rank at once."""
        if self._actor is not None:
            self._tail = self._cluster.get(self._actor.close.remote(), NEWS_S) or ""
            self._actor = None  # Ray ends an actor that nobody can call any more

    close = kill


def wait_for_ranks(members: Sequence[ClusterRank], limit_s: float) -> None:
    """Return when one of the ranks can be polled, or the time is over."""
    wait([member.future for member in members], limit_s, FIRST_COMPLETED)
