"""A made-up machine for the search of runtime settings: no OneFlow, a scripted clock."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
from fakes import Clock, FakeSpeedWorker, ScriptedWorker
from safetensors.numpy import save_file

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.tools.tune.candidates import Setting, create_option, create_variable
from oneflow_bench.bench.tools.tune.run import Launchers, TuneRequest

STEP_TIME_S = 0.01
START_S = 0.5
STOCK_DIGEST = "stock"


class FakeTuningWorker(ScriptedWorker):
    """A process of a heat: its program is known by its variables and graph options."""

    def __init__(self, machine: Machine, contender: Contender) -> None:
        self._machine, self._contender = machine, contender
        marks = [*contender.env.items(), *contender.graph_options.items()]
        self._names = [f"{k}={str(v).lower() if v is True else v}" for k, v in marks]
        failing = [machine.fail_at[n] for n in self._names if n in machine.fail_at]
        super().__init__(
            contender.name, machine.clock, machine.log, failing[0] if failing else None
        )
        self._own = machine.locate(self._names)
        self._witness = None

    def send(self, call: str, **request: Any) -> None:
        self._log.append((self.name, call))
        self._witness = request.get("witness")
        self._machine.requests.append(request)

    def receive(self, call: str, timeout_s: float) -> Dict[str, Any]:
        self._clock.now += START_S
        if self._fail_at and self._fail_at[0] == call:
            raise self._fail_at[2]
        return {"environment": {"oneflow": "0.9.0"}}

    def _compile(self, request: Dict[str, Any]) -> Dict[str, Any]:
        effective = [n for n in self._names if n not in self._machine.same_operators]
        return {"compile_train_s": 0.1, "operators_digest": "operators" + " ".join(effective)}

    def _train(self, request: Dict[str, Any]) -> Dict[str, Any]:
        duration = request["steps"] * self._own
        self._clock.now += duration
        return {
            "duration_s": duration,
            "losses": [1.0 + self._error()] * request["steps"],
            "labels_digest": "labels",
            "images_digest": "images",
        }

    def _error(self) -> float:
        """Of what this process computes; a reference's is 0, stock's a little rounding."""
        if self._contender.dtype == "float64":
            return 0.0
        alone = sum(self._machine.errors.get(name, 0.0) for name in self._names)
        joint = self._machine.joint_errors.get(frozenset(self._names), 0.0)
        return alone + joint + (1e-7 if self._witness else 0.0)

    def _weights(self, request: Dict[str, Any]) -> Dict[str, Any]:
        error = self._error()
        is_stock = error == 0 and self._contender.dtype == "float32"
        digest = STOCK_DIGEST if is_stock else f"{error}{self._contender.dtype}"
        written = digest != request["expected"]
        if written:
            values = np.full(4, 1.0 + error, dtype=self._contender.dtype)
            save_file({"w": values}, request["path"])
        return {"digest": digest, "written": written, "peak_rss_bytes": 2**20}

    def _probe(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {"sync_s": 1e-4, "loader_step_time_s": 1e-3, "peak_rss_bytes": 2**20}

    def _measure(self, request: Dict[str, Any]) -> Dict[str, Any]:
        steps, noise = request["steps"], self._machine.source.gauss(0, self._machine.noise)
        duration = steps * self._own * (1 + noise)
        self._clock.now += duration
        return {"duration_s": duration, "cpu_s": duration}


class Machine:
    """`speedups` of settings by name; `errors` of what they compute; `fail_at` as ScriptedWorker's.

    `joint` gives the speedup of settings together, where it is not the product.
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
    ) -> None:
        self.clock, self.log, self.requests = Clock(), [], []
        self.speedups, self.errors = speedups or {}, errors or {}
        self.fail_at, self.same_operators = fail_at or {}, same_operators
        self.joint, self.noise, self.spread = joint or {}, noise, spread
        self.joint_errors: Dict[Any, float] = {}  # of settings together, besides their own
        self.source = random.Random(7)
        self.workers: List[Any] = []

    def locate(self, names: List[str]) -> float:
        """Step time of a new process, seconds."""
        product = math.prod(self.speedups.get(name, 1.0) for name in names)
        speedup = self.joint.get(frozenset(names), product)
        return STEP_TIME_S / speedup * (1 + self.source.gauss(0, self.spread))

    def launch(self, contender: Contender) -> FakeTuningWorker:
        self.workers.append(FakeTuningWorker(self, contender))
        return self.workers[-1]

    def launch_confirm(self, contender: Contender) -> FakeSpeedWorker:
        names = [f"{k}={v}" for k, v in contender.env.items()]
        names += [f"{k}={str(v).lower()}" for k, v in contender.graph_options.items()]
        own = self.locate(names)
        worker = FakeSpeedWorker(
            contender.name, self.clock, self.log,
            lambda: own * (1 + self.source.gauss(0, self.noise)), peak_rss_bytes=2**20,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def launchers(self) -> Launchers:
        return Launchers(self.launch, self.launch_confirm)


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
