"""A worker without OneFlow and a clock that moves when told, for testing the runner."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
from safetensors.numpy import save_file

from oneflow_bench.bench.config import Contender, Measuring, Workload
from oneflow_bench.bench.plan.contenders import parse_contenders
from oneflow_bench.bench.record.checkpoint import training_path
from oneflow_bench.bench.record.run import Document, RecordWriter

STEPS_PER_EPOCH = 20


def parse_contender(text: str, defaults: Optional[Dict[str, Any]] = None) -> Contender:
    return parse_contenders([text], defaults)[0]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class ScriptedWorker:
    """Answers a call by its method `_call`, writes it to a log, and fails where it is told to.

    `fail_at` = (call, how many times it works first, error).
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        log: List[Tuple[str, str]],
        fail_at: Optional[Tuple[str, int, BaseException]],
    ) -> None:
        self.name = name
        self.killed = self.closed = False
        self._clock, self._log, self._fail_at = clock, log, fail_at
        self._calls: Dict[str, int] = {}

    def ask(self, call: str, timeout_s: float, **request: Any) -> Dict[str, Any]:
        self._log.append((self.name, call))
        done = self._calls.get(call, 0)
        self._calls[call] = done + 1
        if self._fail_at and self._fail_at[0] == call and self._fail_at[1] == done:
            raise self._fail_at[2]
        answer: Dict[str, Any] = getattr(self, "_" + call)(request)
        return answer

    def kill(self) -> None:
        self.killed = True

    def close(self) -> None:
        self.closed = True


class FakeWorker(ScriptedWorker):
    """Answers like a worker of a training run."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        log: List[Tuple[str, str]],
        step_time_s: float = 0.1,
        weight: float = 1.0,
        momentum: float = 0.0,
        parts_at: int = 10**6,
        correct: Sequence[Optional[int]] = (9, 9),
        fail_at: Optional[Tuple[str, int, BaseException]] = None,
    ) -> None:
        super().__init__(name, clock, log, fail_at)
        self._step_time_s, self._weight, self._momentum = step_time_s, weight, momentum
        self._step, self._parts_at = 0, parts_at  # the first step whose loss is another
        self._correct = list(correct)  # of 10 in each validation pass

    def _setup(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {
            "import_s": 1.0,
            "build_s": 0.5,
            "compile_train_s": 0.2,
            "compile_eval_s": 0.1,
            "initial_digest": "d" * 64,
            "num_params": 10,
        }

    def _train(self, request: Dict[str, Any]) -> Dict[str, Any]:
        steps = request["steps"]
        first, self._step = self._step, self._step + steps
        self._clock.now += steps * self._step_time_s
        return {
            "duration_s": steps * self._step_time_s,
            "cpu_s": steps * self._step_time_s,
            "first_step": first,
            "losses": [
                1.0 / (1 + step) + (step >= self._parts_at) for step in range(first, self._step)
            ],
            "lr": [0.1] * steps,
            "labels_digest": f"{first}-{steps}",
            "images_digest": f"{first}-{steps}",
        }

    def _eval(self, request: Dict[str, Any]) -> Dict[str, Any]:
        correct = self._correct.pop(0) if request["subject"] == "validation" else 8
        loss = None if correct is None else 0.5  # as a step that evaluates other numbers
        return {"duration_s": 0.3, "steps": 2, "samples": 10, "correct": correct, "loss": loss}

    def _save(self, request: Dict[str, Any]) -> Dict[str, Any]:
        path = Path(request["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"w": np.full(4, self._weight, dtype=np.float32)}, str(path))
        if request["training"]:
            save_file(
                {"w/momentum": np.full(4, self._momentum, np.float32)}, str(training_path(path))
            )
        return {"digest": str(self._weight)}

    def _end(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {"peak_rss_bytes": 1000}


def create_document(
    names: Tuple[str, ...] = ("eager", "graph"), epochs: int = 2, **measuring: Any
) -> Document:
    return Document(
        run_id="test",
        command="compare",
        created="2026-01-01T00:00:00+00:00",
        workload=Workload(epochs=epochs),
        measuring=Measuring(**measuring),
        contenders=[Contender(name=name, mode="eager") for name in names],
        train_samples=STEPS_PER_EPOCH * 32,
        val_samples=10,
        steps_per_epoch=STEPS_PER_EPOCH,
    )


def create_writer(folder: Path, **options: Any) -> RecordWriter:
    return RecordWriter(folder, create_document(**options))


class FakeSpeedWorker(ScriptedWorker):
    """A process of the speed phase on the scripted clock.

    `step_time_s` is called for each step, so that it may depend on the clock.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        log: List[Tuple[str, str]],
        step_time_s: Callable[[], float],
        compile_s: float = 0.2,
        peak_rss_bytes: int = 100 * 2**20,
        fail_at: Optional[Tuple[str, int, BaseException]] = None,
    ) -> None:
        super().__init__(name, clock, log, fail_at)
        self._step_time_s, self._compile_s, self._peak = step_time_s, compile_s, peak_rss_bytes

    def send(self, call: str, **request: Any) -> None:
        self._log.append((self.name, call))

    def receive(self, call: str, timeout_s: float) -> Dict[str, Any]:
        self._clock.now += 0.5
        return {"import_s": 1.0, "build_s": 0.3, "initial_digest": "d" * 64, "num_params": 10}

    def _compile(self, request: Dict[str, Any]) -> Dict[str, Any]:
        self._clock.now += self._compile_s
        return {"compile_train_s": self._compile_s, "compile_eval_s": 0.0, "graph_ops": None}

    def _measure(self, request: Dict[str, Any]) -> Dict[str, Any]:
        self._clock.now += sum(self._step_time_s() for _ in range(request["untimed_steps"]))
        duration = sum(self._step_time_s() for _ in range(request["steps"]))
        self._clock.now += duration
        return {"duration_s": duration, "cpu_s": duration, "major_faults": 0}

    def _probe(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {
            "sync_s": 1e-4,
            "loader_step_time_s": 1e-3,
            "peak_rss_bytes": self._peak,
            "unreadable": {"energy_j": "not here"},
        }

    def _end(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {"peak_rss_bytes": self._peak}
