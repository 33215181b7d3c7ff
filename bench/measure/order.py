"""Turns: the workers that take them, their randomised ABBA / BAAB order, and how long they are."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Generic,
    Hashable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
)

from ..config import Contender
from ..plan.contenders import workload_of
from ..plan.modes import find_mode_of
from ..record.events import ROLES, Ended, Prepared, Role, SpeedEndEvent
from ..record.run import Document
from ..worker.messages import NOTHING, Answer, Launcher, PrepareRequest, Request, Worker, ask

Key = TypeVar("Key", bound=Hashable)
# (what is going on, what is done, all there is to do): steps, or seconds of the speed phase
Observer = Callable[[str, int, int], None]

WARMUP_STEPS = 4  # after the first step; the first steps of a process ran up to 1.6x slower
MIN_BLOCKS_PER_EPOCH = 6
SPEED_BLOCK_S = 0.05  # thousands of times the clock's resolution; a tenth of an ABBA pair's drift
SYNC_SHARE = 200  # a block is so many times longer than the synchronisation it ends with
UNTIMED_BELOW_S = 0.1
WARMUP_S = 0.24
MOST_WARMUP_BLOCKS, FEWEST_WARMUP_BLOCKS = 12, 4


def generate_orders(names: Sequence[str], seed: int) -> Iterator[List[str]]:
    """Endless orders of the contenders, one order a block.

    Orders come two by two: a random one, then its reverse, so that with two contenders every
    ABBA pair is ABBA or BAAB and a linear drift of the machine cancels out of it.
    """
    source = random.Random(seed)
    while True:
        order = list(names)
        source.shuffle(order)
        yield order
        yield order[::-1]


def choose_block_steps(
    step_time_s: float, block_target_s: float, steps_per_epoch: int, block_steps: Optional[int]
) -> int:
    """Steps in a steady block: as given, or so many that a block lasts about `block_target_s`.

    A chosen length leaves at least `MIN_BLOCKS_PER_EPOCH` blocks in an epoch that has the steps.
    """
    if block_steps is not None:
        return min(block_steps, steps_per_epoch)
    wanted = round(block_target_s / max(step_time_s, 1e-9))
    return max(1, min(wanted, steps_per_epoch // MIN_BLOCKS_PER_EPOCH))


def choose_speed_block_steps(step_time_s: float, sync_s: float, block_steps: Optional[int]) -> int:
    """Steps of a block of the speed phase: as given, or long against a synchronisation.

    Short otherwise: the machine drifts over seconds, and what is compared should lie together.
    """
    if block_steps is not None:
        return block_steps
    return max(1, math.ceil(max(SPEED_BLOCK_S, SYNC_SHARE * sync_s) / max(step_time_s, 1e-9)))


def choose_untimed_steps(step_time_s: float) -> int:
    """Steps run before a block's clock starts; none where a step is long against filling caches."""
    return 1 if step_time_s < UNTIMED_BELOW_S else 0


def choose_warmup_blocks(step_time_s: float) -> Tuple[int, int]:
    """(blocks, steps of each) that a fresh worker runs before its warm-up is judged again."""
    blocks = min(MOST_WARMUP_BLOCKS, max(FEWEST_WARMUP_BLOCKS, round(WARMUP_S / step_time_s)))
    return blocks, max(1, round(WARMUP_S / MOST_WARMUP_BLOCKS / step_time_s))


def split_steps(steps: int, block_steps: int) -> List[int]:
    """Lengths of the blocks that make up `steps`; they differ by one at most.

    Near-equal lengths instead of full blocks and a short last one: a short block is a noisy one.
    """
    if steps == 0:
        return []
    count = max(1, round(steps / block_steps))
    return [steps // count + (1 if index < steps % count else 0) for index in range(count)]


class Workers(Generic[Key]):
    """Workers that are alive together. One at a time is asked, and only that one runs."""

    def __init__(self, document: Document, launch: Launcher, dataset: Optional[Path]) -> None:
        self._document, self._launch = document, launch
        self._dataset = None if dataset is None else str(dataset)
        self._timeout_s = document.measuring.timeout_s
        self._alive: Dict[Key, Worker] = {}

    @property
    def keys(self) -> List[Key]:
        return list(self._alive)

    def launch(self, key: Key, contender: Contender) -> Worker:
        worker = self._alive[key] = self._launch(contender)
        return worker

    def describe(self, one: Contender, weights: Optional[str] = None) -> PrepareRequest:
        """The request to build, from the file `weights` if given. InputError: unknown mode."""
        return PrepareRequest(
            workload=workload_of(self._document.workload, one),
            contender=one,
            steps_per_epoch=self._document.steps_per_epoch,
            dataset=self._dataset,
            initial_weights=weights,
            implementation=find_mode_of(one).implementation,
        )

    def ask(self, key: Key, call: str, answer: Type[Answer], request: Request = NOTHING) -> Answer:
        """The answer to a request as the model that it must fit."""
        return ask(self._alive[key], call, self._timeout_s, answer, request)

    def close(self, gently: bool = False, keys: Optional[Sequence[Key]] = None) -> None:
        """End these, or all: at once, or in good order. They exit side by side."""
        for key in self.keys if keys is None else keys:
            worker = self._alive.pop(key)
            if not gently:
                worker.kill()
            worker.close()


class ProcessKey(NamedTuple):
    """A process of the speed phase."""

    role: Role
    contender: str  # whose program it runs
    replicate: int


def list_keys(baseline: str, racing: List[str], replicates: range) -> List[ProcessKey]:
    """The processes of these replicates, by role."""
    names = {"baseline": [baseline], "contender": racing, "control": [baseline]}
    return [ProcessKey(r, name, n) for n in replicates for r in ROLES for name in names[r]]


class SpeedWorkers(Workers[ProcessKey]):
    """The processes of a wave of the speed phase."""

    def __init__(self, document: Document, launch: Launcher, dataset: Optional[Path]) -> None:
        super().__init__(document, launch, dataset)
        self._source = random.Random(document.workload.seed)
        self.wave = 0  # number of the one that is alive, or comes next

    def start(self, keys: Sequence[ProcessKey]) -> Dict[ProcessKey, Prepared]:
        """Start these in a random order; they import and build side by side. Their answers."""
        contenders = {c.name: c for c in self._document.racing}
        shuffled = list(keys)
        self._source.shuffle(shuffled)  # no role is always first to start and to compile
        for key in shuffled:
            contender = contenders[key.contender]
            name = f"speed-{key.role}-{key.contender}-{key.replicate + 1}"
            worker = self.launch(key, contender.model_copy(update={"name": name}))
            worker.send("prepare", **self.describe(contender).model_dump(mode="json"))
        received = {key: self._alive[key].receive("prepare", self._timeout_s) for key in shuffled}
        return {key: Prepared.model_validate(answer) for key, answer in received.items()}

    def measure(self, key: ProcessKey, steps: int, untimed_steps: int) -> Dict[str, Any]:
        """The fields of a `TimedBlock`, not checked yet: only this lies between two turns."""
        answer: Dict[str, Any] = self._alive[key].ask(
            "measure", self._timeout_s, steps=steps, untimed_steps=untimed_steps
        )
        return answer

    def identify(self, key: ProcessKey) -> Dict[str, Any]:
        """The fields of an event that say which process it is of."""
        return {**key._asdict(), "wave": self.wave}

    def end(self) -> Iterator[SpeedEndEvent]:
        """End all in good order, one after the other; what each says of itself as it ends."""
        for key in self._alive:
            ended = self.ask(key, "end", Ended)
            yield SpeedEndEvent(
                **self.identify(key),
                peak_rss_bytes=ended.peak_rss_bytes,
                rank_peak_rss_bytes=ended.rank_peak_rss_bytes,
            )
        self.close(gently=True)  # all have begun to exit, side by side
        self.wave += 1
