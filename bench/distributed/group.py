"""A worker of several ranks, with the interface of one of a single process.

A request goes to all ranks, and their answers are merged into one. One rank that dies or fails
ends the group at once, because OneFlow would leave the others waiting for it forever. A rank that
hangs ends the group at the timeout of the request.
"""

from __future__ import annotations

import os
import select
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence

from ..errors import BenchError, InputError, WorkerError, WorkerTimeout
from ..training.identity import Identity
from ..worker.process import WorkerProcess
from .rendezvous import PARENT_VARIABLE, STACK_SIGNAL

POLL_S = 0.5  # a machine that is lost ends no connection, so ranks are polled too
STACK_S = 0.3  # for ranks to write their stacks before they are ended
AGREE_S = 0.3  # for other ranks to refuse the same request, or to show the cause of an abort
NOTICE_S = 15.0  # for Ray to notice the loss of a node, whose neighbours OneFlow aborts first
LAST_CALL = "end"  # a worker exits after its answer to this call
# where OneFlow aborts a rank whose neighbour is gone: in its connections, or in its heartbeat
PEER_LOST = ("io_event_poller.cpp", "ctrl_client.cpp")

Merge = Callable[[str, Sequence[Dict[str, Any]]], Dict[str, Any]]


class RankProcess(WorkerProcess):
    """A rank on this machine; its log is in `logs`, and the kernel ends it with its parent."""

    def __init__(
        self,
        group: str,
        identity: Identity,
        command: List[str],
        environment: Dict[str, str],
        logs: Path,
    ) -> None:
        name = f"{group}.rank-{identity.rank}"
        variables = {**environment, PARENT_VARIABLE: str(os.getpid())}
        title, log = create_title(group, identity), logs / f"{name}.log"
        super().__init__(name, command, variables, log, title)

    def write_stack(self) -> None:
        """Make the rank write its Python stack to its log, if it still can."""
        if self.exit_status is None:
            os.kill(self.pid, STACK_SIGNAL)


def create_title(group: str, identity: Identity) -> str:
    return f"rank {identity.rank} of the worker '{group}'"


class RankGroup:
    """Ranks that train together; `members` are in their order.

    A member has these of `RankProcess`: `send`, `fileno`, `poll`, `log_path`,
    `read_log_tail`, `write_stack`, `kill`, `close_input`, `close`, `pid` and `title`.
    """

    def __init__(
        self,
        name: str,
        members: Sequence[Any],
        merge: Merge,
        release: Callable[[], None] = lambda: None,
        agree_s: float = AGREE_S,
    ) -> None:
        """`release` gives the port of rank 0 back.

        Where OneFlow aborted a rank, the cause in another may show up to `agree_s` later.
        """
        self.name, self._agree_s = name, agree_s
        self._members, self._merge = list(members), merge
        self._release = release
        self._answers: List[Optional[Dict[str, Any]]] = []

    def ask(self, call: str, timeout_s: float, **arguments: Any) -> Dict[str, Any]:
        """Ask all ranks, as `WorkerProcess.ask`; an error names the rank and leaves no process."""
        self.send(call, **arguments)
        return self.receive(call, timeout_s)

    def send(self, call: str, **arguments: Any) -> None:
        """Send a request to every rank without waiting."""
        self._answers = [None] * len(self._members)
        for member in self._members:
            try:
                member.send(call, **arguments)
            except WorkerError:
                pass  # `receive` finds the cause

    def receive(self, call: str, timeout_s: float) -> Dict[str, Any]:
        """The merged answer to the last request.

        Raises InputError, WorkerError and WorkerTimeout as `WorkerProcess.ask`.
        """
        deadline = time.monotonic() + timeout_s
        while None in self._answers:
            left_s = deadline - time.monotonic()
            watched = [self._members[rank] for rank in self._list_watched(call)]
            select.select(watched, [], [], max(0.0, min(left_s, POLL_S)))
            self._collect(call)
            if None in self._answers and left_s <= 0.0:
                self._fail_late(call, timeout_s)
        try:
            return self._merge(call, [answer for answer in self._answers if answer is not None])
        except WorkerError as error:
            self.kill()
            tail = self._members[0].read_log_tail()
            raise WorkerError(f"the worker '{self.name}': {error}", tail) from None

    def _list_watched(self, call: str) -> List[int]:
        """All ranks, as none may die; after the last call those that have yet to answer."""
        answers = enumerate(self._answers)
        return [rank for rank, answer in answers if call != LAST_CALL or answer is None]

    def _collect(self, call: str) -> None:
        """Take the answers that have come; raise if a rank has failed."""
        watched = self._list_watched(call)
        errors = self._poll(call, watched)
        refused = any(isinstance(error, InputError) for error in errors.values())
        end = time.monotonic() + self._agree_s
        while refused or (errors and all(map(is_aborted, errors.values()))):
            time.sleep(AGREE_S)
            errors.update(self._poll(call, [rank for rank in watched if rank not in errors]))
            if refused or len(errors) == len(watched) or time.monotonic() >= end:
                break
        if errors:
            self._fail(errors)

    def _poll(self, call: str, ranks: Sequence[int]) -> Dict[int, BenchError]:
        """Keep the answers of these ranks; return their errors."""
        errors: Dict[int, BenchError] = {}
        for rank in ranks:
            try:
                answer = self._members[rank].poll(call)
            except BenchError as error:
                errors[rank] = error
            else:
                self._answers[rank] = answer if answer is not None else self._answers[rank]
        return errors

    def _fail(self, errors: Dict[int, BenchError]) -> NoReturn:
        """End the group and raise the error of the rank that probably failed first."""
        self.kill()
        rank = find_culprit(errors)
        error = errors[rank]
        if isinstance(error, WorkerError):
            raise error
        everywhere = [str(other) for other in errors.values()] == [str(error)] * len(self._members)
        raise InputError(
            str(error) if everywhere else f"{self._members[rank].title}: {error}"
        ) from None

    def _fail_late(self, call: str, timeout_s: float) -> NoReturn:
        late = [rank for rank, answer in enumerate(self._answers) if answer is None]
        for rank in late:
            self._members[rank].write_stack()
        time.sleep(STACK_S)
        self.kill()
        ranks = f"rank{'' if len(late) == 1 else 's'} {', '.join(map(str, late))}"
        raise WorkerTimeout(
            f"{ranks} of the worker '{self.name}' gave no answer to the {call} turn within "
            f"{timeout_s:g} s, and all {len(self._members)} ranks were ended; one that hangs keeps "
            "the others waiting, so compare the Python stacks at the end of their logs, such as "
            f"{self._members[late[0]].log_path}; give a longer --timeout if the turn needs it",
            self._members[late[0]].read_log_tail(),
        )

    def kill(self) -> None:
        """End all ranks and the processes that they started, at once."""
        for member in self._members:
            member.kill()
        self._release()

    def close(self) -> None:
        """Let all ranks exit by themselves; kill those that do not exit in time."""
        for member in self._members:  # first the inputs of all, because ranks exit together
            member.close_input()
        for member in self._members:
            member.close()
        self._release()


def is_aborted(error: BenchError) -> bool:
    """True if OneFlow aborted a rank because it had lost another."""
    return isinstance(error, WorkerError) and any(place in error.log_tail for place in PEER_LOST)


def find_culprit(errors: Dict[int, BenchError]) -> int:
    """The rank that probably failed first, out of those whose errors were found together.

    A rank with an error message comes first, then a rank that died by itself. A rank that OneFlow
    aborted because it had lost another comes last.
    """

    def order(rank: int) -> int:
        error = errors[rank]
        if not isinstance(error, WorkerError) or error.returncode is None:
            return 0
        return 2 if is_aborted(error) else 1

    return min(sorted(errors), key=order)
