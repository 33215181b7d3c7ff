"""Processes of a wave of the speed phase: started side by side, asked one at a time, and ended."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Type

from ..record.events import Ended, Prepared, Role, SpeedEndEvent
from ..record.run import Document
from ..worker import messages
from ..worker.messages import NOTHING, Answer, Launcher, Request, Worker


class ProcessKey(NamedTuple):
    """A process of the phase."""

    role: Role
    contender: str  # whose program it runs
    replicate: int


class SpeedProcesses:
    """Those that are alive together. One at a time is asked, and only that one runs."""

    def __init__(self, document: Document, launch: Launcher, dataset: Optional[Path]) -> None:
        self._document, self._launch = document, launch
        self._dataset = None if dataset is None else str(dataset)
        self._contenders = {c.name: c for c in document.racing}
        self._source = random.Random(document.workload.seed)
        self._workers: Dict[ProcessKey, Worker] = {}
        self.wave = 0  # number of the one that is alive, or comes next

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def keys(self) -> List[ProcessKey]:
        return list(self._workers)

    def start(self, keys: Sequence[ProcessKey]) -> Dict[ProcessKey, Prepared]:
        """Start these in a random order; they import and build side by side. Their answers."""
        shuffled = list(keys)
        self._source.shuffle(shuffled)  # no role is always first to start and to compile
        for key in shuffled:
            contender = self._contenders[key.contender]
            name = f"speed-{key.role}-{key.contender}-{key.replicate + 1}"
            worker = self._launch(contender.model_copy(update={"name": name}))
            self._workers[key] = worker
            request = messages.create_prepare_request(
                self._document.workload, contender, self._document.steps_per_epoch, self._dataset
            )
            worker.send("prepare", **request.model_dump(mode="json"))
        timeout_s = self._document.measuring.timeout_s
        received = {key: self._workers[key].receive("prepare", timeout_s) for key in shuffled}
        return {key: Prepared.model_validate(answer) for key, answer in received.items()}

    def ask(
        self, key: ProcessKey, call: str, answer: Type[Answer], request: Request = NOTHING
    ) -> Answer:
        timeout_s = self._document.measuring.timeout_s
        return messages.ask(self._workers[key], call, timeout_s, answer, request)

    def measure(self, key: ProcessKey, steps: int, untimed_steps: int) -> Dict[str, Any]:
        """The fields of a `TimedBlock`, not checked yet: only this lies between two turns."""
        answer: Dict[str, Any] = self._workers[key].ask(
            "measure",
            self._document.measuring.timeout_s,
            steps=steps,
            untimed_steps=untimed_steps,
        )
        return answer

    def identify(self, key: ProcessKey) -> Dict[str, Any]:
        """The fields of an event that say which process it is of."""
        return {**key._asdict(), "wave": self.wave}

    def end(self) -> Iterator[SpeedEndEvent]:
        """End all in good order, one after the other; what each says of itself as it ends."""
        for key in self._workers:
            ended = self.ask(key, "end", Ended)
            yield SpeedEndEvent(
                **self.identify(key),
                peak_rss_bytes=ended.peak_rss_bytes,
                rank_peak_rss_bytes=ended.rank_peak_rss_bytes,
            )
        for worker in self._workers.values():  # all have begun to exit, side by side
            worker.close()
        self._workers = {}
        self.wave += 1

    def kill(self) -> None:
        """End all at once."""
        for worker in self._workers.values():
            worker.kill()
            worker.close()
        self._workers = {}
