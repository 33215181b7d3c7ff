from __future__ import annotations

from contextlib import closing

import pytest

from oneflow_bench.bench.config import Contender, Workload
from oneflow_bench.bench.errors import WorkerError
from oneflow_bench.bench.tools.profile.run import MEMORY_BYTES, choose_buffers, measure_ceilings
from oneflow_bench.bench.tools.profile.steps import Fleet


class Worker:
    def __init__(self, contender, log, fails):
        self.contender, self.log, self.fails = contender, log, fails

    def ask(self, call, timeout_s, **request):
        self.log.append((self.contender, call, request))
        if self.fails == call:
            raise WorkerError("it died")
        return {
            "matmul": [[size, [1.0 * size, 2.0]] for size in request.get("sizes", [])],
            "copy": [[size, [3.0]] for size in request.get("buffer_bytes", [])],
        }

    def kill(self):
        pass

    def close(self):
        self.log.append((self.contender, "close", {}))


def measure(cores, log, fails=None):
    def launch(contender):
        return Worker(contender, log, fails)

    tuned = Contender(name="eager", mode="eager", runtime="tuned", blas="mkl")
    with closing(Fleet(Workload(), [tuned], launch, None, 5.0, lambda *_: None)) as fleet:
        return measure_ceilings(fleet, cores, 2**22)


def test_both_libraries_are_measured_on_one_core_and_on_all():
    log = []
    found = measure(4, log)
    assert {(c.what, c.library, c.threads) for c in found} == {
        ("matmul", "numpy", 1),
        ("matmul", "numpy", 4),
        ("matmul", "oneflow", 1),
        ("matmul", "oneflow", 4),
        ("copy", "numpy", 1),
        ("copy", "numpy", 4),
    }
    assert {c.size for c in found if c.what == "copy"} == {2**22, MEMORY_BYTES}
    started = {contender.name: contender for contender, call, _ in log if call == "close"}
    assert len(started) == 4
    # what is forced on OneFlow's BLAS must not be forced on NumPy's
    assert started["ceilings-numpy-1"].runtime == "stock"
    assert started["ceilings-numpy-1"].blas is None
    assert started["ceilings-oneflow-4"].blas == "mkl"
    assert started["ceilings-oneflow-4"].runtime == "tuned"
    assert started["ceilings-oneflow-1"].env["OPENBLAS_NUM_THREADS"] == "1"
    assert started["ceilings-numpy-4"].env["OMP_NUM_THREADS"] == "4"


def test_a_single_core_is_measured_once():
    assert {c.threads for c in measure(1, [])} == {1}


def test_a_worker_that_dies_is_closed_and_its_error_passes():
    log = []
    with pytest.raises(WorkerError, match="it died"):
        measure(2, log, "measure_oneflow")
    assert log[-1][1] == "close"


@pytest.mark.parametrize(
    "step_bytes, expected",
    [(0, [2**16, MEMORY_BYTES]), (2**20, [2**20, MEMORY_BYTES]), (2**40, [MEMORY_BYTES])],
)
def test_buffers_are_the_step_s_and_memory_s(step_bytes, expected):
    assert choose_buffers(step_bytes) == expected
