"""Every registered model: shapes, modes, a state_dict round trip, one step eagerly and as a graph.

The assertions about one model share what `registry_cases.examine` found out in a worker process.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import registry_cases

from oneflow_bench.blas_kernel import find_blas_kernel
from oneflow_bench.models import get_model_spec, list_models
from oneflow_bench.runtime import create_tuned_variables

pytestmark = pytest.mark.oneflow

WORKERS = 2
LOSS_TOLERANCE = 1e-6  # relative, of the first step
# relative to the length of the whole update: the order of summation differs
UPDATE_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def pending(request):
    """A future for each model that a chosen test asks for, in the order of the tests."""
    environment = dict(os.environ)
    kernel = find_blas_kernel(sys.executable, environment)
    variables = create_tuned_variables(environment, kernel)
    variables["OMP_NUM_THREADS"] = "1"
    chosen = [item for item in request.session.items if item.path == request.path]
    names = dict.fromkeys(item.callspec.params["case"] for item in chosen)
    pool = ProcessPoolExecutor(
        WORKERS,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=registry_cases.set_environment,
        initargs=(variables,),
    )
    with pool:
        futures = {name: pool.submit(registry_cases.examine, name) for name in names}
        yield futures
        for future in futures.values():
            future.cancel()


@pytest.fixture(scope="module", params=list_models())
def case(request, pending):
    return pending[request.param].result()


def test_evaluation_gives_logits_and_a_state_dict_round_trip_keeps_them(case):
    assert case.evaluated[0].shape == (case.batch, registry_cases.CLASSES)
    assert np.isfinite(case.evaluated[0]).all()
    assert len(np.unique(case.evaluated[0], axis=0)) == case.batch
    assert np.array_equal(*case.evaluated)


def test_training_gives_an_output_for_each_head(case):
    assert case.output_shapes == [(case.batch, registry_cases.CLASSES)] * case.num_heads


def test_a_step_has_the_same_loss_eagerly_and_as_a_graph(case):
    assert np.isfinite(case.losses["eager"])
    assert case.losses["graph"] == pytest.approx(case.losses["eager"], rel=LOSS_TOLERANCE)


def test_a_step_has_the_same_effect_eagerly_and_as_a_graph(case):
    assert case.update > 0
    assert case.apart < UPDATE_TOLERANCE * case.update


def test_the_smallest_image_size_is_the_smallest(case, request):
    assert case.min_size_error is None
    if get_model_spec(request.node.callspec.params["case"]).min_image_size > 1:
        assert "too small" in case.smaller_size_error
