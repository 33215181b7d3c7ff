"""Does a rank that fails end its group in time, whatever it does and whenever?

    python benchmarks/rank_faults.py --count 10

The study plants each fault at random moments in one of two ranks that train together. The modes
eager (DDP) and graph (global tensors) take turns. A row holds the seconds from the fault until the
group's error, the ranks that the error names, the processes that are left, and whether the port is
free. A rank that dies must end its group within LIMIT_S. A rank that hangs must end it within
LIMIT_S after the timeout of the turn; its neighbours wait for it, so the error may name them too.

Each row is stored as it ends in results/distributed/faults-by-timeout.jsonl. A second call goes on
from there. The exit status is 1 if a case failed. results/distributed/faults.jsonl holds the same
study of an earlier version, which watched the ranks and told hangs from slow steps by itself.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple
from unittest.mock import patch

from faulty_rank_worker import FAULTS
from study import Row, load_rows, run_study

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.distributed.placement import NETWORK_VARIABLE, Address
from oneflow_bench.bench.distributed.starting import create_launcher
from oneflow_bench.bench.distributed.worker import check_master_port
from oneflow_bench.bench.errors import BenchError
from oneflow_bench.bench.worker.environment import RuntimeResolver

STORED = Path(__file__).resolve().parents[1] / "results" / "distributed" / "faults-by-timeout.jsonl"
LIMIT_S = 10.0
RANKS = 2
LATEST_S = 3.0  # after the start of the group
STEPS = 50  # of a request
START_S = 40.0  # the timeout of `prepare`, which imports OneFlow
TURN_S = 10.0  # the timeout of `train`
SIGNALS = {"is killed": signal.SIGKILL, "is stopped": signal.SIGSTOP}
CANNOT_LISTEN = "cannot listen"  # rank 0's port is taken
MODES = ("eager", "graph")  # in turns
KINDS = [*FAULTS, *SIGNALS, CANNOT_LISTEN]
RANK_OF = {"cannot connect": 1, CANNOT_LISTEN: 0}  # the others happen to any
AT_START = tuple(RANK_OF)
# a group with one of these faults ends at the timeout of a turn
TIMEOUT_OF = {"sleeps": TURN_S, "loops": TURN_S, "is stopped": START_S, "cannot connect": START_S}
NAMED = re.compile(r"^ranks? ([0-9, ]+) of the worker ")


class Case(NamedTuple):
    """One fault."""

    kind: str
    mode: str
    rank: int
    after_s: float


def list_cases(count: int, seed: int) -> Iterator[Tuple[str, Tuple[Case]]]:
    """(name, case) of `count` cases of each kind, in turns; a name always means the same case."""
    for number in range(count):
        for kind in KINDS:
            source = random.Random(f"{seed}/{kind}/{number}")
            rank = RANK_OF.get(kind, source.randrange(RANKS))
            after_s = 0.0 if kind in AT_START else source.uniform(0.0, LATEST_S)
            mode = MODES[number % len(MODES)]
            yield f"{kind} {seed}.{number + 1}", (Case(kind, mode, rank, after_s),)


def run_case(case: Case) -> Row:
    """Inject the fault and say what became of the group."""
    tag = uuid.uuid4().hex
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        mark = folder / "mark"
        if case.kind == CANNOT_LISTEN:  # in the network where this process can take the port
            stack.enter_context(patch.dict(os.environ, {NETWORK_VARIABLE: "host"}))
        started_s = time.monotonic()
        group = start(folder, case, mark, tag)
        stack.callback(group.close)
        stack.callback(group.kill)
        while len(pids := read_pids(tag)) < RANKS and time.monotonic() < started_s + START_S:
            time.sleep(0.01)  # a process that is being replaced has no environment for a moment
        address = read_address(pids[0])
        if case.kind == CANNOT_LISTEN:
            blocker = stack.enter_context(socket.socket())
            blocker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            blocker.bind((address.host, address.port))
            blocker.listen()
        if case.kind in SIGNALS:
            delay = (pids[case.rank], SIGNALS[case.kind], mark)
            timer = threading.Timer(case.after_s, send_signal, delay)
            timer.start()
            stack.callback(timer.cancel)
        error = train_until_error(group)
        ended_s = time.monotonic()
        left = read_pids(tag)
        if case.kind == CANNOT_LISTEN:
            blocker.close()
        struck_s = float(mark.read_text(encoding="ascii")) if mark.exists() else started_s
        return judge(case, ended_s - struck_s, error, len(left), is_free(address))


def start(folder: Path, case: Case, mark: Path, tag: str) -> Any:
    """A group of ranks of which one will have the fault; `tag` marks its processes."""
    variables = {
        "PYTHONPATH": str(Path(__file__).resolve().parent),
        "OMP_NUM_THREADS": "1",
        "FAULT_TAG": tag,
        "FAULT_MARK": str(mark),
        "FAULT": case.kind,
        "FAULT_MODE": case.mode,
        "FAULT_RANK": str(case.rank),
        "FAULT_AFTER_S": str(case.after_s),
    }
    contender = Contender(
        name="group",
        mode=case.mode,
        strategy={"eager": "ddp", "graph": "dp"}[case.mode],
        ranks=RANKS,
        runtime="stock",
        env=variables,
    )
    return create_launcher(folder, RuntimeResolver(), "faulty_rank_worker")(contender)


def send_signal(pid: int, number: signal.Signals, mark: Path) -> None:
    mark.write_text(str(time.monotonic()), encoding="ascii")
    os.kill(pid, number)


def train_until_error(group: Any) -> Optional[BenchError]:
    """The group's error; None where it is still well long after the fault."""
    give_up_s = time.monotonic() + LATEST_S + 3 * LIMIT_S
    try:
        group.ask("prepare", START_S)
        while time.monotonic() < give_up_s:
            group.ask("train", TURN_S, steps=STEPS)
    except BenchError as error:
        return error
    return None


def read_pids(tag: str) -> List[int]:
    """The living processes whose environment holds the tag; by rank, where they are ranks."""
    found: List[Tuple[int, int]] = []
    for process in Path("/proc").iterdir():
        variables = read_environment(process)
        if variables.get("FAULT_TAG") == tag:
            found.append((int(variables["RANK"]), int(process.name)))
    return [pid for _, pid in sorted(found)]


def read_environment(process: Path) -> Dict[str, str]:
    """Of a process that lives; empty where it cannot be read."""
    try:
        text = (process / "environ").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return dict(entry.partition("=")[::2] for entry in text.split("\0") if entry)


def read_address(pid: int) -> Address:
    """Where rank 0 listens."""
    variables = read_environment(Path("/proc") / str(pid))
    return Address(variables["MASTER_ADDR"], int(variables["MASTER_PORT"]))


def is_free(address: Address) -> bool:
    """True where another program could listen there now."""
    try:
        check_master_port(address)
    except BenchError:
        return False
    return True


def judge(
    case: Case, seconds: float, error: Optional[BenchError], left: int, port_free: bool
) -> Row:
    """What was seen, and whether all of it is as it must be."""
    message = "" if error is None else str(error)
    match = NAMED.match(message)
    ranks = [] if match is None else [int(rank) for rank in match.group(1).split(",")]
    named = case.rank in ranks if case.kind in TIMEOUT_OF else ranks == [case.rank]
    in_time = seconds <= TIMEOUT_OF.get(case.kind, 0.0) + LIMIT_S
    good = named and in_time and left == 0 and port_free
    return {
        **case._asdict(),
        "until_error_s": seconds,
        "names_rank": named,
        "named_ranks": ranks,
        "processes_left": left,
        "port_free": port_free,
        "verdict": "ended" if good else "failed",
        "reason": re.split("; the whole log|; one that hangs", message)[0]
        or "the group did not end",
    }


def render(rows: List[Row]) -> str:
    """A row for each kind of fault; rows of the earlier version have no `named_ranks`."""
    by_kind: Dict[str, List[Row]] = defaultdict(list)
    for row in rows:
        by_kind[row.get("kind", "an unexpected error")].append(row)
    titles = f"{'cases':>6}{'as it must be':>15}{'named':>7}{'alone':>7}"
    lines = [f"{'a rank':16}{titles}{'longest until the error':>25}"]
    for kind, cases in by_kind.items():
        good = sum(row.get("verdict") == "ended" for row in cases)
        named = sum(bool(row.get("names_rank")) for row in cases)
        alone = sum(row.get("named_ranks") == [row.get("rank")] for row in cases)
        longest_s = max(row.get("until_error_s", float("nan")) for row in cases)
        counts = f"{len(cases):>6}{good:>15}{named:>7}{alone:>7}"
        lines.append(f"{kind:16}{counts}{longest_s:>23.1f} s")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=10, help="cases of each kind of fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stored", type=Path, default=STORED)
    options = parser.parse_args()
    options.stored.parent.mkdir(parents=True, exist_ok=True)
    run_study(options.stored, list_cases(options.count, options.seed), run_case)
    rows = load_rows(options.stored)
    print(render(rows))
    sys.exit(any(row.get("verdict") != "ended" for row in rows))


if __name__ == "__main__":
    main()
