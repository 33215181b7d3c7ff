"""Ranks and cells on the nodes of a Ray cluster: the controller's side.

Ray places one actor for each rank (`node.py`), passes its calls and notices its death. Ray is the
optional extra `oneflow-bench[cluster]`. Nothing of it is imported without `--cluster`.
"""

from __future__ import annotations

import io
import logging
import queue
import shutil
import tarfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from ... import __version__
from ..errors import InputError, WorkerError
from ..plan.plan import Plan
from .node import NodeHost, watch_head
from .placement import Address
from .rendezvous import is_listening

PLACING_S = 60.0  # for Ray to find the cores and the memory
CALL_S = 60.0  # for a short answer of an actor, which starts first
RANK_MEMORY_BYTES = 500 << 20  # asked for each rank; a worker's peak, by `bench doctor --json`
_RESUME = "run the same command with the same --out to go on"
_INSTALL = "pip install 'oneflow-bench[cluster]'"


# plan with the node's own data, folder to write to, environment of the node
NodeFunction = Callable[[Optional[Plan], Path, Dict[str, str]], Any]


class Node(NamedTuple):
    address: str
    cores: List[int]
    machine: Dict[str, Any]


class Cluster:
    """A connection to a running cluster, with a place for each of `ranks`; a context manager.

    `address` is HOST:PORT of the cluster's head, or "auto" on one of its nodes. Raises InputError,
    which names the node, for a cluster, a place or a node that cannot be used.
    """

    def __init__(self, address: str, ranks: int, placement: str, show: Callable[[str], None]):
        self._wanted, self._ranks, self._placement = address, ranks, placement
        self._show = show
        self.lost = threading.Event()  # the head is gone
        self._counting = threading.Lock()

    def __enter__(self) -> Cluster:
        try:
            import ray
        except ImportError:
            raise InputError(f"--cluster needs Ray, which is not here; {_INSTALL}") from None
        self._ray = ray
        self._connect()
        try:
            self._group = self._place() if self._ranks else None
            self.nodes = self._describe_nodes()
            self._free: queue.Queue[Optional[int]] = queue.Queue()
            for place in range(len(self.nodes)):
                self._free.put(place)
            self._left = len(self.nodes)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *failure: Any) -> None:
        self._watch.set()
        if not self.lost.is_set():  # else each call would wait for the head
            self._ray.shutdown()

    def _connect(self) -> None:
        host, _, port = self._wanted.rpartition(":")
        known = Address(host, int(port)) if host and port.isdigit() else None
        remedy = "start one with `ray start --head`, and give its address as HOST:PORT"
        if self._wanted != "auto" and (known is None or not is_listening(known)):
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

    def _place(self) -> Any:
        """A place of a core and a worker's memory for each rank, held until the run ends."""
        bundle = {"CPU": 1, "memory": RANK_MEMORY_BYTES}
        group = self._ray.util.placement_group(
            [dict(bundle) for _ in range(self._ranks)], strategy=self._placement.upper()
        )
        self._show(f"asking the cluster at {self.head} for {self._ranks} places of one core")
        if not group.wait(PLACING_S):
            free = self._ray.available_resources().get("CPU", 0)
            raise InputError(
                f"the cluster at {self.head} has no place for {self._ranks} ranks of one core and "
                f"{RANK_MEMORY_BYTES >> 20} MiB each within {PLACING_S:g} s; {free:g} cores are "
                "free; give fewer --ranks or add nodes"
            )
        return group

    def _describe_nodes(self) -> List[Node]:
        """The node of each rank, or all nodes where no rank was asked for."""
        alive = {node["NodeID"]: node for node in self._ray.nodes() if node["Alive"]}
        if self._group is None:
            self._ids = [each for each, node in alive.items() if node["Resources"].get("CPU")]
        else:
            table = self._ray.util.placement_group_table(self._group)
            self._ids = [table["bundles_to_node_id"][rank] for rank in range(self._ranks)]
        self.addresses = [alive[each]["NodeManagerAddress"] for each in self._ids]
        self._cpus = [alive[each]["Resources"].get("CPU", 0) for each in self._ids]
        actors = [self.create_actor(place) for place in range(len(self._ids))]
        asked = [actor.describe.remote() for actor in actors]
        nodes = [self._check_node(address, one) for address, one in zip(self.addresses, asked)]
        for actor in actors:
            self._ray.kill(actor)
        return nodes

    def _check_node(self, address: str, asked: Any) -> Node:
        install = f"install oneflow-bench {__version__} there, for the Python that runs Ray"
        try:
            facts = self._ray.get(asked, timeout=CALL_S)
        except Exception as error:  # the actor could not be made there
            lines = [line for line in str(error).splitlines() if "Error" in line] or [str(error)]
            raise InputError(
                f"node {address} of the cluster cannot run ranks ({lines[-1].strip()[:200]}); "
                f"{install}"
            ) from None
        if facts["version"] != __version__:
            raise InputError(
                f"node {address} of the cluster has oneflow-bench {facts['version']} and this "
                f"machine has {__version__}; {install}"
            )
        if facts["oneflow"] is None:
            raise InputError(f"node {address} of the cluster has no OneFlow; {install}")
        return Node(address, facts["cores"], {"oneflow": facts["oneflow"], **facts["machine"]})

    def create_actor(self, place: int) -> Any:
        """An actor at the place of a rank; without ranks it has the node of that number alone."""
        scheduling = self._ray.util.scheduling_strategies
        if self._group is None:
            where = scheduling.NodeAffinitySchedulingStrategy(self._ids[place], soft=False)
        else:
            where = scheduling.PlacementGroupSchedulingStrategy(
                self._group, placement_group_bundle_index=place
            )
        # `watch` and `ask` each hold a thread
        host = self._ray.remote(NodeHost).options(
            num_cpus=self._cpus[place] if self._group is None else 0,
            max_concurrency=4,
            scheduling_strategy=where,
        )
        return host.remote(self.addresses[place], tuple(self.head))

    def has_lost_head(self) -> bool:
        """Whether the head is gone; a node may tell of it before `lost` is set."""
        if not self.lost.is_set() and not is_listening(self.head):
            self.lost.set()
        return self.lost.is_set()

    def reserve_port(self, actor: Any) -> int:
        port: int = self._ray.get(actor.reserve_port.remote(), timeout=CALL_S)
        return port

    def get(self, reference: Any, timeout_s: float) -> Any:
        """The value of a call, or None where it does not come in time or its actor is gone."""
        with suppress(Exception):
            return None if self.lost.is_set() else self._ray.get(reference, timeout=timeout_s)
        return None

    def call_on_free_node(self, function: NodeFunction, plan: Optional[Plan], folder: Path) -> Any:
        """`function(plan, folder, environment)` on a node that does nothing else.

        The files that it writes to `folder` arrive in the controller's. A node that is lost costs
        its call, which is made again on another. Raises WorkerError when no node is left.
        """
        while True:
            place = self._free.get()
            if place is None:
                self._free.put(None)  # the other callers end too
                raise WorkerError(f"all nodes of the cluster at {self.head} are lost; {_RESUME}")
            actor = self.create_actor(place)
            try:
                result, packed = self._ray.get(actor.call.remote(function, plan, folder.resolve()))
            except self._ray.exceptions.RayTaskError as error:
                self._release(actor, place)
                raise error.cause from None
            except Exception as error:  # the actor or its node is gone
                said = str(error).strip().splitlines()[:1]
                self._show(f"node {self.addresses[place]} is lost ({''.join(said)[:200]})")
                for left in folder.glob(f"node-{self.addresses[place]}-*"):
                    shutil.rmtree(left, ignore_errors=True)  # in a folder that the nodes share
                self._lose_node()
                continue
            self._release(actor, place)
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                archive.extractall(folder, filter="data")
            return result

    def _release(self, actor: Any, place: int) -> None:
        """An actor that lived on would keep all cores of its node."""
        self.kill(actor)
        self._free.put(place)

    def _lose_node(self) -> None:
        with self._counting:
            self._left -= 1
            if not self._left:
                self._free.put(None)

    def kill(self, actor: Any) -> None:
        if not self.lost.is_set():
            self._ray.kill(actor)
