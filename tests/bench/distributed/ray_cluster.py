"""A Ray cluster of two nodes in two network namespaces, joined by a cable of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ADDRESSES = ["10.213.77.1", "10.213.77.2"]
HEAD = f"{ADDRESSES[0]}:6379"
COMMAND = [sys.executable, "-m", "oneflow_bench"]
RANK = "oneflow_bench.bench.distributed.worker"
OBJECT_STORE_BYTES = "80000000"  # the least that Ray takes
# nodes and commands that do not have the token are sent away
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "b" * 64}
ENVIRONMENT = {**os.environ, "RAY_DISABLE_USAGE_STATS": "1", **TOKEN}


def ip(*words, check=True):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=check)


class RayCluster:
    """Namespaces `names`, and Ray in them until `close`."""

    def __init__(self, temporary: Path) -> None:
        self.temporary = temporary
        self.folders = []  # of Ray's sockets and logs
        self.names = [f"bench-{os.getpid()}-{number}" for number in range(2)]
        self.ends = [f"bv{os.getpid()}{side}" for side in "ab"]  # 15 characters at most

    def open(self) -> None:
        for name in self.names:
            ip("netns", "add", name)
        there = ["peer", "name", self.ends[1], "netns", self.names[1]]
        ip("link", "add", self.ends[0], "netns", self.names[0], "type", "veth", *there)
        for name, end, address in zip(self.names, self.ends, ADDRESSES):
            ip("-n", name, "addr", "add", f"{address}/30", "dev", end)
            ip("-n", name, "link", "set", end, "up")
            ip("-n", name, "link", "set", "lo", "up")
        head = ["--head", "--port", "6379", "--include-dashboard", "false"]
        self.start_node(0, *head)
        self.start_node(1, "--address", HEAD)

    def start_node(self, number: int, *words: str, python: str = sys.executable, **variables):
        """`ray start` in a namespace; a short folder, since a socket's path is short."""
        folder = tempfile.mkdtemp(prefix="ray-")
        self.folders.append(folder)
        ray = [python, "-m", "ray.scripts.scripts", "start", *words]
        self.inside(
            number,
            [*ray, "--node-ip-address", ADDRESSES[number], "--num-cpus", "2",
             "--object-store-memory", OBJECT_STORE_BYTES, "--temp-dir", folder,
             "--disable-usage-stats"],
            env={**ENVIRONMENT, **variables},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=120,
        )  # fmt: skip

    def inside(self, number, command, run=subprocess.run, **options):
        options.setdefault("env", ENVIRONMENT)
        return run(["ip", "netns", "exec", self.names[number], *command], **options)

    def find(self, number, word):
        """Processes of a namespace with this word in their command line."""
        found = []
        for pid in ip("netns", "pids", self.names[number]).stdout.split():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if word.encode() in line:
                found.append(int(pid))
        return found

    def find_ranks(self):
        return [pid for number in range(2) for pid in self.find(number, RANK)]

    def wait_for_ranks(self, count, limit_s=90.0):
        """The processes of ranks, once there are so many."""
        end = time.monotonic() + limit_s
        while len(self.find_ranks()) != count and time.monotonic() < end:
            time.sleep(0.1)
        ranks = self.find_ranks()
        assert len(ranks) == count
        return ranks

    def close(self) -> None:
        for name in self.names:
            for pid in ip("netns", "pids", name, check=False).stdout.split():
                subprocess.run(["kill", "-9", pid], stderr=subprocess.DEVNULL)
            ip("netns", "del", name, check=False)  # the cable goes with its ends
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster(tmp_path):
    pytest.importorskip("ray", reason="Ray is the optional extra oneflow-bench[cluster]")
    if shutil.which("ip") is None:
        pytest.skip("network namespaces are made with ip (iproute2), which is not here")
    made = ip("netns", "add", f"bench-try-{os.getpid()}", check=False)
    if made.returncode:
        pytest.skip(f"network namespaces cannot be made here: {made.stderr.strip()}")
    ip("netns", "del", f"bench-try-{os.getpid()}")
    made = RayCluster(tmp_path)
    try:
        made.open()
        yield made
    finally:
        made.close()
