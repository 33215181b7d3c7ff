from __future__ import annotations

import numpy as np
import pytest

from oneflow_bench.bench.training.steps.image import score_batches


def test_what_follows_the_last_sample_does_not_count():
    logits = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]])
    labels = np.array([0, 1, 1, 0])
    batches = [(logits[:2], labels[:2]), (logits[2:], labels[2:])]
    correct, loss = score_batches(batches, [3])
    right, wrong = np.log1p(np.exp(-2.0)), np.log1p(np.exp(2.0))
    assert correct == 2
    assert loss == pytest.approx((2 * right + wrong) / 3)
    assert score_batches(batches, [4])[0] == 3


def test_large_logits_do_not_overflow():
    correct, loss = score_batches([(np.array([[1e4, -1e4]]), np.array([1]))], [1])
    assert (correct, loss) == (0, pytest.approx(2e4))


def test_each_reader_counts_its_own_samples_once():
    right, wrong = [4.0, 0.0], [0.0, 4.0]
    # two rows of the first reader, then two of the second; marked rows are another pass
    batches = [
        (np.array([right, right, right, wrong]), np.zeros(4)),
        (np.array([wrong, right, wrong, wrong]), np.zeros(4)),
    ]
    assert score_batches(batches, [3, 2])[0] == 3
    assert score_batches(batches, [4, 2])[0] == 4
    assert score_batches(batches, [3, 4])[0] == 3
    logs = np.log1p(np.exp([-4.0, -4.0, 4.0, -4.0, 4.0]))
    assert score_batches(batches, [3, 2])[1] == pytest.approx(logs.mean())
