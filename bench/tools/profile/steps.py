"""Train steps of OneFlow and of PyTorch: timed in turns, and their losses compared.

A worker of PyTorch that fails is a result, kept as a sentence in its cell. One of OneFlow ends the
command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ...config import Contender, Workload, base_learning_rate
from ...errors import InputError, WorkerError
from ...measure.order import (
    choose_speed_block_steps,
    choose_untimed_steps,
    choose_warmup_blocks,
    generate_orders,
)
from ...verdict.statistics import paired_log_ratio, summarize
from ...verdict.stopping import is_settled
from .document import LossRun, StepRatio, StepTimes

ONEFLOW, TORCH = "oneflow", "torch"
TORCH_MODES = ("eager", "compiled")
LOSS_BATCHES = 8  # the synthetic feed's whole cycle
MODELS_FOLDER = Path(__file__).resolve().parents[3] / "models"
_STEPS_PER_EPOCH = 1000  # the rate is constant; nothing depends on it
_MOST_WARMUP_ROUNDS = 3

Observer = Callable[[str, int, int], None]


class TorchStart(NamedTuple):
    """The files of OneFlow's eager process from which PyTorch starts."""

    weights: str
    inputs: str
    aux_weights: List[float]  # of the losses of auxiliary heads


class Participant:
    """One contender's process."""

    def __init__(self, name: str, library: str, mode: str, worker: Any, timeout_s: float) -> None:
        self.name, self.library, self.mode = name, library, mode
        self.environment: Dict[str, Any] = {}
        self.compile_s: Optional[float] = None
        self.error: Optional[str] = None
        self._worker, self._timeout_s = worker, timeout_s

    def ask(self, call: str, **arguments: Any) -> Dict[str, Any]:
        """The answer; an empty one if this participant is PyTorch's and fails or has failed."""
        if self.error is not None:
            return {}
        try:
            answer: Dict[str, Any] = self._worker.ask(call, self._timeout_s, **arguments)
        except (InputError, WorkerError) as error:
            if self.library != TORCH:
                raise
            answer = {"error": str(error)}
        self.error = answer.get("error")
        return {} if self.error is not None else answer

    def compile(self) -> None:
        if (self.library, self.mode) != (TORCH, "eager"):
            answer = self.ask("compile")
            self.compile_s = answer.get("compile_s", answer.get("compile_train_s"))

    def close(self) -> None:
        """End the process in good order."""
        self._worker.close()

    def abandon(self) -> None:
        """End the process at once, whatever it does; nothing if it is closed already."""
        self._worker.kill()
        self._worker.close()


class Fleet:
    """Starts participants for the OneFlow modes, and for PyTorch if there is an interpreter."""

    def __init__(
        self,
        workload: Workload,
        contenders: Sequence[Contender],
        launch: Callable[[Contender], Any],
        launch_torch: Optional[Callable[[str], Any]],
        timeout_s: float,
        observe: Observer,
        dataset: Optional[Path] = None,
    ) -> None:
        self.workload, self.contenders = workload, contenders
        self.observe, self.has_torch = observe, launch_torch is not None
        self.launch, self._launch_torch = launch, launch_torch
        self.timeout_s, self._dataset = timeout_s, dataset

    def start_oneflow(
        self, contender: Contender, role: str, mode: Optional[str] = None
    ) -> Participant:
        """A process of OneFlow in `mode`, the contender's own by default; built, not compiled."""
        name = f"{role}-{contender.name}".replace(" ", "-")
        worker = self.launch(contender.model_copy(update={"name": name}))
        if mode not in (None, contender.mode):
            contender = contender.model_copy(update={"mode": mode, "graph_options": {}})
        participant = self._start(
            Participant(contender.name, ONEFLOW, contender.mode, worker, self.timeout_s),
            role,
            "prepare",
            workload=self.workload.model_dump(),
            contender=contender.model_dump(),
            steps_per_epoch=_STEPS_PER_EPOCH,
            dataset=None if self._dataset is None else str(self._dataset),
        )
        participant.environment = participant.environment.get("environment", {})
        return participant

    def start_torch(self, mode: str, role: str, start: TorchStart, dropout: bool) -> Participant:
        """A process of PyTorch, built and not yet compiled."""
        assert self._launch_torch is not None
        name, work = f"torch {mode}", self.workload
        worker = self._launch_torch(f"{role} {name}")
        return self._start(
            Participant(name, TORCH, mode, worker, self.timeout_s),
            role,
            "setup",
            **start._asdict(),
            models_folder=str(MODELS_FOLDER),
            model=work.model,
            model_args=work.model_args,
            num_classes=work.num_classes,
            lr=base_learning_rate(work),
            momentum=work.momentum,
            weight_decay=work.weight_decay,
            nesterov=work.nesterov,
            disable_dropout=not dropout,
        )

    def _start(self, participant: Participant, role: str, call: str, **request: Any) -> Participant:
        self.observe(f"{role}: start {participant.name}", 0, 0)
        try:
            participant.environment = participant.ask(call, **request)
        except BaseException:
            participant.close()
            raise
        return participant


def time_steps(fleet: Fleet, start: Optional[TorchStart], blocks: int) -> List[StepTimes]:
    """Step times of `blocks` blocks of each participant, in randomised ABBA or BAAB turns.

    All are alive and one runs at a time. PyTorch takes part if it has a `start`.
    """
    participants: List[Participant] = []
    try:
        for contender in fleet.contenders:
            participants.append(fleet.start_oneflow(contender, "timing"))
        if start is not None:
            for mode in TORCH_MODES:
                participants.append(fleet.start_torch(mode, "timing", start, dropout=True))
        settled_s: List[float] = []
        for participant in participants:
            fleet.observe(f"compile and warm up {participant.name}", 0, 0)
            participant.compile()
            settled_s += _warm_up(participant)
        steps = choose_speed_block_steps(max(settled_s), 0.0, None)
        by_name = {participant.name: participant for participant in participants}
        times: Dict[str, List[float]] = {name: [] for name in by_name}
        orders = generate_orders(list(by_name), fleet.workload.seed)
        for number in range(blocks):
            fleet.observe("blocks of steps", number, blocks)
            for name in next(orders):
                times[name] += _measure(by_name[name], steps, choose_untimed_steps(max(settled_s)))
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


def _measure(participant: Participant, steps: int, lead_steps: int = 0) -> List[float]:
    """Seconds of a step, from one block; empty for a participant that failed."""
    answer = participant.ask("measure", steps=steps, lead_steps=lead_steps)
    return [answer["duration_s"] / steps] if answer else []


def _warm_up(participant: Participant) -> List[float]:
    """Run until the step time has settled; that time, or nothing for one that failed."""
    times = _measure(participant, 1)
    if not times:
        return []
    count, steps = choose_warmup_blocks(times[0])
    for _ in range(_MOST_WARMUP_ROUNDS):
        for _ in range(count):
            times += _measure(participant, steps)
        if participant.error is not None:
            return []
        if is_settled(times):
            break
    return [summarize(times[-count:]).median]


def compare_steps(steps: Sequence[StepTimes]) -> List[StepRatio]:
    """OneFlow's time over PyTorch's, and eager's over graph's, of the steps that were timed."""
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


def compare_losses(
    fleet: Fleet, steps: int, weights: str, inputs: str
) -> Tuple[TorchStart, List[LossRun], int]:
    """Losses of the same steps from the same weights by OneFlow eager, its other mode, and PyTorch.

    OneFlow's eager process writes its weights and batches to the two files. All train without
    dropout in float32. OneFlow's eager mode in float64 comes too, to show the effect of rounding
    alone. Returns the start of PyTorch, the losses, and the number of dropout layers.
    """
    eager = next((c for c in fleet.contenders if c.mode == "eager"), None)
    first = eager or fleet.contenders[0].model_copy(update={"name": "eager", "mode": "eager"})
    reference = fleet.start_oneflow(first, "losses")
    try:
        dropout_layers = reference.ask("disable_dropout")["layers"]
        exported = reference.ask("export", weights=weights, inputs=inputs, batches=LOSS_BATCHES)
        runs = [_train(reference, steps, None)]
    finally:
        reference.close()
    start = TorchStart(weights, inputs, exported["aux_weights"])
    wide = first.model_copy(update={"name": "eager float64", "dtype": "float64"})
    for contender in [wide, *(c for c in fleet.contenders if c.mode != "eager")]:
        runs.append(_follow(fleet.start_oneflow(contender, "losses"), steps, runs[0]))
    for mode in TORCH_MODES:
        runs.append(_follow(fleet.start_torch(mode, "losses", start, False), steps, runs[0]))
    return start, runs, dropout_layers


def _follow(participant: Participant, steps: int, reference: LossRun) -> LossRun:
    try:
        if participant.library == ONEFLOW:
            participant.ask("disable_dropout")
        return _train(participant, steps, reference)
    finally:
        participant.close()


def _train(participant: Participant, steps: int, reference: Optional[LossRun]) -> LossRun:
    participant.compile()
    losses = participant.ask("train", steps=steps).get("losses", [])
    participant.ask("end")
    found = [] if reference is None else relative_differences(reference.losses, losses)
    known = [each for each in found if each is not None]
    return LossRun(
        name=participant.name,
        losses=losses,
        max_relative_difference=max(known) if known and len(known) == len(found) else None,
        error=participant.error,
    )


def relative_differences(
    reference: Sequence[Optional[float]], losses: Sequence[Optional[float]]
) -> List[Optional[float]]:
    """|loss - reference| / |reference| step by step; None if one is not finite.

    None too if a reference of 0 is missed. Empty for unequal numbers of steps.
    """
    if len(losses) != len(reference):
        return []
    return [
        None
        if expected is None or loss is None or (expected == 0 and loss != 0)
        else abs(loss - expected) / (abs(expected) or 1.0)
        for expected, loss in zip(reference, losses)
    ]
