"""Entries and the files of wanted values."""

from __future__ import annotations

import numpy as np

from oneflow_bench.bench.parity.result import BATCHES, FORWARD, GRADIENTS
from oneflow_bench.bench.parity.tensors import (
    MISSING_DIGEST,
    Observer,
    digest_array,
    load_values,
)

VALUE = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_a_digest_covers_type_shape_and_values():
    others = [VALUE.reshape(3, 2), VALUE.astype(np.float64), VALUE + 1, VALUE.T]
    assert len({digest_array(x) for x in [VALUE, *others]}) == 5
    assert digest_array(VALUE.T) == digest_array(VALUE.T.copy())
    assert digest_array(np.array(1.0)) != digest_array(np.array(2.0))


def test_only_wanted_values_are_written(tmp_path):
    observer = Observer({FORWARD: ["conv1"], BATCHES: ["step 1 images"]})
    observer.add(FORWARD, "conv1", "Conv2d", VALUE)
    observer.add(FORWARD, "conv2", "Conv2d", VALUE + 1)
    observer.add(BATCHES, "step 1 images", "images", VALUE)
    observer.write(tmp_path / "side")
    entries = observer.take()
    assert [(e.name, e.shape) for e in entries] == [
        ("conv1", [2, 3]),
        ("conv2", [2, 3]),
        ("step 1 images", [2, 3]),
    ]
    assert observer.take() == []
    assert np.array_equal(load_values(tmp_path / "side", FORWARD, "conv1"), VALUE)
    assert load_values(tmp_path / "side", FORWARD, "conv2") is None
    assert load_values(tmp_path / "side", BATCHES, "step 1 images") is None


def test_a_value_is_kept_as_it_was(tmp_path):
    changing = VALUE.copy()
    observer = Observer({GRADIENTS: ["w", "s"]})
    observer.add(GRADIENTS, "w", "gradient", changing)
    observer.add(GRADIENTS, "s", "gradient", np.array(2.5, np.float32))
    changing[:] = 0
    observer.write(tmp_path)
    assert np.array_equal(load_values(tmp_path, GRADIENTS, "w"), VALUE)
    assert load_values(tmp_path, GRADIENTS, "s").shape == ()


def test_what_is_not_there_has_an_entry_of_its_own():
    observer = Observer({})
    observer.add(GRADIENTS, "frozen", "gradient", None)
    (entry,) = observer.take()
    assert entry.digest == MISSING_DIGEST and entry.shape == []
