"""A worker of several ranks, with the interface of one of a single process.

A request goes to all ranks, and their answers are merged into one. One rank that dies or fails
ends the group at once, because OneFlow would leave the others waiting for it forever. A rank that
hangs ends the group at the timeout of the request.
"""

from __future__ import annotations

import select
import time
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence

from ..errors import BenchError, InputError, WorkerError, WorkerTimeout

POLL_S = 0.5  # between two looks at ranks whose machine may be lost, which ends no connection
AGREE_S = 0.3  # for the others to refuse what one refused, or to be the cause of an abort
LAST_CALL = "end"  # a worker exits by itself when it has answered it
PEER_LOST = "io_event_poller.cpp"  # where OneFlow aborts a rank whose neighbour is gone

Merge = Callable[[str, Sequence[Dict[str, Any]]], Dict[str, Any]]


class RankGroup:
    """Ranks that train together; `members` are in their order.

    A member needs these of `rank_process.RankProcess`: `send`, `fileno`, `poll`, `log_path`,
    `read_log_tail`, `kill`, `close_input`, `close`, `pid` and `title`.
    """

    def __init__(
        self,
        name: str,
        members: Sequence[Any],
        merge: Merge,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        """`release` gives the port of rank 0 back."""
        self.name = name
        self._members, self._merge = list(members), merge
        self._release = release
        self._answers: List[Optional[Dict[str, Any]]] = []

    @property
    def pid(self) -> int:
        """Of rank 0."""
        return int(self._members[0].pid)

    def ask(self, call: str, timeout_s: float, **arguments: Any) -> Dict[str, Any]:
        """As `WorkerProcess.ask`: of all ranks; an error names the rank, and none is left."""
        self.send(call, **arguments)
        return self.receive(call, timeout_s)

    def send(self, call: str, **arguments: Any) -> None:
        """Send a request to every rank without waiting."""
        self._answers = [None] * len(self._members)
        for member in self._members:
            try:
                member.send(call, **arguments)
            except WorkerError:
                pass  # `receive` finds it ended, or finds out why it ended

    def receive(self, call: str, timeout_s: float) -> Dict[str, Any]:
        """The merged answer to the request that was sent last.

        Raises InputError, WorkerError and WorkerTimeout as `WorkerProcess.ask`.
        """
        deadline = time.monotonic() + timeout_s
        while None in self._answers:
            left_s = deadline - time.monotonic()
            select.select(self._list_awaited(call), [], [], max(0.0, min(left_s, POLL_S)))
            self._collect(call)
            if None in self._answers and left_s <= 0.0:
                self._fail_late(call, timeout_s)
        try:
            return self._merge(call, [answer for answer in self._answers if answer is not None])
        except WorkerError as error:
            self.kill()
            raise WorkerError(f"the worker '{self.name}': {error}", self.read_log_tail()) from None

    def _list_awaited(self, call: str) -> List[Any]:
        """Those that must still answer; but for the last call, the others must not end either."""
        if call != LAST_CALL:
            return self._members
        return [m for m, answer in zip(self._members, self._answers) if answer is None]

    def _collect(self, call: str) -> None:
        """Take the answers that are there."""
        errors = self._poll(call, range(len(self._members)))
        refused = any(isinstance(error, InputError) for error in errors.values())
        if refused or (errors and all(map(is_aborted, errors.values()))):
            time.sleep(AGREE_S)
            others = [rank for rank in range(len(self._members)) if rank not in errors]
            errors.update(self._poll(call, others))
        if errors:
            self._fail(errors)

    def _poll(self, call: str, ranks: Sequence[int]) -> Dict[int, BenchError]:
        """What went wrong with these ranks; answers are kept."""
        errors: Dict[int, BenchError] = {}
        for rank in ranks:
            if self._answers[rank] is not None and call == LAST_CALL:
                continue
            try:
                answer = self._members[rank].poll(call)
            except BenchError as error:
                errors[rank] = error
            else:
                self._answers[rank] = answer if answer is not None else self._answers[rank]
        return errors

    def _fail(self, errors: Dict[int, BenchError]) -> NoReturn:
        """End the group for the rank that failed first, as far as that can be told."""
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
        self.kill()
        late = [rank for rank, answer in enumerate(self._answers) if answer is None]
        ranks = f"rank{'' if len(late) == 1 else 's'} {', '.join(map(str, late))}"
        raise WorkerTimeout(
            f"{ranks} of the worker '{self.name}' gave no answer to the {call} turn within "
            f"{timeout_s:g} s, and all {len(self._members)} ranks were ended; one that hangs keeps "
            f"the others waiting, so compare their logs, beginning with "
            f"{self._members[late[0]].log_path}; give a longer --timeout if the turn needs it",
            self._members[late[0]].read_log_tail(),
        )

    def read_log_tail(self) -> str:
        """The last lines of rank 0, which writes what the user asked for."""
        return str(self._members[0].read_log_tail())

    def kill(self) -> None:
        """End all ranks and whatever they started, at once."""
        for member in self._members:
            member.kill()
        self._release()

    def close(self) -> None:
        """End all ranks in good order if they do so in time, else by force."""
        for member in self._members:  # all of them first: they exit together
            member.close_input()
        for member in self._members:
            member.close()
        self._release()


def is_aborted(error: BenchError) -> bool:
    """True where OneFlow ended a rank because it had lost another."""
    return isinstance(error, WorkerError) and PEER_LOST in error.log_tail


def find_culprit(errors: Dict[int, BenchError]) -> int:
    """The rank whose failure came before the others', out of those that were found together.

    One that says what is wrong comes first, then one that died by itself; a rank that OneFlow
    aborted because it had lost another is the last that is to blame.
    """

    def order(rank: int) -> int:
        error = errors[rank]
        if not isinstance(error, WorkerError) or error.returncode is None:
            return 0
        return 2 if is_aborted(error) else 1

    return min(sorted(errors), key=order)
