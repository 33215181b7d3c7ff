"""Every registered model: shapes, modes, a state_dict round trip, one step eagerly and as a graph.

The assertions about one model share what `registry_cases.examine` found out in a worker process,
which conftest.py starts beside the tests before.
"""

from __future__ import annotations

import numpy as np
import pytest
import registry_cases

from oneflow_bench.models import get_model_spec, list_models

pytestmark = pytest.mark.oneflow

LOSS_TOLERANCE = 1e-6  # relative, of the first step
# relative to the length of the whole update: the order of summation differs
UPDATE_TOLERANCE = 1e-4


FAST_MODELS = ["alexnet_cifar", "lenet", "resnet20"]  # the others have a tier of their own


def mark_slow(name):
    return name if name in FAST_MODELS else pytest.param(name, marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=[mark_slow(name) for name in list_models()])
def case(request, examined):
    return examined(request.param)


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
