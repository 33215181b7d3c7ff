"""Several labels a picture: the loss that fits, and what cannot be trained."""

from __future__ import annotations

import numpy as np
import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.data import Wishes, import_dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    source = np.random.default_rng(0)
    labels = source.integers(0, 2, (40, 3))
    np.savez(folder / "s.npz", x=source.integers(0, 256, (40, 8, 8), np.uint8), y=labels)
    wishes = Wishes(val_fraction=0.25)
    import_dataset(folder / "s.npz", folder / "set", wishes, parts=2, workers=1)
    return str(folder / "set")


def plan(data, **given):
    return create_plan({"model": "lenet", "data": data, "batch_size": 4, **given})


def test_the_loss_and_the_outputs_are_those_of_several_labels(data):
    work = plan(data).workload
    assert (work.loss, work.num_classes) == ("binary_cross_entropy", 3)
    assert plan(data, loss="binary_cross_entropy").workload == work
    assert plan(data, loss="my_file:loss").workload.loss == "my_file:loss"
    half = plan(data, subset_percent=50)
    assert (half.train_samples, half.dataset.multi_label) == (15, True)


@pytest.mark.parametrize(
    "given, reason",
    [
        ({"loss": "cross_entropy"}, "--loss cross_entropy is for one class a picture"),
        ({"loss": "label_smoothing"}, "give --loss binary_cross_entropy"),
        ({"num_classes": 4}, "has 3 labels a picture"),
        ({"readers": 2}, "in one process"),
    ],
)
def test_other_losses_and_several_readers_are_refused(given, reason, data):
    with pytest.raises(InputError, match=reason):
        plan(data, **given)
