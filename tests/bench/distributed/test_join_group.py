"""What a rank does before it imports OneFlow."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from oneflow_bench.bench.distributed.placement import PARENT, create_rank_variables, reserve_port
from oneflow_bench.bench.distributed.worker import join_group
from oneflow_bench.bench.training.identity import Identity

# a controller whose rank never reads its input; it says which process the rank is
CONTROLLER = f"""
import os, subprocess, sys, time
code = '''
import os, time
from oneflow_bench.bench.distributed.worker import join_group
join_group(os.environ)
print("joined", flush=True)
while True: pass
'''
rank = subprocess.Popen([sys.executable, "-c", code], env={{**os.environ,
    "{PARENT}": str(os.getpid())}}, start_new_session=True, stdout=subprocess.PIPE)
rank.stdout.readline()
print(rank.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def variables():
    address, reserved = reserve_port()
    yield create_rank_variables(Identity(0, 2), address, local_rank=0)
    reserved.close()


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_process_that_is_alone_is_left_as_it_is():
    cores = os.sched_getaffinity(0)
    join_group({"BENCH_RANK_CORES": "0"})
    assert os.sched_getaffinity(0) == cores


def test_a_rank_in_a_busy_loop_ends_with_its_killed_controller(variables):
    controller = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
    )
    rank = int(controller.stdout.readline())
    assert is_alive(rank)
    controller.send_signal(signal.SIGKILL)
    controller.communicate()
    end = time.monotonic() + 60
    while is_alive(rank) and time.monotonic() < end:
        time.sleep(0.02)
    assert not is_alive(rank)


def test_a_rank_whose_controller_has_ended_before_ends_at_once(variables):
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    code = (
        "import os; from oneflow_bench.bench.distributed.worker import join_group; "
        "join_group(os.environ)"
    )
    environment = {**os.environ, **variables, PARENT: str(ended.pid)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=120)
    assert done.returncode == -signal.SIGKILL


def test_a_rank_0_whose_port_is_taken_says_so(variables):
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("", int(variables["MASTER_PORT"])))
        server.listen()
        code = (
            "import os; from oneflow_bench.bench.distributed.worker import join_group\n"
            "from oneflow_bench.bench.errors import InputError\n"
            "try: join_group(os.environ)\n"
            "except InputError as error: print(error)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert "rank 0 must listen there" in done.stdout
