"""A made-up machine for the search of runtime settings: no OneFlow, a scripted clock."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
from fakes import Clock, FakeSpeedWorker
from made_checks import create_check
from safetensors.numpy import load_file, save_file

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.parity.result import ModelCheck
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.tools.tune.candidates import (
    Program,
    Setting,
    create_option,
    create_variable,
)
from oneflow_bench.bench.tools.tune.phase import TuneRequest

STEP_TIME_S = 0.01
STOCK_DIGEST = "stock"


class FakeTuningWorker(FakeSpeedWorker):
    """A process of a parity check or a speed phase, known by its variables and graph options."""

    def __init__(self, machine: Machine, contender: Contender) -> None:
        self.machine, self.contender = machine, contender
        marks = [*contender.env.items(), *contender.graph_options.items()]
        self.names = [f"{k}={str(v).lower() if v is True else v}" for k, v in marks]
        self.names += [f"--blas {contender.blas}"] if contender.blas else []
        failing = [machine.fail_at[n] for n in self.names if n in machine.fail_at]
        own = machine.draw_step_time(self.names)
        super().__init__(
            contender.name, machine.clock, machine.log,
            lambda: own * (1 + machine.source.gauss(0, machine.noise)), peak_rss_bytes=2**20,
            fail_at=failing[0] if failing else None,
        )  # fmt: skip
        self._own, self._moved, self._trained = own, 0.0, False

    def send(self, call: str, **request: Any) -> None:
        super().send(call, **request)
        if request["initial_weights"]:  # of a perturbed run
            moved = load_file(request["initial_weights"])["w"] - 1.0
            self._moved = float(np.sqrt(np.mean(moved**2)))
        self.machine.requests.append(request)

    def receive(self, call: str, timeout_s: float) -> Dict[str, Any]:
        answer = super().receive(call, timeout_s)
        if self._fail_at and self._fail_at[0] == call:
            raise self._fail_at[2]
        return {**answer, "environment": {"oneflow": "0.9.0"}}

    def _compile(self, request: Dict[str, Any]) -> Dict[str, Any]:
        effective = [n for n in self.names if n not in self.machine.same_operators]
        return {**super()._compile(request), "graph_ops": 10 - len(effective)}

    def _train(self, request: Dict[str, Any]) -> Dict[str, Any]:
        duration = request["steps"] * self._own
        self._clock.now += duration
        self._trained = True
        return {
            "duration_s": duration,
            "cpu_s": duration,
            "first_step": 0,
            "lr": [],
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
        return alone + joint + self._moved

    def _save(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """The weights before training, which are equal, or after it."""
        error = self._find_error() if self._trained else 0.0
        values = np.full(4, 1.0 + error, dtype=self.contender.dtype)
        Path(request["path"]).parent.mkdir(parents=True, exist_ok=True)
        save_file({"w": values}, request["path"])
        is_stock = error == 0 and self.contender.dtype == "float32"
        return {"digest": STOCK_DIGEST if is_stock else f"{error}{self.contender.dtype}"}


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
        self.judged: List[str] = []  # programs that the judge was asked about

    def draw_step_time(self, names: List[str]) -> float:
        """Of a new process, seconds."""
        product = math.prod(self.speedups.get(name, 1.0) for name in names)
        speedup = self.joint.get(frozenset(names), product)
        return STEP_TIME_S / speedup * (1 + self.source.gauss(0, self.spread))

    def judge(self, stock: Program, program: Program) -> ModelCheck:
        """By the error of the program's settings: bits, a rounding, or more."""
        self.judged.append(program.name)
        names = [setting.name for setting in program.settings]
        error = sum(self.errors.get(name, 0.0) for name in names)
        error += self.joint_errors.get(frozenset(names), 0.0)
        verdict = "different" if error > 1e-5 else "equal within rounding" if error else "identical"
        return create_check(workload=program.workload, verdict=verdict, reason="as planted")

    def launch(self, contender: Contender) -> FakeTuningWorker:
        self.workers.append(FakeTuningWorker(self, contender))
        return self.workers[-1]


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
