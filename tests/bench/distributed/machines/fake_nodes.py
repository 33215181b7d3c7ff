"""Machines of a run on this one, each a process, with workers that need no OneFlow."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import scripted_rank
from scripted_rank import SCRIPT

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.distributed.machines.node_server import NodeServer
from oneflow_bench.bench.distributed.starting import start_group

TOKEN, VERSION, RUN = "secret", "1.2.3", {"batch_size": 8, "contender 0": {"mode": "eager"}}
END_WITH_PARENT = """
import os
from oneflow_bench.bench.distributed.rendezvous import _end_with_controller
_end_with_controller(os.environ)
"""
WORKER = [sys.executable, "-c", END_WITH_PARENT + SCRIPT]
HOST = os.environ.get("FAKE_HOST", "127.0.0.1")  # of machine 0
DDP = Contender(name="ddp", mode="eager", strategy="ddp", ranks=2)

AGENT = """
import os, signal, sys
from pathlib import Path
from fake_nodes import HOST, RUN, TOKEN, VERSION, WORKER
from oneflow_bench.bench.errors import BenchError
from oneflow_bench.bench.distributed.machines.join_run import Agent, connect_to_machine_0
from oneflow_bench.bench.distributed.machines.handshake import create_hello
from oneflow_bench.bench.distributed.group import RankProcess
from oneflow_bench.bench.distributed.placement import (
    Address, RankStart, create_placement_variables
)

port, node_rank, logs, program = sys.argv[1:]

def start(message, connection):
    asked = RankStart.model_validate(message)
    placement = asked.placement
    environment = {**os.environ, **create_placement_variables(placement, False)}
    command, name, logs_folder = [program, *WORKER[1:]], asked.contender.name, Path(logs)
    return RankProcess(name, placement.identity, command, environment, logs_folder, connection)

signal.signal(signal.SIGTERM, signal.default_int_handler)
master = Address(HOST, int(port))
hello = create_hello(TOKEN, VERSION, node_rank=int(node_rank), nodes=2, run=RUN, cores=[0],
                     machine={}, dataset="/theirs")
try:
    link = connect_to_machine_0(master, hello)
    last = Agent(link, master, create_hello(TOKEN, VERSION), start).serve()
except BenchError as error:
    print(error, flush=True)
    sys.exit(error.exit_status)
print(last, flush=True)
"""

# machine 0 in a process of its own, which waits for its ranks without an end
CONTROLLER = """
import sys
from pathlib import Path
from fake_nodes import open_server, start_ranks
from oneflow_bench.bench.errors import WorkerError
server = open_server()
print(server.port, flush=True)
server.wait_for_nodes(20, lambda line: None)
group = start_ranks(server, Path(sys.argv[1]))
group.ask("save", 20, does=["", ""])
print("asked", flush=True)
try:
    group.ask("save", 600, does=["hang", "hang"])
except WorkerError as error:
    print(error, flush=True)
group.close()
server.close({"do": "end"})
"""


def open_server(nodes=2):
    return NodeServer(HOST, 0, nodes, TOKEN, VERSION, RUN)


def start_ranks(server, folder):
    """The group of DDP: rank 0 here, rank 1 there."""
    return start_group(DDP, WORKER, dict(os.environ), folder, False, server)


def start_agent(port, folder, node_rank=1, program=sys.executable):
    return start_script(AGENT, port, node_rank, folder, program)


def start_script(script, *arguments, prefix=(), host=HOST):
    folders = [
        os.path.dirname(os.path.abspath(path)) for path in (__file__, scripted_rank.__file__)
    ]
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders), "FAKE_HOST": host},
    )


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def are_gone(pids, limit_s=5.0):
    end = time.monotonic() + limit_s
    while any(map(is_running, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(is_running, pids))


def find_children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        return [int(child) for child in children.read().split()]
