from __future__ import annotations

import json
import math

import pytest
from planting import PROCESSES, calibrate, fit_products

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.errors import InputError, WorkerError

OFFSET, SLOPE, NAIVE = 0.008, 2.2e-4, 4500.0  # an after-effect, and the cost of each product


class Worker:
    """A process whose extra work costs more than its own time."""

    def __init__(self, started):
        started.append(self)
        self.number, self.calls, self.closed = len(started), [], False

    def ask(self, call, timeout_s, **request):
        self.calls.append(call)
        if call == "calibrate":
            return {"products": NAIVE}
        if call == "plant":
            noise = 1e-4 * (-1) ** self.number
            return {"log_ratio": math.log1p(OFFSET + SLOPE * request["products"] + noise)}
        return {}

    def kill(self):
        pass

    def close(self):
        self.closed = True


def test_the_amount_is_chosen_by_its_effect_once_and_stored(tmp_path):
    started, stored = [], tmp_path / "calibration.json"
    for _ in range(2):
        products = calibrate(
            stored, ["3", "10"], Workload(data="synthetic"), "eager", lambda c: Worker(started)
        )
        for effect in ("3", "10"):
            assert OFFSET + SLOPE * products[effect] == pytest.approx(float(effect) / 100, rel=0.01)
    assert len(started) == PROCESSES and all(worker.closed for worker in started)
    assert started[0].calls == ["prepare", "compile", "calibrate", "plant", "plant"]
    assert len(json.loads(stored.read_text())["points"]) == 2 * PROCESSES


def test_a_process_that_dies_is_closed_and_nothing_is_stored(tmp_path):
    started = []

    class Dying(Worker):
        def ask(self, call, timeout_s, **request):
            if call == "plant":
                raise WorkerError("it died")
            return super().ask(call, timeout_s, **request)

    with pytest.raises(WorkerError):
        calibrate(
            tmp_path / "c.json", ["3"], Workload(data="synthetic"), "eager",
            lambda c: Dying(started),
        )  # fmt: skip
    assert started[0].closed and not (tmp_path / "c.json").exists()


@pytest.mark.parametrize(
    "content", ['{"products_of_a_step": 4000.0}', '{"products": {"3": 90}}'], ids=["older", "other"]
)
def test_a_calibration_without_the_effect_is_refused(tmp_path, content):
    stored = tmp_path / "calibration.json"
    stored.write_text(content)
    with pytest.raises(InputError, match="no amount of work for 5 %; remove it"):
        calibrate(stored, ["5"], Workload(data="synthetic"), "eager", None)


@pytest.mark.parametrize(
    "points", [[(100, 0.03), (200, 0.03), (300, 0.02)], [(100, 0.05), (200, 0.07)]]
)
def test_an_effect_that_no_amount_has_is_refused(points):
    with pytest.raises(WorkerError, match=r"takes 3.0% of a step"):
        fit_products(points, 0.03)


def test_without_after_effect_the_amount_is_its_own_time():
    assert fit_products([(100, 0.02), (300, 0.06), (500, 0.10)], 0.03) == 150
