"""A fresh model knows nothing: its loss is about that of equal probabilities, ln(classes).

Parity cannot see a wrong initialisation, since both modes start from the same weights.
"""

from __future__ import annotations

import math

import numpy as np
import oneflow as flow
import pytest
from oneflow.nn import functional

from oneflow_bench.models import create_model, get_model_spec, list_models

pytestmark = [pytest.mark.oneflow, pytest.mark.slow]

BATCH = 8
SIZES = {"cifar": 32, "imagenet": 64}  # or the smallest that the model takes
# published with N(0, 0.1) in every layer, the last one included
LARGE = {"inception_v3": 2.2, "inception_v3_noaux": 2.2}


@pytest.mark.parametrize("name", list_models())
def test_the_first_loss_is_near_that_of_equal_probabilities(name):
    spec = get_model_spec(name)
    size = max(spec.min_image_size, SIZES[spec.stem])
    flow.manual_seed(0)
    model = create_model(name).train()
    noise = np.random.RandomState(0).standard_normal((BATCH, 3, size, size))
    labels = np.arange(BATCH, dtype=np.int32) * 7 % spec.num_classes
    with flow.no_grad():
        outputs = model(flow.tensor(noise.astype(np.float32)))
    logits = outputs if isinstance(outputs, flow.Tensor) else outputs[0]
    loss = float(functional.cross_entropy(logits, flow.tensor(labels)).numpy())
    assert 0.9 < loss / math.log(spec.num_classes) < LARGE.get(name, 1.2)
