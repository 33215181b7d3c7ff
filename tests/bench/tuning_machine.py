"""A made-up machine for the search of runtime settings: no OneFlow, a scripted clock."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
from fakes import Clock, FakeSpeedWorker
from safetensors.numpy import save_file

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.tools.tune.candidates import Setting, create_option, create_variable
from oneflow_bench.bench.tools.tune.run import Launchers
from oneflow_bench.bench.tools.tune.search import TuneRequest

STEP_TIME_S = 0.01
STOCK_DIGEST = "stock"


class FakeTuningWorker(FakeSpeedWorker):
    """A process of a parity check or a speed phase, known by its variables and graph options."""

    def __init__(self, machine: Machine, contender: Contender) -> None:
        self.machine, self.contender = machine, contender
        marks = [*contender.env.items(), *contender.graph_options.items()]
        self.names = [f"{k}={str(v).lower() if v is True else v}" for k, v in marks]
        failing = [machine.fail_at[n] for n in self.names if n in machine.fail_at]
        own = machine.draw_step_time(self.names)
        super().__init__(
            contender.name, machine.clock, machine.log,
            lambda: own * (1 + machine.source.gauss(0, machine.noise)), peak_rss_bytes=2**20,
            fail_at=failing[0] if failing else None,
        )  # fmt: skip
        self._own, self._seed = own, None

    def send(self, call: str, **request: Any) -> None:
        super().send(call, **request)
        self._seed = request.get("perturbed_seed")
        self.machine.requests.append(request)

    def receive(self, call: str, timeout_s: float) -> Dict[str, Any]:
        answer = super().receive(call, timeout_s)
        if self._fail_at and self._fail_at[0] == call:
            raise self._fail_at[2]
        return {**answer, "environment": {"oneflow": "0.9.0"}}

    def _compile(self, request: Dict[str, Any]) -> Dict[str, Any]:
        effective = [n for n in self.names if n not in self.machine.same_operators]
        digest = "operators" + " ".join(effective)
        return {**super()._compile(request), "operators_digest": digest}

    def _train(self, request: Dict[str, Any]) -> Dict[str, Any]:
        duration = request["steps"] * self._own
        self._clock.now += duration
        return {
            "duration_s": duration,
            "losses": [1.0 + self._find_error()] * request["steps"],
            "labels_digest": "labels",
            "images_digest": "images",
        }

    def _find_error(self) -> float:
        """Of the result: 0 for a reference, a rounding for a perturbed run."""
        if self.contender.dtype == "float64":
            return 0.0
        alone = sum(self.machine.errors.get(name, 0.0) for name in self.names)
        joint = self.machine.joint_errors.get(frozenset(self.names), 0.0)
        return alone + joint + (1e-7 if self._seed else 0.0)

    def _weights(self, request: Dict[str, Any]) -> Dict[str, Any]:
        error = self._find_error()
        is_stock = error == 0 and self.contender.dtype == "float32"
        digest = STOCK_DIGEST if is_stock else f"{error}{self.contender.dtype}"
        written = digest != request["expected"]
        if written:
            values = np.full(4, 1.0 + error, dtype=self.contender.dtype)
            save_file({"w": values}, request["path"])
        return {"digest": digest, "written": written, "peak_rss_bytes": 2**20}


class Machine:
    """`speedups` of settings by name; `errors` of their results; `fail_at` as ScriptedWorker's.

    `joint` gives the speedup of settings together, if it is not the product.
    """

    def __init__(
        self,
        speedups: Optional[Dict[str, float]] = None,
        errors: Optional[Dict[str, float]] = None,
        fail_at: Optional[Dict[str, Any]] = None,
        same_operators: Any = (),
        joint: Optional[Dict[Any, float]] = None,
        noise: float = 0.01,
        spread: float = 0.003,
        seed: int = 7,
    ) -> None:
        self.clock, self.log, self.requests = Clock(), [], []
        self.speedups, self.errors = speedups or {}, errors or {}
        self.fail_at, self.same_operators = fail_at or {}, same_operators
        self.joint, self.noise, self.spread = joint or {}, noise, spread
        self.joint_errors: Dict[Any, float] = {}  # of settings together, besides their own
        self.source = random.Random(seed)
        self.workers: List[Any] = []

    def draw_step_time(self, names: List[str]) -> float:
        """Of a new process, seconds."""
        product = math.prod(self.speedups.get(name, 1.0) for name in names)
        speedup = self.joint.get(frozenset(names), product)
        return STEP_TIME_S / speedup * (1 + self.source.gauss(0, self.spread))

    def launch(self, contender: Contender) -> FakeTuningWorker:
        self.workers.append(FakeTuningWorker(self, contender))
        return self.workers[-1]

    def launch_speed(self, contender: Contender) -> FakeTuningWorker:
        return self.launch(contender)

    def launchers(self) -> Launchers:
        return Launchers(self.launch, self.launch_speed)


def variable(text: str) -> Setting:
    name, _, value = text.partition("=")
    return create_variable(name, value, "to try")


def option(name: str, compiles: bool = True) -> Setting:
    return create_option(name, True, "to try", compiles)


def create_request(
    settings: Dict[str, List[Setting]], budget_s: float = 300.0, **flags: Any
) -> TuneRequest:
    plan = create_plan({"model": "lenet", "data": "synthetic", "steps_per_epoch": 4, **flags})
    return TuneRequest(plan, settings, budget_s, 600.0)


def list_files(folder: Path) -> List[str]:
    return sorted(path.name for path in folder.iterdir())
