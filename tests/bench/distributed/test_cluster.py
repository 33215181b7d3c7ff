"""Ranks on a Ray cluster of two network namespaces: a run as on one machine, and each fault."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from ray_cluster import ADDRESSES, COMMAND, HEAD

from oneflow_bench.bench.record.events import BlockEvent
from oneflow_bench.bench.record.run import load_record
from oneflow_bench.bench.tools.sweep.document import load_sweep

RUN = ["--model", "lenet", "--batch-size", "8", "--no-speed", "--cluster", HEAD, "--ranks", "2"]
pytestmark = [pytest.mark.slow, pytest.mark.oneflow]


def compare(cluster, folder, *more, data="embedded-digits", steps=6, timeout=200):
    given = [*RUN, "--data", data, "--epochs", "1", "--steps-per-epoch", str(steps), *more]
    return cluster.inside(
        0, [*COMMAND, "compare", *given, "--out", str(folder)],
        run=subprocess.Popen, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def list_losses(record):
    return {
        name: [loss for block in record.of_kind(BlockEvent, name) for loss in block.losses]
        for name in record.contender_names()
    }


@pytest.mark.parametrize("data", ["embedded-digits", "synthetic"])
def test_a_run_across_two_nodes_is_that_of_one_process(cluster, tmp_path, data):
    run = compare(
        cluster, tmp_path / "run", "--contender", "ddp", "--contender", "graph-dp", data=data
    )
    said = run.communicate(timeout=300)
    assert run.returncode == 0, said
    record = load_record(tmp_path / "run")
    losses = list_losses(record)
    for name in ("ddp", "graph-dp"):
        assert losses[name] == pytest.approx(losses["eager"], rel=1e-6) and len(losses[name]) == 6
    nodes = record.document.environment_start["nodes"]
    assert sorted(node["address"] for node in nodes) == ADDRESSES
    assert cluster.find_ranks() == []
    assert not list((tmp_path / "run").glob("node-*"))


# the fault, the words of the error, and the seconds that Ray may take to notice
def kill_rank(cluster, ranks):
    os.kill(ranks[1], signal.SIGKILL)


def kill_actor(cluster, ranks):
    os.kill(int(cluster_parent(ranks[1])), signal.SIGKILL)


def cluster_parent(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[1]


def kill_raylet(cluster, ranks):
    os.kill(cluster.find(1, "raylet/raylet")[0], signal.SIGKILL)


def kill_head(cluster, ranks):
    for pid in cluster.find(0, "gcs_server"):
        os.kill(pid, signal.SIGKILL)


def stop_rank(cluster, ranks):
    os.kill(ranks[1], signal.SIGSTOP)


@pytest.mark.parametrize(
    "fault, words, limit_s",
    [
        (kill_rank, ["rank", "died in its train turn", "ended by SIGKILL"], 12),
        (kill_actor, ["was lost in its train turn", "Ray says"], 20),
        (kill_raylet, [f"on node {ADDRESSES[1]} was lost", "Ray says"], 40),
        (kill_head, ["the head of the Ray cluster", "does not answer"], 20),
        (stop_rank, ["gave no answer to the train turn within 25 s"], 60),
    ],
)
def test_a_fault_ends_the_run_and_names_the_node(cluster, tmp_path, fault, words, limit_s):
    more = ["--contender", "ddp", "--timeout", "25"]
    run = compare(cluster, tmp_path / "run", *more, data="synthetic", steps=1_000_000)
    try:
        ranks = cluster.wait_for_ranks(2)
        wait_for_blocks(tmp_path / "run")
        fault(cluster, ranks)
        start_s = time.monotonic()
        _, said = run.communicate(timeout=limit_s)
    finally:
        run.kill()
        run.communicate()
    took_s = time.monotonic() - start_s
    assert run.returncode == 4, said
    for word in words:
        assert word in said, (said, took_s)
    assert "on node 10.213.77." in said or fault is stop_rank
    assert "Traceback" not in said
    record = load_record(tmp_path / "run")
    assert record.document.status == "failed" and len(list_losses(record)["ddp"]) > 0
    end = time.monotonic() + 15
    while cluster.find_ranks() and time.monotonic() < end:
        time.sleep(0.2)
    assert cluster.find_ranks() == []


def wait_for_blocks(folder, limit_s=120):
    """Until the ranks have trained, so that the fault meets a step."""
    samples = folder / "samples.jsonl"
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if samples.exists() and samples.read_text().count('"contender":"ddp"') > 3:
            return
        time.sleep(0.2)
    raise AssertionError("no rank has trained")


def test_a_cluster_without_room_is_refused_in_one_sentence(cluster, tmp_path):
    run = compare(cluster, tmp_path / "run", "--contender", "ddp,ranks=16", "--batch-size", "16")
    _, said = run.communicate(timeout=200)
    assert run.returncode == 2, said
    assert "contenders of" in said or "has no place for 16 ranks" in said


def test_nothing_that_answers_is_refused_at_once(tmp_path):
    given = ["--ranks", "2", "--contender", "ddp", "--cluster", "127.0.0.1:1", "--no-speed"]
    done = subprocess.run(
        [*COMMAND, "compare", *given, "--out", str(tmp_path / "run")],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no Ray cluster answers at --cluster 127.0.0.1:1" in done.stderr
    assert not (tmp_path / "run").exists()


def sweep(cluster, folder):
    given = ["sweep", "--model", "lenet", "--batch-size", "4,8,16", "--data"]
    given += ["synthetic", "--epochs", "1", "--steps-per-epoch", "60", "--cluster", HEAD]
    return cluster.inside(
        0, [*COMMAND, *given, "--out", str(folder)],
        run=subprocess.Popen, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_sweep_runs_a_cell_a_node_and_survives_the_loss_of_one(cluster, tmp_path):
    folder = tmp_path / "sweep"
    run = sweep(cluster, folder)
    cells = "oneflow_bench.bench.worker.session"
    end = time.monotonic() + 120
    while not cluster.find(1, cells) and time.monotonic() < end:
        time.sleep(0.1)
    assert cluster.find(1, cells), "no cell ran on node 1"
    kill_raylet(cluster, [])
    _, said = run.communicate(timeout=300)
    assert run.returncode in (0, 3), said
    document = load_sweep(folder)
    assert document.status == "complete"
    assert [cell.result.status for cell in document.cells] == ["done"] * 3
    assert all((folder / cell.result.record / "samples.jsonl").exists() for cell in document.cells)
    assert f"node {ADDRESSES[1]} is lost" in said
    assert not list(folder.glob("node-*"))


@pytest.mark.parametrize("missing", ["oneflow_bench", "oneflow"])
def test_a_node_that_lacks_a_package_is_named(cluster, tmp_path, missing):
    os.kill(cluster.find(1, "raylet/raylet")[0], signal.SIGKILL)
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(HIDE.replace("NAME", missing))
    cluster.start_node(1, "--address", HEAD, PYTHONPATH=str(tmp_path / "hidden"))
    run = compare(cluster, tmp_path / "run", "--contender", "ddp", data="synthetic")
    _, said = run.communicate(timeout=200)
    assert run.returncode == 2, said
    assert f"node {ADDRESSES[1]} of the cluster" in said and "install oneflow-bench" in said
    assert "Traceback" not in said and not (tmp_path / "run").exists()


# an interpreter that has a package no more, for `import` and for its metadata alike
HIDE = """
import sys
from importlib import metadata
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name == "NAME":
            raise ModuleNotFoundError("No module named 'NAME'", name="NAME")
sys.meta_path.insert(0, Hide())
known = metadata.version
def version(name):
    if name == "NAME":
        raise metadata.PackageNotFoundError(name)
    return known(name)
metadata.version = version
"""
