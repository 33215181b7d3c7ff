"""Whether this OneFlow can run a graph with ZeRO: tried in a throwaway group of processes.

    python benchmarks/zero_probe.py [--device cpu] [--ranks 2]

Prints one JSON object; what `bench/ranks/availability.py` knows was found so. Where it cannot,
OneFlow ends the processes, which is why no run tries it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List

from oneflow_bench.bench.distributed.placement import LOOPBACK, Address, create_rank_variables
from oneflow_bench.bench.training.identity import Identity

_POLL_S = 0.1
_GRACE_S = 2.0  # for the other ranks to say their own last words


def run_rank(device: str, ranks: int) -> None:
    """Two train steps of a small graph, data parallel, with the optimizer's state split."""
    import oneflow as flow
    from oneflow import nn

    everywhere = flow.placement(device, list(range(ranks)))
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64))
    model.to_global(placement=everywhere, sbp=flow.sbp.broadcast)

    class Train(nn.Graph):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.add_optimizer(flow.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
            self.config.enable_zero(True)

        def build(self, x: flow.Tensor) -> flow.Tensor:
            loss = self.model(x).square().mean()
            loss.backward()
            return loss

    graph = Train()
    batch = flow.ones(8, 64).to(device).to_global(placement=everywhere, sbp=flow.sbp.split(0))
    for _ in range(2):
        loss = graph(batch).to_global(sbp=flow.sbp.broadcast).to_local().numpy()
    print(f"oneflow {flow.__version__}: loss {loss}")


def probe(device: str, ranks: int, timeout_s: float) -> Dict[str, Any]:
    """Exit statuses of the ranks (None: still running at the timeout) and what OneFlow said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes: List[subprocess.Popen] = []
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / f"rank-{rank}.log" for rank in range(ranks)]
        try:
            for rank, log in enumerate(logs):
                processes.append(_start(device, rank, ranks, port, log))
            _wait(processes, time.monotonic() + timeout_s)
            statuses = [process.poll() for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
        said = re.findall(r"Check failed: .*", "\n".join(log.read_text() for log in logs))
    works = all(status == 0 for status in statuses)
    return {"device": device, "ranks": ranks, "works": works, "statuses": statuses,
            "said": said[0].strip() if said else None}  # fmt: skip


def _start(device: str, rank: int, ranks: int, port: int, log: Path) -> subprocess.Popen:
    master = Address(LOOPBACK, port)
    variables = create_rank_variables(Identity(rank, ranks), master, local_rank=rank)
    environment = {**os.environ, **variables, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--device", device, "--ranks", str(ranks), "--as-rank"]
    with log.open("w") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


def _wait(processes: List[subprocess.Popen], deadline: float) -> None:
    while time.monotonic() < deadline:
        statuses = [process.poll() for process in processes]
        if None not in statuses:
            return
        if any(status not in (None, 0) for status in statuses):
            deadline = min(deadline, time.monotonic() + _GRACE_S)
        time.sleep(_POLL_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--timeout-s", type=float, default=60.0)
    parser.add_argument("--as-rank", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_rank:
        run_rank(options.device, options.ranks)
    else:
        print(json.dumps(probe(options.device, options.ranks, options.timeout_s)))


if __name__ == "__main__":
    main()
