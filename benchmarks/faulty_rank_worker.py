"""A rank that trains a small model with its neighbours and has the fault that it is told to have.

For `rank_faults.py` and the tests. Environment: FAULT is a name of FAULTS, FAULT_RANK the rank that
has it, FAULT_AFTER_S how long after its start, FAULT_MARK a file to which the rank writes when the
fault happens (seconds of the monotonic clock). Without FAULT it is a rank like any other.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any, Callable, Dict

from oneflow_bench.ranks.identity import read_identity
from oneflow_bench.serving import main

WIDTH, BATCH = 64, 16


def raise_error() -> None:
    raise ValueError("planted")


def sleep_forever() -> None:
    while True:
        time.sleep(3600)


def loop_forever() -> None:
    while True:
        pass


def lose_master() -> None:
    """Look for rank 0 on a port where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        os.environ["MASTER_PORT"] = str(unused.getsockname()[1])


# what a rank does to itself; it is killed and stopped from outside
FAULTS: Dict[str, Callable[[], None]] = {
    "raises": raise_error,
    "sleeps": sleep_forever,
    "loops": loop_forever,
    "cannot connect": lose_master,
}


class Fault:
    """Happens once its time has come, wherever the rank then is."""

    def __init__(self, rank: int) -> None:
        name = os.environ.get("FAULT", "")
        mine = rank == int(os.environ.get("FAULT_RANK", "-1"))
        self.name = name if mine and name in FAULTS else None
        self._at_s = time.monotonic() + float(os.environ.get("FAULT_AFTER_S", "0"))

    def strike(self) -> None:
        if self.name is not None and time.monotonic() >= self._at_s:
            Path(os.environ["FAULT_MARK"]).write_text(str(time.monotonic()), encoding="ascii")
            FAULTS[self.name]()


class FaultyRankSession:
    """Answers `prepare`, `train` and `end` in the shape of the training worker's session."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._step_number = 0

    def prepare(self, request: Dict[str, Any]) -> Dict[str, Any]:
        start = time.perf_counter()
        import oneflow as flow

        imported = time.perf_counter()
        flow.manual_seed(0)
        layers = [flow.nn.Linear(WIDTH, WIDTH) for _ in range(4)]
        self._model = flow.nn.parallel.DistributedDataParallel(flow.nn.Sequential(*layers))
        self._optimizer = flow.optim.SGD(self._model.parameters(), lr=1e-3)
        self._inputs = flow.ones(BATCH, WIDTH) * (1 + flow.env.get_rank())
        return {
            "import_s": imported - start,
            "build_s": time.perf_counter() - imported,
            "initial_digest": str(sum(float(p.sum().numpy()) for p in self._model.parameters())),
        }

    def train(self, request: Dict[str, Any]) -> Dict[str, Any]:
        from oneflow_bench.timing import measure_block

        timed = measure_block(self._step, int(request["steps"]))
        return {
            "duration_s": timed.duration_s,
            "cpu_s": timed.cpu_s,
            "losses": [float(loss.numpy()) for loss in timed.outputs],
            "labels_digest": "0",
            "images_digest": None,
        }

    def _step(self) -> Any:
        self._fault.strike()
        loss = self._model(self._inputs).square().mean()
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()
        return loss

    def end(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {"peak_rss_bytes": 0}


if __name__ == "__main__":
    planted = Fault(read_identity(os.environ).rank)
    if planted.name == "cannot connect":
        planted.strike()
    main(FaultyRankSession(planted))
