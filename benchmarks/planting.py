"""Workers with planted extra work, and how much of it makes a step so many percent longer.

What extra work costs is more than its own time: behind it the next step finds other caches and
clocks, on some processors near 1 % of a step of 20 ms whatever the amount. So the amount is
chosen by its effect: processes of the program measure themselves with and without extra work, for
several amounts, and a line through these says how much a wanted effect takes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from oneflow_bench.bench.config import Contender, Workload
from oneflow_bench.bench.errors import InputError, WorkerError
from oneflow_bench.bench.record.run import write_atomically
from oneflow_bench.bench.worker.environment import RuntimeResolver
from oneflow_bench.bench.worker.process import WorkerProcess

PLANTED_WORKER = Path(__file__).with_name("planted_worker.py")
PROCESSES = 10
DOUBLE_PAIRS = 16  # with and without the extra work, of each amount in each process
TIMEOUT_S = 120.0
Point = Tuple[int, float]  # products, effect as a share of the step


def create_planted_launcher(folder: Path, environments: RuntimeResolver) -> Any:
    """Starts `planted_worker.py` for a contender; logs go to `folder`/logs."""

    def launch(contender: Contender) -> WorkerProcess:
        python = contender.interpreter
        environment = environments.resolve(contender, python)
        command = [python, str(PLANTED_WORKER)]
        log = folder / "logs" / f"{contender.name}.log"
        return WorkerProcess(contender.name, command, environment, log)

    return launch


def calibrate(
    stored: Path, effects: Sequence[str], workload: Workload, mode: str, launch: Any
) -> Dict[str, int]:
    """Products after each step for effects in percent, by the machine left alone.

    Done once and stored, so that the extra work is the same in every process of the study.
    """
    if not stored.exists():
        points: List[Point] = []
        for number in range(PROCESSES):
            contender = Contender(name=f"calibration-{number}", mode=mode)
            worker = launch(contender)
            try:
                points += measure_effects(worker, contender, effects, workload)
            finally:
                worker.kill()
                worker.close()
        products = {effect: fit_products(points, float(effect) / 100) for effect in effects}
        content = {"products": products, "points": points, "processes": PROCESSES}
        write_atomically(stored, json.dumps(content, indent=1) + "\n")
    products = json.loads(stored.read_text(encoding="utf-8")).get("products", {})
    missing = [effect for effect in effects if effect not in products]
    if missing:
        raise InputError(
            f"{stored} has no amount of work for {', '.join(missing)} %; remove it and the planted "
            "comparisons stored beside it, or give another --out"
        )
    return {effect: products[effect] for effect in effects}


def measure_effects(
    worker: Any, contender: Contender, effects: Sequence[str], workload: Workload
) -> List[Point]:
    """What a process finds of itself with about as many products as each effect takes."""
    worker.ask(
        "prepare",
        TIMEOUT_S,
        workload=workload.model_dump(),
        contender=contender.model_dump(),
        steps_per_epoch=workload.steps_per_epoch or 1,
    )
    worker.ask("compile", TIMEOUT_S)
    whole_step = worker.ask("calibrate", TIMEOUT_S)["products"]
    points = []
    for effect in effects:
        products = max(1, round(float(effect) / 100 * whole_step))
        answer = worker.ask("plant", TIMEOUT_S, products=products, double_pairs=DOUBLE_PAIRS)
        points.append((products, math.expm1(answer["log_ratio"])))
    return points


def fit_products(points: Sequence[Point], effect: float) -> int:
    """Products whose effect is `effect`, a share of the step, by a line through the points.

    Raises WorkerError where more products take no longer, or where one alone does more than that.
    """
    products, effects = zip(*points)
    slope, offset = np.polyfit(products, effects, 1)
    wanted = (effect - offset) / slope if slope > 0 else 0.0
    if wanted < 1:
        raise WorkerError(
            f"no amount of extra work was found that takes {effect:.1%} of a step: without any it "
            f"would be {offset:.1%}, and {slope:.1e} more for each product; end other work"
        )
    return round(wanted)
