"""Ranks find rank 0, or say in one sentence why they do not."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from oneflow_bench.bench.distributed.placement import Address, create_rank_variables, reserve_port
from oneflow_bench.bench.distributed.worker import check_master_port, wait_for_master
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.training.identity import Identity, read_identity


@pytest.fixture
def address():
    address, reserved = reserve_port()
    yield address
    reserved.close()


def listen(address):
    """As OneFlow does, on all addresses and with SO_REUSEADDR."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("", address.port))
    server.listen()
    return server


def test_a_rank_reads_what_it_was_given():
    variables = create_rank_variables(Identity(3, 4), Address("10.0.0.1", 5000), local_rank=1)
    assert read_identity(variables) == (3, 4)
    assert (variables["MASTER_ADDR"], variables["MASTER_PORT"]) == ("10.0.0.1", "5000")
    assert variables["LOCAL_RANK"] == "1"


def test_a_reserved_port_is_rank_0s_and_nobody_elses(address):
    check_master_port(address)
    assert not address.is_listening()
    with listen(address):
        assert address.is_listening()
    with socket.socket() as other, pytest.raises(OSError):
        other.bind(address)  # a program that does not ask to share


def test_a_released_port_is_free():
    address, reserved = reserve_port()
    reserved.close()
    with socket.socket() as other:
        other.bind(address)


def test_two_reservations_have_two_ports(address):
    other, reserved = reserve_port()
    assert other.port != address.port
    reserved.close()


def test_a_port_that_is_taken_is_bad_input(address):
    sentence = f"port {address.port} .*in use.*end the"
    with listen(address), pytest.raises(InputError, match=sentence):
        check_master_port(address)


def test_a_rank_waits_until_rank_0_listens(address):
    opened = []
    timer = threading.Timer(0.3, lambda: opened.append(listen(address)))
    start = time.monotonic()
    timer.start()
    wait_for_master(address)
    timer.join()
    assert opened and time.monotonic() - start >= 0.3
    opened[0].close()


def test_a_rank_that_does_not_reach_rank_0_says_where_and_what_to_check(address):
    words = f"^cannot connect to rank 0 at {address} within 0.2 s; .*firewall"
    with pytest.raises(InputError, match=words):
        wait_for_master(address, 0.2)
