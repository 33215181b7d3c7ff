from __future__ import annotations

import pytest
from doctor_measurements import ask, create_measured, create_rounds, create_threads

from oneflow_bench.bench.tools.doctor import product_checks
from oneflow_bench.bench.tools.doctor.diagnosis import EXAMINED, ProfiledStep
from oneflow_bench.bench.tools.doctor.product_checks import (
    PRELOADED,
    PRODUCT_CHECKS,
    PROFILE_CHECKS,
    plan_preload,
    product_cores,
)

FOUND = {PRELOADED: {"LD_PRELOAD": "/lib/libmkl_rt.so.2", "BENCH_BLAS": "/lib/libmkl_rt.so.2"}}


def check(changes=FOUND, **runtime):
    return ask(PRODUCT_CHECKS, runtime={"changes": changes, **runtime})["product_cores"]


def test_a_blas_that_makes_the_step_faster_is_a_finding_with_its_flag():
    found = check(rounds=create_rounds(preloaded=0.02))
    assert found.status == "attention" and found.remedy == "--blas /lib/libmkl_rt.so.2"
    assert found.step_time_factor == pytest.approx(1.5, abs=0.01)
    assert "runs on 1 of 4 usable cores; a step takes 1.5" in found.evidence


@pytest.mark.parametrize("step_s, ratio", [(0.0298, "1.01"), (0.06, "0.50")])
def test_a_blas_that_gains_nothing_is_none(step_s, ratio):
    found = check(rounds=create_rounds(preloaded=step_s))
    assert found.status == "ok" and not found.remedy
    assert f"takes {ratio} times as long as with libmkl_rt.so.2" in found.evidence


def test_without_another_blas_the_cores_are_told():
    found = check(changes={})
    assert found.status == "ok" and found.evidence.endswith("; no other BLAS was found")
    assert found.measured == {"product_cores": 1, "usable_cores": 4}


def test_too_few_turns_are_unknown():
    assert check(rounds=create_rounds(preloaded=0.02, count=2)).status == "unknown"
    assert product_cores(create_measured(runtime={"threads": None})).attention is None


def test_every_thread_that_multiplies_is_counted_without_the_scheduler():
    times = create_threads()
    product = times.product.model_copy(update={"threads_s": {"1": 0.3, "2": 0.29, "3": 0.2}})
    times = times.model_copy(update={"product": product})
    assert check(changes={}, threads=times).measured["product_cores"] == 2
    resting = {"ONEFLOW_VM_COMPUTE_ON_WORKER_THREAD": "0"}
    assert check(changes={}, threads=times, variables=resting).measured["product_cores"] == 3


def test_the_variant_preloads_what_is_found_unless_the_user_preloads(tmp_path, monkeypatch):
    library = tmp_path / "libmkl_rt.so.2"
    library.touch()
    assert plan_preload({}, "python") == {}
    monkeypatch.setattr(product_checks, "list_found", lambda python, environment: ["mkl"])
    monkeypatch.setattr(product_checks, "find_blas", lambda name, python, environment: library)
    changes = {"LD_PRELOAD": str(library), "BENCH_BLAS": str(library)}
    assert plan_preload({"A": "1"}, "python") == {PRELOADED: changes}
    assert plan_preload({"LD_PRELOAD": "/mine.so"}, "python") == {}


STEP = ProfiledStep(
    model="resnet18", mode="graph", batch="batch 4, 64 px", step_s=0.1, shapes=[], counts=[]
)


def predict(seconds, changes=FOUND):
    runtime = {"changes": changes, "profiled": STEP, "products_s": seconds}
    return ask(PROFILE_CHECKS, runtime=runtime)["model_products"]


def test_a_step_is_predicted_with_the_products_of_another_blas():
    found = predict({EXAMINED: 0.06, PRELOADED: 0.02})
    assert found.status == "attention" and found.step_time_factor == pytest.approx(0.1 / 0.06)
    assert "products take 60% of a step of resnet18, graph, batch 4, 64 px" in found.evidence
    assert "with libmkl_rt.so.2 a step is predicted to be 1.67 times as fast" in found.evidence
    assert found.consequence == "products are 3.00 times as fast with libmkl_rt.so.2"
    assert found.remedy.startswith("--blas /lib/libmkl_rt.so.2, if `bench compare` confirms")


def test_a_step_with_few_products_gains_little():
    assert predict({EXAMINED: 0.06, PRELOADED: 0.06}).status == "ok"
    found = predict({EXAMINED: 0.01, PRELOADED: 0.001})  # ten times as fast, of a tenth
    assert found.status == "ok" and found.measured["predicted_factor"] < 1.1


@pytest.mark.parametrize(
    "seconds, changes, said",
    [
        ({EXAMINED: 0.06}, {}, "no other BLAS was found"),
        ({EXAMINED: 0.06}, FOUND, "those of libmkl_rt.so.2 were not measured"),
        ({EXAMINED: 0.1, PRELOADED: 0.1}, FOUND, "not of this machine or this runtime"),
        ({}, FOUND, "the products of the profile were not measured"),
    ],
)
def test_what_was_not_measured_is_not_predicted(seconds, changes, said):
    found = predict(seconds, changes)
    assert found.status == ("ok" if not changes else "unknown") and said in found.evidence
