from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.record.machine import read_cpu, read_peak_rss_bytes, read_steal_seconds
from oneflow_bench.bench.record.weight_difference import compare_weights
from oneflow_bench.bench.worker.messages import PrepareRequest, SaveRequest
from oneflow_bench.bench.worker.session import Session, check_device


def test_cuda_is_refused_where_there_is_none():
    check_device("cpu", False)
    check_device("cuda", True)
    with pytest.raises(InputError, match="--device cpu"):
        check_device("cuda", False)


def test_the_machine_is_described_from_proc(tmp_path):
    (tmp_path / "cpuinfo").write_text("model name : X\nflags : avx2 fma\n\nmodel name : Y\n")
    cpu = read_cpu(tmp_path / "cpuinfo")
    assert (cpu["model"], cpu["flags"]) == ("X", ["avx2", "fma"])
    assert read_cpu(tmp_path / "nothing")["flags"] == []
    (tmp_path / "stat").write_text("cpu 1 2 3 4 5 6 7 250 0 0\n")
    assert read_steal_seconds(tmp_path / "stat") == 250 / os.sysconf("SC_CLK_TCK")
    assert read_steal_seconds(tmp_path / "nothing") is None
    (tmp_path / "status").write_text("VmPeak: 9 kB\nVmHWM:   7 kB\n")
    assert read_peak_rss_bytes(tmp_path / "status") == 7 * 1024


def test_weights_are_compared_by_their_floating_point_tensors(tmp_path):
    from safetensors.numpy import save_file

    left = {"w": np.array([3.0, 4.0], np.float32), "count": np.array([1], np.int64)}
    right = {"w": np.array([3.0, 4.5], np.float32), "count": np.array([9], np.int64)}
    save_file(left, str(tmp_path / "l"))
    save_file(right, str(tmp_path / "r"))
    digests = {"eager": "1", "graph": "2"}
    event = compare_weights("eager", "graph", tmp_path / "l", tmp_path / "r", digests)
    assert (event.max_abs, event.mean_abs, event.relative_l2) == (0.5, 0.25, 0.1)
    assert event.largest_in == "w"
    right["w"][0] = np.nan
    save_file(right, str(tmp_path / "r"))
    event = compare_weights("eager", "graph", tmp_path / "l", tmp_path / "r", digests)
    assert event.max_abs is None


@pytest.mark.oneflow
def test_a_rank_without_its_group_is_refused():
    workload = {"model": "lenet", "data": "synthetic", "feed": "memory", "readers": 2}
    about = {"name": "eager", "mode": "eager", "ranks": 2}
    request = {"workload": workload, "contender": about, "steps_per_epoch": 2}
    with pytest.raises(InputError, match="eager has 2 ranks and this process is one of 1; start"):
        Session().prepare(PrepareRequest(**request))


@pytest.mark.oneflow
def test_weights_that_another_drew_are_started_from(tmp_path):
    def prepare(seed, **more):
        workload = {"model": "lenet", "data": "synthetic", "feed": "memory", "seed": seed}
        session = Session()
        about = {"name": "eager", "mode": "eager"}
        request = {"workload": workload, "contender": about, "steps_per_epoch": 2, **more}
        return session, session.prepare(PrepareRequest(**request)).initial_digest

    drew, digest = prepare(1)
    path = str(tmp_path / "initial.safetensors")
    drew.save(SaveRequest(path=path))
    assert prepare(2)[1] != digest
    assert prepare(2, initial_weights=path)[1] == digest


@pytest.mark.parametrize("module", ["worker.session", "distributed.worker", "distributed.starting"])
def test_oneflow_is_not_imported_before_a_worker_times_it(module):
    code = f"import sys, oneflow_bench.bench.{module}; sys.exit('oneflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
