from __future__ import annotations

import numpy as np
import pytest

from oneflow_bench.bench.training.steps.scoring import (
    average_precision,
    score_batches,
    score_labels,
)


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


def test_the_loss_of_several_labels_is_the_mean_binary_cross_entropy():
    logits, labels = np.array([[2.0, -1.0], [0.5, 800.0]]), np.array([[1, 0], [0, 1]])
    loss, metrics = score_labels([(logits, labels)], [2], ["cat", "dog"])
    by_hand = np.log1p(np.exp([-2.0, -1.0, 0.5])).sum() / 4  # the last is certain and right
    assert loss == pytest.approx(by_hand)
    assert metrics["accuracy"] == 0.75 and metrics["mAP"] == 1.0
    assert (metrics["accuracy of label cat"], metrics["accuracy of label dog"]) == (0.5, 1)


def test_average_precision_is_that_by_hand():
    """Ranked: right, wrong, right, wrong, right. Precisions at the right ones: 1, 2/3, 3/5."""
    labels, scores = np.array([1, 0, 1, 0, 1]), np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    assert average_precision(labels, scores) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    # two equal scores are one threshold: recall goes from 0 to 1/2 at precision 1/2
    assert average_precision(np.array([1, 0, 1]), np.array([1.0, 1.0, 0.0])) == pytest.approx(
        0.5 * 1 / 2 + 0.5 * 2 / 3
    )
    assert average_precision(np.zeros(3), scores[:3]) is None


@pytest.mark.slow  # for the import
def test_average_precision_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    source = np.random.default_rng(0)
    for _ in range(20):
        labels = source.integers(0, 2, 40)
        scores = source.integers(0, 9, 40).astype(float)
        expected = metrics.average_precision_score(labels, scores)
        assert average_precision(labels, scores) == pytest.approx(expected)


def test_a_label_that_no_sample_has_does_not_count_in_the_mean():
    logits, labels = np.array([[1.0, -1.0], [-1.0, 1.0]]), np.array([[0, 0], [1, 0]])
    _, metrics = score_labels([(logits, labels)], [2], ["a", "b"])
    assert metrics["mAP"] == 0.5
    _, metrics = score_labels([(logits, 0 * labels)], [2], ["a", "b"])
    assert metrics["mAP"] is None and metrics["accuracy"] == 0.5
