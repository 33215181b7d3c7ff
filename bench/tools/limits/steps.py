"""Starts the workers of OneFlow and PyTorch, and times their train steps in turns.

A worker of PyTorch that fails is a result, kept as a sentence in its cell; one of OneFlow ends the
command.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence

from ...config import Contender, Workload
from ...errors import InputError, WorkerError
from ...measure.order import (
    choose_speed_block_steps,
    choose_untimed_steps,
    choose_warmup_blocks,
    generate_orders,
)
from ...verdict.statistics import paired_log_ratio, summarize
from ...verdict.warmup import is_settled
from .document import StepRatio, StepTimes
from .torch_side import create_setup_request

ONEFLOW, TORCH = "oneflow", "torch"
_STEPS_PER_EPOCH = 1000  # the rate is constant; nothing depends on it
_MOST_WARMUP_ROUNDS = 3

Observer = Callable[[str, int, int], None]


class Participant:
    """One contender's process: what it is asked, and what became of it."""

    def __init__(self, name: str, library: str, mode: str, worker: Any, timeout_s: float) -> None:
        self.name, self.library, self.mode = name, library, mode
        self.environment: Dict[str, Any] = {}
        self.compile_s: Optional[float] = None
        self.error: Optional[str] = None
        self._worker, self._timeout_s = worker, timeout_s

    def ask(self, call: str, **arguments: Any) -> Dict[str, Any]:
        """The answer; an empty one where this participant is PyTorch's and fails or has failed."""
        if self.error is not None:
            return {}
        try:
            answer: Dict[str, Any] = self._worker.ask(call, self._timeout_s, **arguments)
        except (InputError, WorkerError) as error:
            if self.library != TORCH:
                raise
            self.error = str(error)
            return {}
        if "error" in answer:
            self.error = answer["error"]
            return {}
        return answer

    def prepare(self, workload: Workload, contender: Optional[Contender], start: Any) -> None:
        """Build; `start` is what `create_setup_request` gave, for PyTorch."""
        if contender is None:
            self.environment = self.ask("setup", **start)
            return
        answer = self.ask(
            "prepare",
            workload=workload.model_dump(),
            contender=contender.model_dump(),
            steps_per_epoch=_STEPS_PER_EPOCH,
            dataset=None,
        )
        self.environment = answer["environment"]

    def compile(self) -> None:
        if self.mode == "eager" and self.library == TORCH:
            return
        answer = self.ask("compile")
        self.compile_s = answer.get("compile_s", answer.get("compile_train_s"))

    def close(self) -> None:
        """End the process in good order."""
        self._worker.close()

    def abandon(self) -> None:
        """End the process at once, whatever it does; nothing where it is closed already."""
        self._worker.kill()
        self._worker.close()


class Fleet:
    """Starts participants for the OneFlow modes, and for PyTorch where there is an interpreter."""

    def __init__(
        self,
        workload: Workload,
        contenders: Sequence[Contender],
        launch: Callable[[Contender], Any],
        launch_torch: Optional[Callable[[str], Any]],
        timeout_s: float,
        observe: Observer,
    ) -> None:
        self.workload, self.contenders = workload, contenders
        self.observe = observe
        self._launch, self._launch_torch = launch, launch_torch
        self._timeout_s = timeout_s

    def start_oneflow(self, contender: Contender, role: str) -> Participant:
        """A process of OneFlow, built and not yet compiled."""
        self.observe(f"{role}: start {contender.name}", 0, 0)
        name = f"{role}-{contender.name}".replace(" ", "-")
        named = contender.model_copy(update={"name": name})
        participant = Participant(
            contender.name, ONEFLOW, contender.mode, self._launch(named), self._timeout_s
        )
        return _started(participant, self.workload, contender, None)

    def start_torch(self, mode: str, role: str, start: Dict[str, Any]) -> Participant:
        """A process of PyTorch, built and not yet compiled; `start` as `create_setup_request`'s."""
        assert self._launch_torch is not None
        name = f"torch {mode}"
        self.observe(f"{role}: start {name}", 0, 0)
        worker = self._launch_torch(f"{role} {name}")
        participant = Participant(name, TORCH, mode, worker, self._timeout_s)
        return _started(
            participant,
            self.workload,
            None,
            create_setup_request(self.workload, start, role == "witness"),
        )


def _started(
    participant: Participant, workload: Workload, contender: Optional[Contender], start: Any
) -> Participant:
    try:
        participant.prepare(workload, contender, start)
    except BaseException:
        participant.close()
        raise
    return participant


def time_steps(fleet: Fleet, start: Optional[Dict[str, Any]], blocks: int) -> List[StepTimes]:
    """Step times of `blocks` blocks of each participant, in randomised ABBA or BAAB turns.

    All are alive and one runs at a time. `start` has what PyTorch starts from, where it takes part.
    """
    participants: List[Participant] = []
    try:
        for contender in fleet.contenders:
            participants.append(fleet.start_oneflow(contender, "timing"))
        for mode in ("eager", "compiled") if start else ():
            participants.append(fleet.start_torch(mode, "timing", start or {}))
        settled_s = []
        for participant in participants:
            fleet.observe(f"compile and warm up {participant.name}", 0, 0)
            participant.compile()
            settled_s += _warm_up(participant)
        steps = choose_speed_block_steps(max(settled_s), 0.0, None)
        lead = choose_untimed_steps(max(settled_s))
        times = _take_turns(fleet, participants, blocks, steps, lead)
        for participant in participants:
            participant.ask("end")
        for participant in participants:  # all have begun to exit, side by side
            participant.close()
    finally:
        for participant in participants:
            participant.abandon()
    return [
        StepTimes(
            name=p.name,
            library=p.library,
            mode=p.mode,
            block_steps=steps,
            step_time_s=times[p.name] if p.error is None else [],
            compile_s=p.compile_s,
            environment=p.environment,
            error=p.error,
        )
        for p in participants
    ]


def _warm_up(participant: Participant) -> List[float]:
    """Run until the step time has settled; that time, or nothing for one that failed."""
    first = participant.ask("measure", steps=1, lead_steps=0)
    if not first:
        return []
    count, steps = choose_warmup_blocks(first["duration_s"])
    times = [first["duration_s"]]
    for _ in range(_MOST_WARMUP_ROUNDS):
        for _ in range(count):
            answer = participant.ask("measure", steps=steps, lead_steps=0)
            if not answer:
                return []
            times.append(answer["duration_s"] / steps)
        if is_settled(times):
            break
    return [summarize(times[-count:]).median]


def _take_turns(
    fleet: Fleet, participants: Sequence[Participant], blocks: int, steps: int, lead_steps: int
) -> Dict[str, List[float]]:
    by_name = {p.name: p for p in participants}
    times: Dict[str, List[float]] = {name: [] for name in by_name}
    orders = generate_orders(list(by_name), fleet.workload.seed)
    for number in range(blocks):
        fleet.observe("blocks of steps", number, blocks)
        for name in next(orders):
            answer = by_name[name].ask("measure", steps=steps, lead_steps=lead_steps)
            if answer:
                times[name].append(answer["duration_s"] / steps)
    return times


def compare_steps(steps: Sequence[StepTimes]) -> List[StepRatio]:
    """OneFlow's time over PyTorch's, and eager's over graph's; of what was timed to the end."""
    timed = [each for each in steps if each.step_time_s]
    return [
        StepRatio(
            baseline=left.name,
            contender=right.name,
            ratio=paired_log_ratio(left.step_time_s, right.step_time_s),
        )
        for number, left in enumerate(timed)
        for right in timed[number + 1 :]
        if left.library == ONEFLOW
    ]
