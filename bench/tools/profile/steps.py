"""The processes of a profile, train steps timed in turns, and the losses of OneFlow and PyTorch.

A worker of PyTorch that fails is a result, kept as a sentence in its cell. One of OneFlow ends the
command.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ...config import Contender, Workload
from ...errors import InputError, WorkerError
from ...measure.order import (
    choose_speed_block_steps,
    choose_untimed_steps,
    choose_warmup_blocks,
    generate_orders,
)
from ...plan.lr_schedule import base_learning_rate
from ...verdict.statistics import paired_log_ratio, summarize
from ...verdict.stopping import is_settled
from ...worker.messages import Launcher, PrepareRequest, Worker
from .document import LossRun, StepRatio, StepTimes, relative_differences

ONEFLOW, TORCH = "oneflow", "torch"
TORCH_MODES = ("eager", "compiled")
LOSS_BATCHES = 8  # the synthetic feed's whole cycle
MODELS_FOLDER = Path(__file__).resolve().parents[3] / "models"
_STEPS_PER_EPOCH = 1000  # the rate is constant; nothing depends on it
_MOST_WARMUP_ROUNDS = 3


class TorchStart(NamedTuple):
    """The files of OneFlow's eager process from which PyTorch starts."""

    weights: str
    inputs: str
    aux_weights: List[float]  # of the losses of auxiliary heads


@dataclass
class Participant:
    """One contender's process, and its times so far."""

    step: StepTimes
    worker: Worker
    timeout_s: float  # of an answer

    def ask(self, call: str, **arguments: Any) -> Dict[str, Any]:
        """The answer; an empty one if this participant is PyTorch's and fails or has failed."""
        if self.step.error is not None:
            return {}
        try:
            answer: Dict[str, Any] = self.worker.ask(call, self.timeout_s, **arguments)
        except (InputError, WorkerError) as error:
            if self.step.library != TORCH:
                raise
            answer = {"error": str(error)}
        self.step.error = answer.get("error")
        return {} if self.step.error is not None else answer

    def compile(self) -> None:
        if self.step.library == ONEFLOW or self.step.mode == "compiled":
            answer = self.ask("compile")
            self.step.compile_s = answer.get("compile_s", answer.get("compile_train_s"))

    def measure(self, steps: int, untimed_steps: int = 0) -> List[float]:
        """Seconds of a step, from one block; empty for a participant that failed."""
        answer = self.ask("measure", steps=steps, untimed_steps=untimed_steps)
        return [answer["duration_s"] / steps] if answer else []

    def warm_up(self) -> List[float]:
        """Run until the step time has settled; that time, or nothing for one that failed."""
        times = self.measure(1)
        if not times:
            return []
        count, steps = choose_warmup_blocks(times[0])
        for _ in range(_MOST_WARMUP_ROUNDS):
            for _ in range(count):
                times += self.measure(steps)
            if self.step.error is not None:
                return []
            if is_settled(times):
                break
        return [summarize(times[-count:]).median]

    def close(self) -> None:
        self.ask("end")
        self.worker.close()


@dataclass
class Fleet:
    """Starts the processes of OneFlow, and of PyTorch if there is an interpreter for it."""

    workload: Workload
    contenders: Sequence[Contender]
    launch: Launcher
    launch_torch: Optional[Callable[[str], Worker]]
    timeout_s: float
    observe: Callable[[str, int, int], None]
    dataset: Optional[Path] = None
    _started: List[Worker] = field(default_factory=list)

    def close(self) -> None:
        for worker in self._started:
            worker.kill()
            worker.close()

    def start(self, contender: Contender, role: str) -> Participant:
        """A process of OneFlow that has built nothing."""
        name = f"{role}-{contender.name}".replace(" ", "-")
        worker = self.launch(contender.model_copy(update={"name": name}))
        return self._add(
            StepTimes(name=contender.name, library=ONEFLOW, mode=contender.mode), worker
        )

    def start_oneflow(
        self, contender: Contender, role: str, mode: Optional[str] = None
    ) -> Participant:
        """A process of OneFlow in `mode`, the contender's own by default; built, not compiled."""
        self.observe(f"{role}: start {contender.name}", 0, 0)
        participant = self.start(contender, role)
        if mode not in (None, contender.mode):
            contender = contender.model_copy(update={"mode": mode, "graph_options": {}})
        dataset = None if self.dataset is None else str(self.dataset)
        request = PrepareRequest(
            workload=self.workload,
            contender=contender,
            steps_per_epoch=_STEPS_PER_EPOCH,
            dataset=dataset,
        )
        answer = participant.ask("prepare", **request.model_dump(mode="json"))
        participant.step.environment = answer["environment"]
        return participant

    def start_torch(self, mode: str, role: str, start: TorchStart, dropout: bool) -> Participant:
        """A process of PyTorch, built and not yet compiled."""
        assert self.launch_torch is not None
        step = StepTimes(name=f"torch {mode}", library=TORCH, mode=mode)
        self.observe(f"{role}: start {step.name}", 0, 0)
        participant = self._add(step, self.launch_torch(f"{role} {step.name}"))
        step.environment = participant.ask(
            "setup",
            **start._asdict(),
            workload=self.workload.model_dump(mode="json"),
            lr=base_learning_rate(self.workload),
            models_folder=str(MODELS_FOLDER),
            disable_dropout=not dropout,
        )
        return participant

    def _add(self, step: StepTimes, worker: Worker) -> Participant:
        self._started.append(worker)
        return Participant(step, worker, self.timeout_s)


def time_steps(fleet: Fleet, start: Optional[TorchStart], blocks: int) -> List[StepTimes]:
    """Step times of `blocks` blocks of each participant, in randomised ABBA or BAAB turns.

    All are alive and one runs at a time. PyTorch takes part if it has a `start`.
    """
    participants = [fleet.start_oneflow(each, "timing") for each in fleet.contenders]
    if start is not None:
        participants += [fleet.start_torch(mode, "timing", start, True) for mode in TORCH_MODES]
    settled_s: List[float] = []
    for participant in participants:
        fleet.observe(f"compile and warm up {participant.step.name}", 0, 0)
        participant.compile()
        settled_s += participant.warm_up()
    steps = choose_speed_block_steps(max(settled_s), 0.0, None)
    untimed_steps = choose_untimed_steps(max(settled_s))
    by_name = {participant.step.name: participant for participant in participants}
    orders = generate_orders(list(by_name), fleet.workload.seed)
    for number in range(blocks):
        fleet.observe("blocks of steps", number, blocks)
        for name in next(orders):
            by_name[name].step.step_time_s += by_name[name].measure(steps, untimed_steps)
    for participant in participants:
        participant.close()
        participant.step.block_steps = steps
        if participant.step.error is not None:
            participant.step.step_time_s = []
    return [participant.step for participant in participants]


def compare_steps(steps: Sequence[StepTimes]) -> List[StepRatio]:
    """OneFlow's time over PyTorch's, and eager's over graph's, of the steps that were timed."""
    pairs = combinations([each for each in steps if each.step_time_s], 2)
    return [
        StepRatio(
            baseline=left.name,
            contender=right.name,
            ratio=paired_log_ratio(left.step_time_s, right.step_time_s),
        )
        for left, right in pairs
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
    dropout_layers = reference.ask("disable_dropout")["layers"]
    exported = reference.ask("export", weights=weights, inputs=inputs, batches=LOSS_BATCHES)
    runs = [_train(reference, steps, None)]
    wide = first.model_copy(update={"name": "eager float64", "dtype": "float64"})
    for contender in [wide, *(c for c in fleet.contenders if c.mode != "eager")]:
        participant = fleet.start_oneflow(contender, "losses")
        participant.ask("disable_dropout")
        runs.append(_train(participant, steps, runs[0]))
    start = TorchStart(weights, inputs, exported["aux_weights"])
    for mode in TORCH_MODES:
        runs.append(_train(fleet.start_torch(mode, "losses", start, False), steps, runs[0]))
    return start, runs, dropout_layers


def _train(participant: Participant, steps: int, reference: Optional[LossRun]) -> LossRun:
    participant.compile()
    losses = participant.ask("train", steps=steps).get("losses", [])
    participant.close()
    found = [] if reference is None else relative_differences(reference.losses, losses)
    known = [each for each in found if each is not None]
    return LossRun(
        name=participant.step.name,
        losses=losses,
        max_relative_difference=max(known) if known and len(known) == len(found) else None,
        error=participant.step.error,
    )
