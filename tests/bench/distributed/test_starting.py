"""Groups of real ranks: OneFlow, started without its launcher."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import faulty_rank_worker
import pytest
from rank_faults import is_free, read_address, read_environment, read_pids

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.distributed.placement import CORES as CORES_VARIABLE
from oneflow_bench.bench.distributed.placement import NETWORK_VARIABLE, SHARED, divide_cores
from oneflow_bench.bench.distributed.starting import create_launcher
from oneflow_bench.bench.errors import InputError, WorkerError
from oneflow_bench.bench.worker import process as single
from oneflow_bench.bench.worker.environment import RuntimeResolver

BENCHMARKS = Path(faulty_rank_worker.__file__).resolve().parent
CORES = divide_cores(sorted(os.sched_getaffinity(0)), 2)

# a controller that is killed while its ranks train
CONTROLLER = """
import sys
from pathlib import Path
from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.distributed.starting import create_launcher
from oneflow_bench.bench.worker.environment import RuntimeResolver
contender = Contender.model_validate_json(sys.argv[1])
group = create_launcher(Path(sys.argv[2]), RuntimeResolver(), "faulty_rank_worker")(contender)
group.ask("prepare", 120)
group.send("train", steps=10**9)
print("training", flush=True)
group.receive("train", 600)
"""


def create_contender(tag="", ranks=2, **fields):
    variables = {"PYTHONPATH": str(BENCHMARKS), "FAULT_TAG": tag}
    fields = {"runtime": "stock", "env": {**variables, "OMP_NUM_THREADS": "1"}, **fields}
    return Contender(name="ddp", mode="eager", strategy="ddp", ranks=ranks, **fields)


def start(folder, contender):
    return create_launcher(folder, RuntimeResolver(), "faulty_rank_worker")(contender)


def wait_until_gone(tag, limit_s=60.0):
    end = time.monotonic() + limit_s
    while read_pids(tag) and time.monotonic() < end:
        time.sleep(0.05)
    return read_pids(tag)


def list_listening(process):
    """The inodes of the listening TCP sockets in the network of a process."""
    tables = [Path(f"/proc/{process}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return {row[9] for row in rows if row[3] == "0A"}


@pytest.mark.oneflow
def test_two_ranks_train_one_model_and_leave_nothing(tmp_path):
    tag = "test two ranks"
    group = start(tmp_path, create_contender(tag))
    try:
        address = read_address(read_pids(tag)[0])
        prepared = group.ask("prepare", 120)
        trained = group.ask("train", 60, steps=3)
        listened = {network: list_listening(network) for network in (read_pids(tag)[0], "self")}
        group.ask("end", 60)
    finally:
        group.close()
    assert prepared["rank_cores"] == CORES
    own, host = listened.values()
    permitted = subprocess.run(["unshare", "--user", "--net", "true"]).returncode == 0
    assert own and own.isdisjoint(host) == permitted
    assert len(trained["rank_durations_s"]) == 2
    assert trained["losses"][2] < trained["losses"][0]
    assert read_pids(tag) == []
    assert is_free(address)
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == [
        "ddp.rank-0.log",
        "ddp.rank-1.log",
    ]


@pytest.mark.oneflow
def test_a_rank_that_is_killed_between_two_requests_is_named(tmp_path):
    tag = "test killed"
    group = start(tmp_path, create_contender(tag))
    try:
        group.ask("prepare", 120)
        os.kill(read_pids(tag)[1], signal.SIGKILL)
        with pytest.raises(WorkerError, match="^rank 1 of the worker 'ddp' died in its train turn"):
            group.ask("train", 60, steps=3)
    finally:
        group.close()
    assert read_pids(tag) == []


@pytest.mark.oneflow
def test_a_controller_that_is_killed_leaves_no_rank(tmp_path):
    tag = "test controller"
    controller = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER, create_contender(tag).model_dump_json(), str(tmp_path)],
        stdout=subprocess.PIPE,
    )
    assert controller.stdout.readline() == b"training\n"
    assert len(read_pids(tag)) == 2
    controller.kill()
    controller.communicate()
    assert wait_until_gone(tag) == []


def test_a_port_that_somebody_took_is_one_sentence_before_oneflow_is_imported(
    tmp_path, monkeypatch
):
    monkeypatch.setenv(NETWORK_VARIABLE, "host")
    tag = "test port"
    group = start(tmp_path, create_contender(tag))
    try:
        address = read_address(read_pids(tag)[0])
        with socket.socket() as blocker:
            blocker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            blocker.bind(address)
            blocker.listen()
            with pytest.raises(InputError, match=f"^rank 0 of .* port {address.port} of this"):
                group.ask("prepare", 60)
    finally:
        group.close()
    assert read_pids(tag) == []
    assert SHARED in (tmp_path / "logs" / "ddp.rank-0.log").read_text()


def read_rank_variables(tmp_path, monkeypatch, contender, user=None):
    """The environments that the ranks get; they hang before anything else."""
    tag = contender.env["FAULT_TAG"]
    module = tmp_path / "hang_at_once.py"
    module.write_text("import time\ntime.sleep(600)\n")
    contender = contender.model_copy(update={"env": {**contender.env, "PYTHONPATH": str(tmp_path)}})
    environments = RuntimeResolver(None if user is None else {**os.environ, **user})
    monkeypatch.setattr(
        "oneflow_bench.bench.worker.environment.find_blas_kernel", lambda *given: None
    )
    group = create_launcher(tmp_path, environments, "hang_at_once")(contender)
    try:
        return [read_environment(Path("/proc") / str(pid)) for pid in read_pids(tag)]
    finally:
        group.kill()
        group.close()


def test_each_rank_has_its_place_its_cores_and_as_many_threads(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    contender = create_contender(runtime="tuned", env={"FAULT_TAG": "test environment"})
    ranks = read_rank_variables(tmp_path, monkeypatch, contender)
    assert [(rank["RANK"], rank["WORLD_SIZE"], rank["LOCAL_RANK"]) for rank in ranks] == [
        ("0", "2", "0"),
        ("1", "2", "1"),
    ]
    assert [rank[CORES_VARIABLE] for rank in ranks] == [",".join(map(str, own)) for own in CORES]
    assert [rank["OMP_NUM_THREADS"] for rank in ranks] == [str(len(own)) for own in CORES]
    assert len({rank["MASTER_PORT"] for rank in ranks}) == 1


@pytest.mark.parametrize("whose", ["user", "contender"])
def test_a_number_of_threads_that_was_given_stays(tmp_path, monkeypatch, whose):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    given = {"OMP_NUM_THREADS": "7"}
    env = {"FAULT_TAG": f"test threads of the {whose}"}
    contender = create_contender(
        runtime="tuned", env={**env, **(given if whose == "contender" else {})}
    )
    user = given if whose == "user" else None
    ranks = read_rank_variables(tmp_path, monkeypatch, contender, user)
    assert [rank["OMP_NUM_THREADS"] for rank in ranks] == ["7", "7"]


def test_what_works_on_one_process_refuses_several_ranks(tmp_path):
    launch = single.create_launcher(tmp_path, RuntimeResolver())
    with pytest.raises(InputError, match="'ddp' has 2 ranks, and this command works on one"):
        launch(create_contender())
    assert list(tmp_path.iterdir()) == []


def test_the_controller_of_ranks_imports_no_oneflow():
    modules = ("starting", "cluster", "node")
    code = "".join(f"import oneflow_bench.bench.distributed.{name}\n" for name in modules)
    code += "import sys; sys.exit('oneflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
