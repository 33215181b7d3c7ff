from __future__ import annotations

import pytest
from doctor_measurements import ask, create_import, create_rounds, create_threads

from oneflow_bench.bench.tools.doctor.diagnosis import MemoryMeasurements
from oneflow_bench.bench.tools.doctor.runtime_checks import RUNTIME_CHECKS, is_set


def check(machine=None, **changes):
    return ask(RUNTIME_CHECKS, machine, runtime=changes)


def attention(found):
    return [name for name, c in found.items() if c.status == "attention"]


def test_a_runtime_with_everything_right_has_no_finding():
    found = check()
    assert {c.status for c in found.values()} == {"ok"}
    assert "stock would use Barcelona" in found["blas_kernel"].evidence
    assert "a reduction ran on 2 threads" in found["threads"].evidence
    assert "bias add 10, softmax 0.5" in found["onednn"].evidence


def test_a_kernel_without_avx2_is_found_with_what_it_costs():
    found = check(
        kernel="Prescott",
        matmul_flops_per_s=1e10,
        rounds=create_rounds(step_s=0.06, control=0.06, onednn=0.12, scheduler=0.06,
                             huge_pages=0.06, blas=0.02),
    )  # fmt: skip
    assert attention(found) == ["blas_kernel", "matmul_rate"]
    kernel, rate = found["blas_kernel"], found["matmul_rate"]
    assert kernel.remedy == rate.remedy == "OPENBLAS_CORETYPE=Haswell"
    assert kernel.step_time_factor == pytest.approx(3.0, rel=0.01)
    assert "10.0 times as long as NumPy's" in rate.consequence


def test_a_kernel_without_avx2_is_found_without_any_turn():
    found = check(kernel="Barcelona", rounds=[], runtime="stock")
    assert attention(found) == ["blas_kernel"]
    assert found["blas_kernel"].step_time_factor is None
    assert "--runtime tuned sets it" in found["blas_kernel"].remedy


def test_a_slow_product_on_a_good_kernel_is_found_too():
    found = check(matmul_flops_per_s=4.4e10)
    assert attention(found) == ["matmul_rate"]
    assert "Zen or SkylakeX" in found["matmul_rate"].remedy
    assert attention(check(matmul_flops_per_s=5e10)) == []  # AVX2 against AVX-512


def test_a_thread_limit_is_found_also_where_it_costs_nothing():
    found = check(
        variables={"OMP_NUM_THREADS": "1", "ONEFLOW_ENABLE_ONEDNN_OPTS": "0"},
        rounds=create_rounds(threads=0.03),
    )
    assert attention(found) == ["threads"]
    assert found["threads"].remedy == "OMP_NUM_THREADS=4"
    assert found["threads"].step_time_factor == pytest.approx(1.0, rel=0.01)


def test_a_reduction_that_stays_on_one_thread_is_found():
    assert attention(check(threads=create_threads(pool=1))) == ["threads"]
    one_core = {"usable_cores": 1}
    variables = {"OMP_NUM_THREADS": "1", "ONEFLOW_ENABLE_ONEDNN_OPTS": "0"}
    assert attention(check(one_core, threads=create_threads(pool=1), variables=variables)) == []


def test_onednn_is_a_finding_where_the_step_is_slower_with_it():
    found = check(
        variables={"OMP_NUM_THREADS": "4", "ONEFLOW_ENABLE_ONEDNN_OPTS": "1"},
        rounds=create_rounds(onednn=0.015),
    )
    assert attention(found) == ["onednn"]
    assert found["onednn"].remedy == "ONEFLOW_ENABLE_ONEDNN_OPTS=0"
    assert "bias add 0.1, softmax 2" in found["onednn"].evidence


def test_the_spinning_is_a_finding_where_it_costs_time():
    assert attention(check(rounds=create_rounds(scheduler=0.02))) == ["scheduler"]
    off = {"ONEFLOW_VM_COMPUTE_ON_WORKER_THREAD": "0", "OMP_NUM_THREADS": "4"}
    assert "none spins" in check(variables=off)["scheduler"].evidence


def test_what_is_too_unsteady_to_tell_is_unknown_and_marked():
    rounds = create_rounds(scheduler=0.02) + create_rounds(scheduler=0.04, count=1)
    found = check(rounds=rounds)
    assert attention(found) == []
    scheduler = found["scheduler"]
    assert scheduler.status == "unknown" and scheduler.inconclusive
    assert "(0.75 to 1.51) times as long as otherwise: too unsteady" in scheduler.evidence
    assert not any(c.inconclusive for c in found.values() if c.name != "scheduler")


def test_page_faults_are_a_finding_where_they_fill_the_step():
    found = check(
        rounds=create_rounds(minor_faults=6000), memory=MemoryMeasurements(page_fault_s=1e-6)
    )
    assert attention(found) == ["allocator"]
    assert found["allocator"].step_time_factor == pytest.approx(1.25, rel=0.01)
    assert "6000.0 page faults a step" in found["allocator"].evidence


def test_huge_pages_are_a_finding_where_asking_for_them_pays():
    found = check(rounds=create_rounds(huge_pages=0.02))
    assert attention(found) == ["huge_pages"]
    assert found["huge_pages"].remedy == "GLIBC_TUNABLES=glibc.malloc.hugetlb=1"
    assert check({"huge_pages": "always"}, rounds=[])["huge_pages"].status == "ok"
    for mode in ("never", "madvise", None):
        assert check({"huge_pages": mode}, rounds=[])["huge_pages"].status == "unknown"


def test_without_oneflow_all_is_unknown_and_says_why():
    found = check(
        imported=create_import(error="ImportError: no"),
        kernel=None,
        numpy_flops_per_s=None,
        matmul_flops_per_s=None,
        threads=None,
        operators_s={},
        memory=None,
        rounds=[],
        variables={},
    )
    assert {c.status for c in found.values()} == {"unknown"}
    assert all("not" in c.evidence for c in found.values())
    assert sum(c.evidence == "OneFlow was not imported" for c in found.values()) == 6


@pytest.mark.parametrize(
    "value, expected", [(None, True), ("1", True), ("true", True), ("0", False), ("off", False)]
)
def test_switches_are_read_as_oneflow_reads_them(value, expected):
    assert is_set({} if value is None else {"X": value}, "X") is expected
