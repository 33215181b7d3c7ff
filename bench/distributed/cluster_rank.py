"""A rank on a node of a Ray cluster, as a member of a `RankGroup`."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

from ..config import Contender
from ..errors import InputError, WorkerError
from ..plan.plan import Plan
from ..worker.process import END_GRACE_S
from .cluster import CALL_S, Cluster
from .group import create_title
from .placement import Address, Placement

NEWS_S = 2.0  # for the last lines of a log


class ClusterRank:
    """A member of a `RankGroup` on a node of the cluster."""

    def __init__(
        self,
        cluster: Cluster,
        actor: Any,
        contender: Contender,
        placement: Placement,
        plan: Plan,
        folder: Path,
    ) -> None:
        """Start the rank. Raises WorkerError and InputError if it cannot be started."""
        self._cluster, self._actor = cluster, actor
        self._node = cluster.addresses[placement.identity.rank]
        self.title = f"{create_title(contender.name, placement.identity)} on node {self._node}"
        self._tail = ""
        self._reader, self._bell = socket.socketpair()
        self._reader.setblocking(False)
        self._answer: Any = None
        self._open("start", self._call("start", contender, placement, plan, folder.resolve()))
        self._end = self._call("watch")

    def _call(self, method: str, *arguments: Any) -> Any:
        """A call of the actor, as a future that rings the bell when it is done."""
        future = getattr(self._actor, method).remote(*arguments).future()
        future.add_done_callback(lambda _: self._ring())
        return future

    def _ring(self) -> None:
        with suppress(OSError):  # closed
            self._bell.send(b".")

    def fileno(self) -> int:
        """What `select` waits on: there is an answer, or the rank has ended."""
        return self._reader.fileno()

    def send(self, call: str, **arguments: Any) -> None:
        """As `WorkerProcess.send`; the dataset becomes that of the node."""
        self._answer = self._call("ask", call, arguments)

    def poll(self, call: str) -> Optional[Dict[str, Any]]:
        """As `WorkerProcess.poll`. Raises WorkerError too if the node or the head is lost."""
        if self._cluster.lost.is_set():
            raise self._explain_lost_head(call)
        with suppress(BlockingIOError):
            self._reader.recv(4096)
        if self._answer is not None and self._answer.done():
            answer, self._answer = self._answer, None
            return self._open(call, answer)
        if self._answer is None and self._end.done():
            self._open(call, self._end)
        return None

    def _open(self, call: str, future: Any) -> Dict[str, Any]:
        try:
            reply: Dict[str, Any] = future.result(CALL_S)
        except Exception as error:  # of Ray: the actor, its node or the connection is gone
            if self._cluster.has_lost_head():
                raise self._explain_lost_head(call) from None
            lines = [each.strip() for each in str(error).splitlines() if each.strip()]
            raise WorkerError(
                f"{self.title} was lost in its {call} turn: Ray says "
                f"{type(error).__name__}: {' '.join(lines[:1])[:300]}; look at `ray status`, and "
                "at the network"
            ) from None
        if "input" in reply:
            raise InputError(reply["input"])
        if "failure" in reply:
            if self._cluster.has_lost_head():  # the node ended its rank for that
                raise self._explain_lost_head(call)
            self._tail = reply["log"]
            raise WorkerError(reply["failure"], reply["log"], reply["status"])
        answer: Dict[str, Any] = reply["answer"]
        if call == "start":
            self.log_path, self.pid = f"{answer['log']} there", answer["pid"]
        return answer

    def _explain_lost_head(self, call: str) -> WorkerError:
        return WorkerError(
            f"{self.title} was lost in its {call} turn: the head of the Ray cluster at "
            f"{self._cluster.head} does not answer; look at `ray status` there"
        )

    def write_stack(self) -> None:
        """As `RankProcess.write_stack`."""
        self._cluster.get(self._actor.write_stack.remote(), NEWS_S)

    def read_log_tail(self) -> str:
        """The last lines of the rank's log."""
        if not self._tail and self._actor is not None:
            self._tail = self._cluster.get(self._actor.read_log_tail.remote(), NEWS_S) or ""
        return self._tail

    def kill(self) -> None:
        """End the rank at once."""
        self._finish(at_once=True)

    def close_input(self) -> None:
        """The actor closes it when the rank is closed."""

    def close(self) -> None:
        """End the rank in good order if it does so in time, else by force."""
        self._finish(at_once=False)
        self._reader.close()
        self._bell.close()

    def _finish(self, at_once: bool) -> None:
        if self._actor is None:
            return
        self.read_log_tail()  # nobody can be asked for it later
        self._cluster.get(self._actor.close.remote(at_once), END_GRACE_S + NEWS_S)
        self._cluster.kill(self._actor)
        self._actor = None


def start_cluster_ranks(
    cluster: Cluster,
    contender: Contender,
    plan: Plan,
    folder: Path,
    place: Callable[[Address], Sequence[Placement]],
) -> List[ClusterRank]:
    """The ranks of a contender; `place` gives their placements, by rank 0's address.

    Raises InputError and WorkerError if one cannot be started, and then leaves none.
    """
    actors = [cluster.create_actor(rank) for rank in range(contender.ranks)]
    members: List[ClusterRank] = []
    try:
        master = Address(cluster.addresses[0], cluster.reserve_port(actors[0]))
        for actor, one in zip(actors, place(master)):
            members.append(ClusterRank(cluster, actor, contender, one, plan, folder))
    except BaseException:
        for member in members:
            member.kill()
            member.close()
        for actor in actors[len(members) :]:
            cluster.kill(actor)
        raise
    return members
