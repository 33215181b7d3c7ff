"""What can happen to the machines of a run: their ends, silences and strangers. No OneFlow."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time

import pytest
from fake_nodes import (
    CONTROLLER,
    RUN,
    TOKEN,
    VERSION,
    are_gone,
    find_children,
    open_server,
    start_agent,
    start_ranks,
    start_script,
)

from oneflow_bench.bench.distributed.machines import node_server
from oneflow_bench.bench.distributed.machines.handshake import create_hello
from oneflow_bench.bench.distributed.machines.join_run import connect_to_machine_0
from oneflow_bench.bench.distributed.machines.link import pack
from oneflow_bench.bench.distributed.placement import Address
from oneflow_bench.bench.errors import InputError, WorkerError, WorkerTimeout

LIMIT_S = 10.0  # for a fault to be noticed


class Machines:
    """Machine 0 in this process, machine 1 in another, one rank on each."""

    def __init__(self, folder):
        self.server = open_server()
        self.agent = start_agent(self.server.port, folder / "there")
        self.server.wait_for_nodes(20, lambda line: None)
        self.group = start_ranks(self.server, folder / "here")
        self.closed = False

    @property
    def pids(self):
        return [member.pid for member in self.group._members]

    def close(self, word=None):
        if not self.closed:
            self.closed = True
            self.group.close()
            self.server.close({"do": "end", **(word or {})})

    def end_agent(self):
        """Its status and what it said, once it has ended."""
        said = self.agent.communicate(timeout=LIMIT_S)[0]
        return self.agent.returncode, said


@pytest.fixture
def machines(tmp_path):
    machines = Machines(tmp_path)
    yield machines
    pids = machines.pids
    machines.group.kill()
    machines.close()
    if machines.agent.poll() is None:
        machines.agent.send_signal(signal.SIGCONT)
    machines.agent.communicate(timeout=LIMIT_S)
    assert are_gone(pids)


def fail(machines, does, words):
    start = time.monotonic()
    with pytest.raises(WorkerError, match=words) as info:
        machines.group.ask("save", 60, does=does)
    assert time.monotonic() - start < LIMIT_S
    return info.value


def test_both_machines_answer_and_end_in_good_order(machines):
    for _ in range(3):
        assert machines.group.ask("save", 10, does=["", "late"]) == {"rank": 0}
    machines.close({"record": "results/x"})
    status, said = machines.end_agent()
    assert status == 0 and "results/x" in said
    assert are_gone(machines.pids)


def test_a_rank_there_reads_the_data_that_are_there(machines):
    asked = []
    there = machines.group._members[1]
    connection = there._connection
    there._connection = type("Spy", (), {"sendall": lambda self, data: asked.append(data)})()
    there.send("setup", dataset="/ours", steps=1)
    there.send("setup", dataset=None)
    there._connection = connection
    assert [json.loads(one)["dataset"] for one in asked] == ["/theirs", None]


@pytest.mark.parametrize(
    "does, words",
    [
        ("die", r"^rank 1 of the worker 'ddp' on machine 1 \(127.0.0.1\) died in its save turn "
                r"\(exit status 7\); the whole log is /.*there/ddp.rank-1.log there"),
        ("fail", r"^rank 1 of the worker 'ddp' on machine 1 .* failed .* ValueError: no"),
    ],
)  # fmt: skip
def test_a_rank_there_that_ends_is_named_with_its_machine(machines, does, words):
    error = fail(machines, ["hang", does], words)
    assert error.log_tail == ("last words" if does == "die" else "")
    assert are_gone(machines.pids)


def test_what_a_rank_there_refuses_is_bad_input(machines):
    with pytest.raises(InputError, match=r"^rank 1 .* on machine 1 .*the label 12"):
        machines.group.ask("save", 60, does=["hang", "refuse"])


def test_a_rank_there_that_hangs_is_ended_at_the_timeout(machines):
    machines.group.ask("save", 20, does=["", ""])
    with pytest.raises(WorkerTimeout, match=r"^rank 1 of .*/there/ddp.rank-1.log there") as info:
        machines.group.ask("save", 1.0, does=["", "hang"])
    assert 'File "<string>"' in info.value.log_tail
    assert are_gone(machines.pids)


def test_an_agent_that_is_killed_ends_the_group(machines):
    machines.group.send("save", does=["hang", "hang"])
    machines.agent.kill()
    start = time.monotonic()
    with pytest.raises(WorkerError, match=r"^rank 1 .* on machine 1 .* was lost in its save turn"):
        machines.group.receive("save", 60)
    assert time.monotonic() - start < LIMIT_S
    assert are_gone(machines.pids)


@pytest.mark.slow
def test_an_agent_that_falls_silent_ends_the_group_and_its_own_ranks_later(machines):
    machines.agent.send_signal(signal.SIGSTOP)
    fail(machines, ["hang", "hang"], r"^rank 1 .* was lost .* nothing was heard of it for 8 s")
    machines.agent.send_signal(signal.SIGCONT)
    status, said = machines.end_agent()
    assert status == 4 and "the connection to it was cut" in said
    assert are_gone(machines.pids)


def test_a_link_that_is_cut_ends_the_group_and_the_agent(machines):
    machines.server.others[0].link.cut()
    fail(machines, ["hang", "hang"], "^rank 1 .* was lost .* the connection to it was cut")
    assert machines.end_agent()[0] == 4
    assert are_gone(machines.pids)


def test_an_agent_that_its_user_ends_leaves_no_rank(machines):
    machines.agent.send_signal(signal.SIGTERM)
    fail(machines, ["hang", "hang"], "^rank 1 .* was lost in its save turn")
    assert are_gone(machines.pids)


def test_a_controller_that_is_killed_ends_the_agent_and_all_ranks(tmp_path):
    controller = start_script(CONTROLLER, tmp_path / "here")
    agent = start_agent(int(controller.stdout.readline()), tmp_path / "there")
    assert controller.stdout.readline() == "asked\n"
    children = [find_children(process.pid) for process in (controller, agent)]
    assert [len(pids) for pids in children] == [1, 1]
    controller.kill()
    said = agent.communicate(timeout=LIMIT_S)[0]
    controller.communicate()
    assert agent.returncode == 4
    assert said.startswith("machine 0 at 127.0.0.1:") and said.count("\n") == 1
    assert are_gone([pid for pids in children for pid in pids])


def test_a_rank_that_cannot_be_started_there_is_said(tmp_path):
    server = open_server()
    agent = start_agent(server.port, tmp_path, program="/no/such/python")
    try:
        server.wait_for_nodes(20, lambda line: None)
        with pytest.raises(WorkerError, match="^rank 1 .* could not be started: .*/no/such/python"):
            start_ranks(server, tmp_path / "here")
    finally:
        server.close({"do": "end"})
        agent.communicate(timeout=LIMIT_S)


def test_machines_that_do_not_come_are_named():
    server = open_server(nodes=3)
    with pytest.raises(InputError, match="^machines 1 and 2 of 3 have not come within 0.2 s"):
        server.wait_for_nodes(0.2, lambda line: None)
    server.close({"do": "end"})


def hello(**fields):
    given = {"node_rank": 1, "nodes": 2, "run": RUN, "cores": [0], "machine": {}, "dataset": None}
    return {**create_hello(TOKEN, VERSION, **given), **fields}


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"token": "guess"}, "its --token is not that of machine 0"),
        ({"token": None}, "its --token is not that of machine 0"),
        ({"version": "0.0.1"}, "it runs version 0.0.1 of the suite and machine 0 runs 1.2.3"),
        ({"protocol": 0}, "install the same on every machine"),
        ({"nodes": 3}, "it is machine 1 of 3 and the run has 2"),
        ({"node_rank": 2}, "it is machine 2 of 2 and the run has 2"),
        ({"run": {**RUN, "batch_size": 16}}, "its batch_size is 16 and on machine 0 8; start"),
        ({"run": {**RUN, "contender 0": {"mode": "graph"}}}, "its contender 0's mode is graph"),
        ({"run": None}, "does not say what it runs"),
    ],
)
def test_a_machine_that_does_not_fit_is_refused_in_a_sentence(fields, words):
    server = open_server()
    try:
        with pytest.raises(InputError, match=f"^machine 0 refuses machine .: .*{words}") as info:
            connect_to_machine_0(Address("127.0.0.1", server.port), hello(**fields), 5)
        assert "\n" not in str(info.value)
        link = connect_to_machine_0(Address("127.0.0.1", server.port), hello(), 5)
        with pytest.raises(InputError, match="machine 1 has come already"):
            connect_to_machine_0(Address("127.0.0.1", server.port), hello(), 5)
        link.close()
    finally:
        server.close({"do": "end"})


def test_machine_0_that_is_not_there_or_another_program_is_said():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = Address(*bound.getsockname())
        with pytest.raises(InputError, match=f"was not reached at --master {address} within 0.1 s"):
            connect_to_machine_0(address, hello(), 0.1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = Address(*other.getsockname())
        threading.Thread(target=answer_otherwise, args=(other,), daemon=True).start()
        with pytest.raises(InputError, match="does not answer as machine 0"):
            connect_to_machine_0(address, hello(), 5)


def answer_otherwise(listener):
    connection, _ = listener.accept()
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    connection.close()


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"[1, 2]\n",
        b"\xff\xfe\x00\n",
        b"[" * 50000 + b"\n",
        b"x" * (node_server.HELLO_BYTES + 1),
        pack({**hello(), "node_rank": "1"}),
        pack({**hello(), "cores": 3}),
        pack(create_hello(TOKEN, VERSION, key=77)),
        b"",
    ],
)
def test_a_stranger_is_sent_away_and_disturbs_nobody(monkeypatch, words):
    monkeypatch.setattr(node_server, "HELLO_S", 0.2)
    server = open_server()
    try:
        stranger = socket.create_connection(("127.0.0.1", server.port))
        stranger.settimeout(5)
        if words:
            stranger.sendall(words)
        try:
            assert stranger.recv(100) == b""
        except ConnectionResetError:
            pass
        stranger.close()
        connect_to_machine_0(Address("127.0.0.1", server.port), hello(), 5).close()
    finally:
        server.close({"do": "end"})
