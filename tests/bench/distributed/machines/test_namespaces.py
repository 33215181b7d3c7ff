"""Two network namespaces joined by a cable of their own are two machines to everything above."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest
from fake_nodes import AGENT, CONTROLLER, are_gone, find_children, start_script
from two_machines import check_run, plan_commands, start, wait

PORT = 29500
ADDRESSES = ["10.213.77.1", "10.213.77.2"]


def ip(*words, check=True):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=check)


@pytest.fixture
def namespaces():
    """Their names and the ends of the cable, which have addresses; loopback is up."""
    if shutil.which("ip") is None:
        pytest.skip("network namespaces are made with ip (iproute2), which is not here")
    names = [f"bench-{os.getpid()}-{number}" for number in range(2)]
    made = ip("netns", "add", names[0], check=False)
    if made.returncode:
        pytest.skip(f"network namespaces cannot be made here: {made.stderr.strip()}")
    try:
        ip("netns", "add", names[1])
        ends = [f"bv{os.getpid()}{side}" for side in "ab"]  # 15 characters at most
        there = ["peer", "name", ends[1], "netns", names[1]]
        ip("link", "add", ends[0], "netns", names[0], "type", "veth", *there)
        for name, end, address in zip(names, ends, ADDRESSES):
            ip("-n", name, "addr", "add", f"{address}/30", "dev", end)
            ip("-n", name, "link", "set", end, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names, ends
    finally:
        for name in names:  # the cable goes with its ends
            ip("netns", "del", name, check=False)


@pytest.mark.slow
@pytest.mark.oneflow
def test_a_run_across_two_network_namespaces_is_that_of_one_process(namespaces, tmp_path):
    names, _ = namespaces
    commands = plan_commands(f"{ADDRESSES[0]}:{PORT}")
    folders = [tmp_path / "zero", tmp_path / "one"]
    processes = [
        start(command, folder, ["ip", "netns", "exec", name])
        for command, folder, name in zip(commands, folders, names)
    ]
    statuses = wait(processes)
    said = [(folder / "said").read_text() for folder in folders]
    assert statuses == [0, 0], said
    nodes = check_run(folders[0] / "run")
    assert [(node["node_rank"], node["address"]) for node in nodes] == [(1, ADDRESSES[1])]
    assert (folders[1] / "run-node-1" / "logs" / "ddp.rank-1.log").exists()
    assert not (folders[1] / "run-node-1" / "data").exists()


@pytest.mark.slow
def test_a_cable_that_is_pulled_ends_both_machines(namespaces, tmp_path):
    names, ends = namespaces
    inside = [["ip", "netns", "exec", name] for name in names]
    controller = start_script(CONTROLLER, tmp_path / "0", prefix=inside[0], host=ADDRESSES[0])
    port = int(controller.stdout.readline())
    given = [port, 1, tmp_path / "1", sys.executable]
    agent = start_script(AGENT, *given, prefix=inside[1], host=ADDRESSES[0])
    try:
        assert controller.stdout.readline() == "asked\n"
        ranks = [pid for each in (controller, agent) for pid in find_children(each.pid)]
        assert len(ranks) == 2
        ip("-n", names[0], "link", "set", ends[0], "down")
        start_s = time.monotonic()
        said = [each.communicate(timeout=20)[0] for each in (controller, agent)]
    finally:
        for each in (controller, agent):
            each.kill()
            each.communicate()
    assert time.monotonic() - start_s < 15
    assert said[0].startswith(f"rank 1 of the worker 'ddp' on machine 1 ({ADDRESSES[1]}) was lost")
    assert "nothing was heard of it for 8 s" in said[0] or "was cut" in said[0]
    assert said[1].startswith("machine 0 at") and agent.returncode == 4
    assert are_gone(ranks)
