"""Two machines that are one, over loopback."""

from __future__ import annotations

import socket

import pytest
from two_machines import check_run, plan_commands, start, wait


def find_free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
@pytest.mark.oneflow
def test_a_run_on_two_machines_is_that_of_one(tmp_path):
    commands = plan_commands(f"127.0.0.1:{find_free_port()}", "--data", "synthetic")
    folders = [tmp_path / "zero", tmp_path / "one"]
    processes = [start(*each) for each in zip(commands, folders)]
    statuses = wait(processes)
    said = [(folder / "said").read_text() for folder in folders]
    assert statuses == [0, 0], said
    nodes = check_run(folders[0] / "run")
    assert [(node["node_rank"], node["address"]) for node in nodes] == [(1, "127.0.0.1")]
    assert "machine 1 (127.0.0.1) has come" in said[0]
    assert said[1].splitlines()[-1] == "done; the record is on machine 0, in run"
    logs = sorted(path.name for path in (folders[1] / "run-node-1" / "logs").iterdir())
    assert logs == ["ddp.rank-1.log", "graph-dp.rank-1.log"]
