from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from oneflow_bench.bench.tools.tune.fidelity import (
    Trained,
    judge_fidelity,
    measure_loss_difference,
    needs_perturbed_runs,
)

LOSSES = (1.0, 0.5, 0.25)
COUNT = 1000


def train(folder, name, error=0.0, losses=LOSSES, dtype="float32", seed=0, **more):
    """What a process trained whose weights are off by `error`, relative, at random."""
    source = np.random.RandomState(5)
    exact = 1.0 + source.rand(COUNT)
    noise = np.random.RandomState(seed).uniform(-error, error, COUNT)
    path = folder / f"{name}.safetensors"
    tensors = {"w": (exact * (1 + noise)).astype(dtype), "count": np.array(3)}
    tensors.update(more.pop("tensors", {}))
    save_file(tensors, str(path))
    return Trained(losses, more.pop("labels", "l"), more.pop("images", "i"), name, path)


def test_equal_bits_are_identical_and_need_no_weights():
    stock = Trained(LOSSES, "l", "i", "d")
    found = judge_fidelity(stock, Trained(LOSSES, "l", "i", "d"))
    assert found.verdict == "identical" and found.level is None and found.loss_difference == 0


def test_rounding_is_told_by_the_reference(tmp_path):
    stock = train(tmp_path, "stock", 2e-7, seed=1)
    other = train(tmp_path, "other", 3e-7, seed=2)
    reference = train(tmp_path, "reference", dtype="float64")
    found = judge_fidelity(stock, other, reference)
    assert found.verdict == "equal within rounding" and found.level == "trained"
    assert found.error_ratio < 1 and "last bits" in found.reason


@pytest.mark.parametrize("with_reference", [True, False])
def test_weights_that_are_off_are_different_and_the_level_is_named(tmp_path, with_reference):
    stock = train(tmp_path, "stock", 1e-7, seed=1)
    other = train(tmp_path, "other", 1e-4, seed=2)
    reference = train(tmp_path, "reference", dtype="float64") if with_reference else None
    found = judge_fidelity(stock, other, reference)
    assert found.verdict == "different" and found.level == "trained"
    assert found.reason.startswith("w: error") and needs_perturbed_runs(found)


def test_a_rounding_that_grows_in_a_perturbed_run_too_is_no_difference(tmp_path):
    stock = train(tmp_path, "stock", 1e-7, seed=1)
    other = train(tmp_path, "other", 1e-5, seed=2)
    reference = train(tmp_path, "reference", dtype="float64")
    perturbed = train(tmp_path, "perturbed", 1e-5, seed=3)
    assert judge_fidelity(stock, other, reference).verdict == "different"
    assert judge_fidelity(stock, other, reference, [perturbed]).verdict == "equal within rounding"


def test_the_losses_come_before_the_weights(tmp_path):
    stock = train(tmp_path, "stock")
    other = train(tmp_path, "other", 1e-3, losses=(1.0, 0.6, 0.25))
    found = judge_fidelity(stock, other, train(tmp_path, "r", dtype="float64"))
    assert found.level == "loss curve" and found.reason.startswith("losses to step 2")
    assert found.loss_difference == pytest.approx(0.2)


def test_losses_alone_can_differ(tmp_path):
    stock = Trained(LOSSES, "l", "i", "d")
    found = judge_fidelity(stock, Trained((1.0, 0.5, 0.3), "l", "i", "d"))
    assert found.verdict == "different" and found.level == "loss curve"


@pytest.mark.parametrize("more", [{"labels": "x"}, {"images": "x"}])
def test_other_batches_are_no_parity_at_all(tmp_path, more):
    found = judge_fidelity(train(tmp_path, "stock"), train(tmp_path, "stock2", **more))
    assert found.level == "batches" and found.verdict == "different"


def test_images_inside_a_graph_cannot_be_held_against_others(tmp_path):
    stock = Trained(LOSSES, "l", "i", "d")
    assert judge_fidelity(stock, Trained(LOSSES, "l", None, "d")).verdict == "identical"


def test_a_counter_that_differs_is_different(tmp_path):
    stock = train(tmp_path, "stock")
    other = train(tmp_path, "other", tensors={"count": np.array(4)})
    found = judge_fidelity(stock, other)
    assert found.verdict == "different" and found.reason == "count: other values of int64 and int64"


def test_a_tensor_that_is_missing_is_different(tmp_path):
    stock = train(tmp_path, "stock", tensors={"more": np.ones(2, np.float32)})
    found = judge_fidelity(stock, train(tmp_path, "other"))
    assert found.verdict == "different" and "not there" in found.reason


def test_losses_that_are_not_finite(tmp_path):
    stock = Trained((1.0, None), "l", "i", "d")
    assert measure_loss_difference(stock, Trained((1.0, None), "l", "i", "d")) is None
    assert judge_fidelity(stock, Trained((1.0, None), "l", "i", "d")).verdict == "identical"
    assert judge_fidelity(stock, Trained((1.0, 2.0), "l", "i", "d")).verdict == "different"
