"""All-reduces between processes of this machine, for `calculate_scaling.py --all-reduce`.

    python benchmarks/all_reduce.py --ranks 2 > two-ranks.json

Starts the ranks itself, with OneFlow's own variables, and ends them where they do not answer in
time. The time of a size is the median over blocks of the slowest rank's, each block between two
full synchronisations.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from typing import Any, Dict, List, Optional, Sequence

from oneflow_bench.bench.errors import WorkerError

SIZES_BYTES = (2**12, 2**16, 2**18, 2**20, 2**22, 2**24, 2**26)
WARMUP, BLOCKS = 3, 15
BLOCK_S = 0.05  # a block of small sizes has many all-reduces
MOST_REPEATS = 200
FLOAT_BYTES = 4
TIMEOUT_S = 300.0
POLL_S = 0.1


def measure_rank(sizes_bytes: Sequence[int]) -> List[List[float]]:
    """Seconds of an all-reduce in each block, for each size; in a process that is a rank."""
    import oneflow as flow

    from oneflow_bench.bench.training.clock import measure_block

    times = []
    for size_bytes in sizes_bytes:
        tensor = flow.zeros(size_bytes // FLOAT_BYTES)  # whose sum stays what it is
        for _ in range(WARMUP):
            flow.comm.all_reduce(tensor)
        # by the size alone, so that all ranks do as many
        repeats = max(1, min(MOST_REPEATS, int(BLOCK_S * 1e9 / size_bytes / 4)))
        step = lambda tensor=tensor: flow.comm.all_reduce(tensor)  # noqa: E731
        blocks = [measure_block(step, repeats) for _ in range(BLOCKS)]
        times.append([block.duration_s / repeats for block in blocks])
    return times


def measure_all_reduces(
    ranks: int = 2,
    sizes_bytes: Sequence[int] = SIZES_BYTES,
    timeout_s: float = TIMEOUT_S,
    command: Optional[Sequence[str]] = None,
) -> Dict[str, Any]:
    """The document of `calculate_scaling.py --all-reduce`.

    `command` is what each rank runs. Raises WorkerError where a rank fails or does not answer.
    """
    sizes = ",".join(map(str, sizes_bytes))
    command = command or [sys.executable, os.path.abspath(__file__), "--as-rank", "--sizes", sizes]
    port = find_free_port()
    started = [
        subprocess.Popen(
            command,
            env={**os.environ, **create_variables(rank, ranks, port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    try:
        wait_for_all(started, timeout_s)
        answers = [process.communicate()[0] for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()  # which closes its pipes too
    of_ranks = [json.loads(answer.splitlines()[-1]) for answer in answers]
    samples = []
    for number, size_bytes in enumerate(sizes_bytes):
        slowest = [max(times) for times in zip(*(times[number] for times in of_ranks))]
        samples.append({"size_bytes": size_bytes, "time_s": statistics.median(slowest)})
    return {"schema_version": 1, "ranks": ranks, "samples": samples}


def create_variables(rank: int, ranks: int, port: int) -> Dict[str, str]:
    """OneFlow's own variables of a rank of this machine."""
    return {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(ranks),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GLOG_minloglevel": "2",
    }


def find_free_port() -> int:
    """A port of this machine that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_all(started: Sequence[Any], timeout_s: float) -> None:
    """Wait until all have ended well; WorkerError at the first that has not."""
    deadline = time.monotonic() + timeout_s
    while True:
        statuses = [process.poll() for process in started]
        for rank, status in enumerate(statuses):
            if status:
                tail = started[rank].stderr.read()[-1000:]
                raise WorkerError(f"rank {rank} of the all-reduces ended with {status}", tail)
        if all(status == 0 for status in statuses):
            return
        if time.monotonic() > deadline:
            raise WorkerError(f"the all-reduces took longer than {timeout_s:g} s and were ended")
        time.sleep(POLL_S)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES_BYTES)), help="bytes")
    parser.add_argument("--as-rank", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    if options.as_rank:
        print(json.dumps(measure_rank(sizes)))
    else:
        print(json.dumps(measure_all_reduces(options.ranks, sizes), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
