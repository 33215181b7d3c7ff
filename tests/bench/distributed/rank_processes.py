"""A few processes that train together, started without a launcher and ended whatever happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

from oneflow_bench.bench.distributed.placement import Address, create_rank_variables, reserve_port
from oneflow_bench.bench.training.identity import Identity

PROGRAM = Path(__file__).with_name("rank_program.py")
_POLL_S = 0.1


def run_cases(cases: List[Dict[str, Any]], ranks: int, folder: Path, timeout_s: float = 150.0):
    """The answers of each rank to `cases` (see `rank_program.py`), by the case's name.

    Fails with the log of a rank that does not end well, or that is still running at the timeout.
    """
    folder.mkdir(parents=True)
    (folder / "cases.json").write_text(json.dumps(cases))
    address, reserved = reserve_port()
    processes = []
    try:
        for rank in range(ranks):
            processes.append(_start(rank, ranks, address, folder))
        _wait(processes, time.monotonic() + timeout_s)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        reserved.close()
    for rank, process in enumerate(processes):
        log = (folder / f"rank-{rank}.log").read_text(errors="replace")
        assert process.returncode == 0, f"rank {rank} of {ranks}:\n{log[-4000:]}"
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(ranks)]


def _start(rank: int, ranks: int, master: Address, folder: Path) -> subprocess.Popen:
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK")},
        "WORLD_SIZE": "1",
        "OMP_NUM_THREADS": "1",
        "ONEFLOW_ENABLE_ONEDNN_OPTS": "0",
        "PYTHONPATH": str(PROGRAM.parent),
    }
    if ranks > 1:
        environment.update(create_rank_variables(Identity(rank, ranks), master, local_rank=rank))
    with open(folder / f"rank-{rank}.log", "w") as log:
        command = [sys.executable, str(PROGRAM), str(folder), str(rank)]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def _wait(processes: List[subprocess.Popen], deadline: float) -> None:
    """Until all have ended, one has failed, or the time is over."""
    while time.monotonic() < deadline:
        codes = [process.poll() for process in processes]
        if all(code is not None for code in codes) or any(codes):
            return
        time.sleep(_POLL_S)
