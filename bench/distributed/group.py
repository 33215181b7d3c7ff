"""A worker of several ranks, with the interface of one of a single process.

A request goes to all ranks, and their answers are merged into one, of the shape that a single
process gives. One rank that dies or fails ends the group at once, because OneFlow would leave the
others waiting for it forever. A rank that hangs ends the group at the timeout of the request.

A group is as slow as its slowest rank, because the others wait for it. The ranks use resources
together, so these are summed. The loss is that of the whole batch. Under DDP it is the mean of the
ranks' losses, which are means over equal shares. With global tensors each rank knows it already.
"""

from __future__ import annotations

import select
import time
from contextlib import suppress
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence

from ..errors import BenchError, InputError, WorkerError, WorkerTimeout
from ..training.identity import join_digests
from .placement import Placement

POLL_S = 0.5  # a machine that is lost ends no connection, so ranks are polled too
STACK_S = 0.3  # for ranks to write their stacks before they are ended
AGREE_S = 0.3  # for other ranks to fail too, of which one shows the cause
NOTICE_S = 15.0  # for Ray to notice the loss of a node, whose neighbours OneFlow aborts first
LAST_CALL = "end"  # a worker exits after its answer to this call
# where OneFlow aborts a rank whose neighbour is gone: in its connections, or in its heartbeat
PEER_LOST = ("io_event_poller.cpp", "ctrl_client.cpp")
ABORTED = 2

Answer = Dict[str, Any]
Wait = Callable[[Sequence[Any], float], Any]  # until a member can be polled, or for seconds
Rule = Callable[[List[Any]], Any]  # of the ranks' values of a field
CALLS = ["setup", "prepare", "compile", "train", "measure", "eval", "save", "probe", "end"]
OWN_LOSSES = "ddp"  # the strategy in which a rank knows only the loss of its own share
EQUAL = ("initial_digest", "teacher_digest", "first_step")  # of ranks that train one model
SUMMED_COUNTERS = (
    "minor_faults",
    "major_faults",
    "voluntary_switches",
    "involuntary_switches",
    "instructions",
)


class RankGroup:
    """Ranks that train together; `members` are in their order.

    A member has these of `RankProcess`: `send`, `poll`, `log_path`, `read_log_tail`, `write_stack`,
    `kill`, `close_input`, `close` and `title`; and what `wait` needs.
    """

    def __init__(
        self,
        name: str,
        members: Sequence[Any],
        merge: Callable[[str, Sequence[Answer]], Answer],
        release: Callable[[], None] = lambda: None,
        agree_s: float = AGREE_S,
        wait: Wait = lambda members, limit_s: select.select(members, [], [], limit_s),
    ) -> None:
        """`release` gives the port of rank 0 back.

        After the first failure others are waited for, and for up to `agree_s` where OneFlow aborted
        all that failed.
        """
        self.name, self._agree_s, self._wait = name, agree_s, wait
        self._members, self._merge, self._release = members, merge, release
        self._answers: List[Optional[Dict[str, Any]]] = []

    def ask(self, call: str, timeout_s: float, **arguments: Any) -> Dict[str, Any]:
        """Ask all ranks, as `WorkerProcess.ask`; an error names the rank and leaves no process."""
        self.send(call, **arguments)
        return self.receive(call, timeout_s)

    def send(self, call: str, **arguments: Any) -> None:
        """Send a request to every rank without waiting."""
        self._answers = [None] * len(self._members)
        for member in self._members:
            with suppress(WorkerError):  # `receive` finds the cause
                member.send(call, **arguments)

    def receive(self, call: str, timeout_s: float) -> Dict[str, Any]:
        """The merged answer to the last request.

        Raises InputError, WorkerError and WorkerTimeout as `WorkerProcess.ask`.
        """
        deadline = time.monotonic() + timeout_s
        while None in self._answers:
            left_s = deadline - time.monotonic()
            watched = [self._members[rank] for rank in self._list_watched(call)]
            self._wait(watched, max(0.0, min(left_s, POLL_S)))
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
        """Take the answers that have come; where a rank has failed, end the group and raise.

        The error is that of the rank that probably failed first.
        """
        errors: Dict[int, BenchError] = {}
        self._poll(call, errors)
        end = time.monotonic() + self._agree_s
        while errors and len(errors) < len(self._members) and time.monotonic() < end:
            time.sleep(AGREE_S)
            self._poll(call, errors)
            if min(map(order_failure, errors.values())) < ABORTED:
                break
        if not errors:
            return
        self.kill()
        rank = find_culprit(errors)
        error = errors[rank]
        everywhere = [str(other) for other in errors.values()] == [str(error)] * len(self._members)
        if isinstance(error, WorkerError) or everywhere:
            raise error
        raise InputError(f"{self._members[rank].title}: {error}") from None

    def _poll(self, call: str, errors: Dict[int, BenchError]) -> None:
        """Keep the answers of the ranks that have not failed, and add to `errors` who has."""
        for rank in self._list_watched(call):
            try:
                answer = None if rank in errors else self._members[rank].poll(call)
                self._answers[rank] = self._answers[rank] if answer is None else answer
            except BenchError as error:
                errors[rank] = error

    def _fail_late(self, call: str, timeout_s: float) -> NoReturn:
        late = [rank for rank, answer in enumerate(self._answers) if answer is None]
        first = self._members[late[0]]
        for rank in late:
            self._members[rank].write_stack()
        time.sleep(STACK_S)
        self.kill()
        ranks = f"rank{'' if len(late) == 1 else 's'} {', '.join(map(str, late))}"
        raise WorkerTimeout(
            f"{ranks} of the worker '{self.name}' gave no answer to the {call} turn within "
            f"{timeout_s:g} s, and all {len(self._members)} ranks were ended; one that hangs keeps "
            "the others waiting, so compare the Python stacks at the end of their logs, such as "
            f"{first.log_path}; give a longer --timeout if the turn needs it",
            first.read_log_tail(),
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


def order_failure(error: BenchError) -> int:
    """0 for an error message, 1 for a rank that died, ABORTED if OneFlow ended it for another."""
    if not isinstance(error, WorkerError) or error.returncode is None:
        return 0
    return ABORTED if any(place in error.log_tail for place in PEER_LOST) else 1


def find_culprit(errors: Dict[int, BenchError]) -> int:
    """The rank that probably failed first, out of those whose errors were found together."""
    return min(sorted(errors), key=lambda rank: order_failure(errors[rank]))


def _if_known(rule: Rule) -> Rule:
    """The rule; None where a rank could not read its value, or it is not finite."""
    return lambda values: None if None in values else rule(values)


_SUM = _if_known(sum)
_SLOWEST = ("import_s", "build_s", "compile_train_s", "compile_eval_s", "duration_s", "sync_s")
# the fields that are merged; the others, such as energy, are those of rank 0
_RULES: Dict[str, Rule] = {
    **dict.fromkeys((*_SLOWEST, "loader_step_time_s"), max),
    **dict.fromkeys((*SUMMED_COUNTERS, "cpu_s", "correct", "samples", "peak_rss_bytes"), _SUM),
    **dict.fromkeys(("labels_digest", "images_digest"), _if_known(join_digests)),
}


def merge_answers(
    call: str,
    answers: Sequence[Answer],
    strategy: Optional[str] = None,
    placements: Sequence[Placement] = (),
) -> Answer:
    """The answer of a group to `call`; `answers` and `placements` are ordered by rank.

    Raises WorkerError if the ranks contradict each other.
    """
    if call not in CALLS:
        raise WorkerError(f"the call {call} cannot be asked of a group of ranks")
    names = {*EQUAL, *answers[0]}
    values: Dict[str, List[Any]] = {k: [answer.get(k) for answer in answers] for k in names}
    for name in EQUAL:
        _check_equal(name, values[name])
    merged = {k: _RULES[k](values[k]) if k in _RULES else v for k, v in answers[0].items()}
    if call in ("prepare", "setup"):
        merged["rank_cores"] = [one.cores for one in placements]
    elif call in ("train", "measure"):
        merged["rank_durations_s"] = values["duration_s"]
    elif call == "eval":
        merged["loss"] = _mean(values["loss"], values["samples"])
    elif call == "end":
        merged["rank_peak_rss_bytes"] = values["peak_rss_bytes"]
    if call == "train" and strategy == OWN_LOSSES:
        merged["losses"] = [_mean(step, [1] * len(step)) for step in zip(*values["losses"])]
    used = [(one.host, core) for one in placements for core in one.cores]
    if "machine_busy_s" in merged and len(set(used)) == len(used):  # each read its own cores
        merged["machine_busy_s"] = _SUM(values["machine_busy_s"])
    return merged


def _check_equal(name: str, values: List[Any]) -> None:
    for rank, value in enumerate(values):
        if value != values[0]:
            raise WorkerError(
                f"rank {rank} begins with another {name} ({value}) than rank 0 ({values[0]}), so "
                "the ranks would not train one model; give them the same weights and seed"
            )


def _mean(values: Sequence[Any], weights: Sequence[int]) -> Optional[float]:
    """In float64; None if a rank's value is not finite."""
    if None in values:
        return None
    return float(sum(value * weight for value, weight in zip(values, weights)) / sum(weights))
