from __future__ import annotations

import pytest
from doctor_measurements import create_machine
from doctor_workers import FakeDoctor, FakeResolver

from oneflow_bench.bench.errors import WorkerError, WorkerTimeout
from oneflow_bench.bench.tools.doctor import run
from oneflow_bench.bench.tools.doctor.diagnosis import ProfiledStep
from oneflow_bench.bench.tools.doctor.product_checks import PRELOADED
from oneflow_bench.bench.tools.doctor.run import MOST_ROUNDS, Measurement
from oneflow_bench.bench.tools.doctor.runtime_checks import WORKER_BYTES

AVX2 = create_machine(usable_cores=2)


def measure(
    doctor,
    base=None,
    runtime="tuned",
    machine=AVX2,
    deadline_s=100.0,
    stock="Haswell",
    profiled=None,
):
    base = base or {}
    busy = []
    measurement = Measurement(
        "python",
        runtime,
        base,
        doctor.launch,
        FakeResolver(base, stock),
        deadline_s,
        lambda *progress: None,
        lambda: busy.append(doctor.clock.now),
        doctor.clock,
        profiled,
    )
    reading = measurement.run(machine)
    assert len(busy) <= 1
    return reading


def test_everything_is_measured_and_every_variant_has_its_turns():
    doctor = FakeDoctor({"scheduler": 0.02})
    reading = measure(doctor)
    assert not reading.failures and len(reading.rounds) == MOST_ROUNDS
    variants = {"control", "onednn", "scheduler", "huge_pages"}
    assert all(set(round_.variants) == variants for round_ in reading.rounds)
    assert reading.rounds[0].variants["scheduler"].step_s == pytest.approx(0.02)
    assert reading.matmul_flops_per_s == 9e10 and reading.numpy_flops_per_s == 1e11
    assert set(reading.operators_s) == {"examined", "onednn"}
    assert reading.memory is not None and reading.threads is not None
    assert doctor.order[:2] == ["import", "numpy"]


def test_each_process_has_its_own_environment():
    doctor = FakeDoctor()
    reading = measure(
        doctor, {"OPENBLAS_CORETYPE": "Prescott", "OMP_NUM_THREADS": "1", "PATH": "/bin"}
    )
    environments = {name: worker.environment for name, worker in doctor.workers.items()}
    assert environments["import"]["OPENBLAS_CORETYPE"] == "Prescott"
    assert "OPENBLAS_CORETYPE" not in environments["numpy"]
    assert environments["numpy"]["OPENBLAS_NUM_THREADS"] == "1"
    assert environments["examined"] == environments["control"]
    assert environments["examined"]["OPENBLAS_CORETYPE"] == "Prescott"
    assert environments["blas"]["OPENBLAS_CORETYPE"] == "Haswell"
    assert environments["threads"]["OMP_NUM_THREADS"] == "2"
    assert environments["onednn"]["ONEFLOW_ENABLE_ONEDNN_OPTS"] == "1"
    assert "PATH" not in reading.variables and reading.variables["OMP_NUM_THREADS"] == "1"
    assert reading.changes["blas"] == {"OPENBLAS_CORETYPE": "Haswell"}


def test_stock_is_examined_as_it_is():
    doctor = FakeDoctor()
    reading = measure(doctor, {"PATH": "/bin"}, "stock", stock="Barcelona")
    assert doctor.workers["examined"].environment == {"PATH": "/bin"}
    assert doctor.workers["onednn"].environment["ONEFLOW_ENABLE_ONEDNN_OPTS"] == "0"
    assert (reading.kernel, reading.stock_kernel) == ("Barcelona", "Barcelona")
    assert "blas" in doctor.workers


def test_without_oneflow_nothing_else_is_started():
    doctor = FakeDoctor(fail={"import": {"import_oneflow": {"error": "ImportError: no"}}})
    reading = measure(doctor)
    assert reading.imported.error == "ImportError: no" and reading.kernel is None
    assert doctor.order == ["import"] and not reading.failures


@pytest.mark.parametrize(
    "answer, error, crashed",
    [
        ({"error": "ImportError: x"}, "ImportError: x", False),
        (
            WorkerError("died", "last words", -11),
            "the process died (ended by SIGSEGV); its last line: last words",
            True,
        ),
    ],
)
def test_a_failed_import_is_read(answer, error, crashed):
    reading = measure(FakeDoctor(fail={"import": {"import_oneflow": answer}}))
    assert reading.imported.error == error and not reading.failures
    assert reading.imported.log_tail == ("last words" if crashed else "")


def test_a_crash_leaves_the_other_measurements():
    died = WorkerError("died", "illegal instruction", -4)
    doctor = FakeDoctor(fail={"examined": {"measure_matrix_product": died}})
    reading = measure(doctor)
    assert reading.matmul_flops_per_s is None and len(reading.rounds) == MOST_ROUNDS
    (failure,) = reading.failures
    assert failure.crashed and failure.measurement == "matrix product"
    assert doctor.order.count("examined") == 2


def test_a_variant_that_does_not_run_only_misses_its_turns():
    doctor = FakeDoctor(fail={"huge_pages": {"build_model": WorkerError("died", "", -6)}})
    reading = measure(doctor)
    assert "huge_pages" not in reading.rounds[0].variants
    assert not any(failure.crashed for failure in reading.failures)


def test_when_time_is_up_the_rest_is_unknown():
    reading = measure(FakeDoctor(), deadline_s=3.0)
    assert 0 < len(reading.rounds) < MOST_ROUNDS
    assert "train steps in 5 rounds" in {failure.measurement for failure in reading.failures}
    late = FakeDoctor(fail={"import": {"import_oneflow": WorkerTimeout("late")}})
    reading = measure(late)
    assert reading.imported is None
    assert [(f.measurement, f.crashed) for f in reading.failures] == [("import oneflow", False)]


def test_an_interpreter_that_cannot_say_its_versions_is_examined_all_the_same():
    reading = measure(FakeDoctor(fail={"import": {"identify": WorkerError("died")}}))
    assert reading.identity is None and reading.rounds
    reading = measure(FakeDoctor(fail={"import": {"identify": {"error": "KeyError"}}}))
    assert reading.identity is None and reading.failures[0].reason == "KeyError"
    reading = measure(FakeDoctor(fail={"numpy": {"measure_numpy_product": WorkerError("died")}}))
    assert reading.numpy_flops_per_s is None and reading.rounds


def test_what_memory_has_no_room_for_is_given_up_and_said():
    machine = create_machine(usable_cores=2, available_bytes=3 * WORKER_BYTES)
    reading = measure(FakeDoctor(), machine=machine)
    assert set(reading.rounds[0].variants) == {"control", "onednn"}
    given_up = {failure.measurement for failure in reading.failures}
    assert given_up == {"train steps (scheduler)", "train steps (huge_pages)"}
    alone = measure(FakeDoctor(), machine=create_machine(available_bytes=0))
    assert set(alone.operators_s) == {"examined"} and alone.rounds[0].variants == {}


def test_the_products_of_a_profile_are_measured_in_both_environments(monkeypatch):
    changes = {PRELOADED: {"LD_PRELOAD": "/lib/libmkl_rt.so.2"}}
    monkeypatch.setattr(run, "plan_preload", lambda environment, python: changes)
    step = ProfiledStep(
        model="lenet", mode="eager", batch="", step_s=0.1, shapes=[[0] * 6] * 2, counts=[3, 1]
    )
    reading = measure(FakeDoctor(), profiled=step)
    assert reading.products_s == pytest.approx({"examined": 0.05, "preloaded": 0.025})
    assert reading.profiled == step and not reading.failures
    monkeypatch.setattr(run, "plan_preload", lambda environment, python: {})
    assert set(measure(FakeDoctor(), profiled=step).products_s) == {"examined"}
    failing = FakeDoctor(fail={"examined": {"measure_products": {"error": "RuntimeError: no"}}})
    reading = measure(failing, profiled=step)
    assert reading.products_s == {} and reading.failures[0].measurement == "products"
