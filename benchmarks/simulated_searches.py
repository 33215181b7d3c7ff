"""How often is `bench tune` wrong? Searches on a simulated machine whose truth is known.

    python benchmarks/simulated_searches.py --runs 100

A process is `spread` off its program's time and a block `noise` off its process's. The machine
drifts by 2 % over ten seconds. The search is the one that `bench tune` runs, with workers and a
clock that are made up; a process takes 2 seconds to start.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np
from safetensors.numpy import save_file

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.parity.result import ModelCheck
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.tools.tune.candidates import Program, create_variable
from oneflow_bench.bench.tools.tune.phase import TuneRequest
from oneflow_bench.bench.tools.tune.report import ModeResult
from oneflow_bench.bench.tools.tune.search import run_search

EQUAL = [f"EQUAL_{number}" for number in range(12)]
STEP_TIME_S, START_S, BUDGET_S = 0.02, 2.0, 240.0
DRIFT, DRIFT_S = 0.02, 10.0


class SimulatedMachine:
    """Starts made-up processes. `speedups` are the true ratios of variables to stock."""

    def __init__(self, speedups: Dict[str, float], spread: float, noise: float, seed: int) -> None:
        self.now, self.speedups, self.spread, self.noise = 0.0, speedups, spread, noise
        self.source = np.random.default_rng(seed)

    def clock(self) -> float:
        return self.now

    def launch(self, contender: Contender) -> SimulatedWorker:
        return SimulatedWorker(self, contender)


class SimulatedWorker:
    """A process that computes what stock computes."""

    def __init__(self, machine: SimulatedMachine, contender: Contender) -> None:
        self._machine = machine
        speedup = math.prod(machine.speedups.get(name, 1.0) for name in contender.env)
        own = 1 + machine.source.normal(0, machine.spread)
        self._step_time_s = STEP_TIME_S / speedup * own

    def send(self, call: str, **request: Any) -> None:
        self._machine.now += START_S / 2

    def receive(self, call: str, timeout_s: float) -> Dict[str, Any]:
        return {"import_s": 1.0, "build_s": 0.5, "initial_digest": "", "num_params": 1}

    def ask(self, call: str, timeout_s: float, **request: Any) -> Dict[str, Any]:
        machine = self._machine
        if call == "compile":
            machine.now += START_S / 2
        steps = request.get("steps", 0) + request.get("untimed_steps", 0)
        drift = 1 + DRIFT * math.sin(machine.now / DRIFT_S)
        noise = 1 + abs(machine.source.normal(0, machine.noise))
        step_time_s = self._step_time_s * drift * noise
        machine.now += steps * step_time_s
        timed = {"duration_s": request.get("steps", 0) * step_time_s, "cpu_s": 0.0}
        if call == "save":
            save_file({"w": np.ones(1, np.float32)}, request["path"])
        memory, first = {"peak_rss_bytes": 2**20}, {"first_step": 0, "lr": [], "labels_digest": ""}
        answers: Dict[str, Dict[str, Any]] = {
            "compile": {"compile_train_s": 0.1, "compile_eval_s": 0.0},
            "train": {**timed, **first, "losses": [1.0] * request.get("steps", 0)},
            "save": {"digest": "stock"},
            "probe": {**memory, "sync_s": 1e-4, "loader_step_time_s": 1e-3},
            "measure": timed,
            "end": memory,
        }
        return answers[call]

    def kill(self) -> None:
        pass

    def close(self) -> None:
        pass


def find_identical(stock: Program, program: Program) -> ModelCheck:
    """All settings compute what stock computes: only times are simulated."""
    return ModelCheck(
        model=program.workload.model,
        workload=program.workload,
        steps=1,
        verdict="identical",
        reason="simulated",
        reproducible=None,
    )


def search(
    speedups: Dict[str, float],
    seed: int,
    spread: float = 0.01,
    noise: float = 0.03,
    budget_s: float = BUDGET_S,
) -> Tuple[ModeResult, float]:
    """A search of eager mode over all of `speedups`, and how long it took."""
    machine = SimulatedMachine(speedups, spread, noise, seed)
    plan = create_plan({"model": "lenet", "data": "synthetic", "steps_per_epoch": 4})
    settings = [create_variable(name, "1", "to try") for name in speedups]
    np.random.default_rng(seed).shuffle(settings)  # type: ignore[arg-type]
    request = TuneRequest(plan, {"eager": settings}, budget_s, 600.0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        profile = folder / "p.json"
        document = run_search(
            request,
            folder,
            profile,
            machine.launch,
            clock=machine.clock,
            judge=find_identical,
        )
    return document.modes[0], machine.now


def measure_rates(runs: int, speedups: Dict[str, float], **machine: Any) -> Dict[str, float]:
    """Shares of `runs` searches.

    `selected`: a speed phase called an equal setting faster. `wrong`: one got into the profile.
    `found`: all settings that are faster got into it. `slower`: one that is faster was called
    slower.
    """
    gains = [name for name, ratio in speedups.items() if ratio > 1]
    counts = dict.fromkeys(("selected", "wrong", "found", "slower"), 0)
    for seed in range(runs):
        mode, _ = search(speedups, seed, **machine)
        called: Dict[str, Any] = {c.verdict: [] for c in mode.candidates}
        for candidate in mode.candidates:
            called[candidate.verdict].append(candidate.settings[-1].family)
        chosen = {setting.family for setting in mode.settings}
        counts["selected"] += bool(set(called.get("faster", [])) - set(gains))
        counts["wrong"] += bool(chosen - set(gains))
        counts["found"] += bool(gains) and chosen >= set(gains)
        counts["slower"] += bool(set(called.get("slower", [])) & set(gains))
    return {name: count / runs for name, count in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    options = parser.parse_args()
    equal = dict.fromkeys(EQUAL, 1.0)
    cases = {"12 equal": equal}
    for gain in (3, 5, 10):
        cases[f"12 equal, one {gain} % faster"] = {**equal, "FAST": 1 + gain / 100}
    cases["12 equal, 25 % and 12 % faster"] = {**equal, "FAST": 1.25, "FASTER": 1.12}
    print(
        "| settings | spread, % | called faster wrongly, % | in the profile wrongly, % | found, % |"
    )
    print("|---|---:|---:|---:|---:|")
    for name, speedups in cases.items():
        for spread in (0.005, 0.01, 0.02):
            rates = measure_rates(options.runs, speedups, spread=spread)
            found = "-" if speedups == equal else f"{rates['found'] * 100:.0f}"
            print(
                f"| {name} | {spread * 100:g} | {rates['selected'] * 100:.0f} "
                f"| {rates['wrong'] * 100:.0f} | {found} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
