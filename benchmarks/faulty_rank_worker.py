"""A rank that trains a small model with its neighbours and has the fault that it is told to have.

For `rank_faults.py` and the tests. Environment: FAULT is a name of FAULTS, FAULT_RANK the rank that
has it, FAULT_AFTER_S how long after its start, FAULT_MARK a file to which the rank writes when the
fault happens (seconds of the monotonic clock), FAULT_MODE eager (DDP) or graph (global tensors).
Without FAULT it is a rank like any other.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any, Callable, Dict

from oneflow_bench.bench.distributed.worker import serve_rank
from oneflow_bench.bench.training.identity import read_identity

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


def create_eager(flow: Any, model: Any) -> Callable[[], Any]:
    """A train step under DDP; each rank's loss is its own."""
    model = flow.nn.parallel.DistributedDataParallel(model)
    optimizer = flow.optim.SGD(model.parameters(), lr=1e-3)
    inputs = flow.ones(BATCH, WIDTH) * (1 + flow.env.get_rank())

    def step() -> Any:
        loss = model(inputs).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def create_graph(flow: Any, model: Any) -> Callable[[], Any]:
    """A train step of a graph over global tensors, compiled."""
    everywhere = flow.placement("cpu", list(range(flow.env.get_world_size())))
    model = model.to_global(everywhere, flow.sbp.broadcast)
    optimizer = flow.optim.SGD(model.parameters(), lr=1e-3)

    class TrainGraph(flow.nn.Graph):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.add_optimizer(optimizer)

        def build(self, inputs: Any) -> Any:
            loss = self.model(inputs).square().mean()
            loss.backward()
            return loss.to_global(sbp=flow.sbp.broadcast)

    graph = TrainGraph()
    inputs = flow.ones(BATCH, WIDTH).to_global(everywhere, flow.sbp.split(0))
    graph._compile(inputs)
    return lambda: graph(inputs)


def to_local(loss: Any) -> Any:
    return loss.to_local() if loss.is_global else loss


class FaultyRankSession:
    """Answers `prepare`, `train` and `end` in the shape of the training worker's session."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    def prepare(self, request: Dict[str, Any]) -> Dict[str, Any]:
        start = time.perf_counter()
        import oneflow as flow

        imported = time.perf_counter()
        flow.manual_seed(0)
        model = flow.nn.Sequential(*[flow.nn.Linear(WIDTH, WIDTH) for _ in range(4)])
        initial = sum(float(parameter.sum().numpy()) for parameter in model.parameters())
        create = create_graph if os.environ.get("FAULT_MODE") == "graph" else create_eager
        self._train_once = create(flow, model)
        return {
            "import_s": imported - start,
            "build_s": time.perf_counter() - imported,
            "initial_digest": str(initial),
        }

    def train(self, request: Dict[str, Any]) -> Dict[str, Any]:
        from oneflow_bench.bench.training.clock import measure_block

        timed = measure_block(self._step, int(request["steps"]))
        return {
            "duration_s": timed.duration_s,
            "cpu_s": timed.cpu_s,
            "losses": [float(to_local(loss).numpy()) for loss in timed.outputs],
            "labels_digest": "0",
            "images_digest": None,
        }

    def _step(self) -> Any:
        self._fault.strike()
        return self._train_once()

    def end(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {"peak_rss_bytes": 0}


if __name__ == "__main__":
    planted = Fault(read_identity(os.environ).rank)
    if planted.name == "cannot connect":
        planted.strike()
    serve_rank(FaultyRankSession(planted))
