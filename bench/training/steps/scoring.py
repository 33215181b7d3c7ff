"""Scores of a validation pass, computed in NumPy and float64 for both modes.

`batches` are (logits (B, K), labels), each of equally many rows of each reader, in order. What
follows a reader's last sample is its next pass and does not count.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np


def score_batches(batches: Sequence[Any], reader_samples: Sequence[int]) -> Tuple[int, float]:
    """(number correct, mean cross entropy) of labels (B,)."""
    logits = _select([batch[0] for batch in batches], reader_samples).astype(np.float64)
    labels = _select([batch[1] for batch in batches], reader_samples).astype(np.int64)
    correct = int((logits.argmax(axis=1) == labels).sum())
    top = logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    loss = float((log_sum - logits[np.arange(len(labels)), labels]).mean())
    return correct, loss


def score_labels(
    batches: Sequence[Any], reader_samples: Sequence[int], names: Sequence[str]
) -> Tuple[float, Dict[str, Optional[float]]]:
    """(mean binary cross entropy, metrics) of labels (B, K) of 0 and 1.

    A label is predicted where its logit is above 0. The metrics are `mAP`, the mean of the average
    precisions of the labels that a sample has, the accuracy of each label, and their mean as
    `accuracy`; all from 0 to 1.
    """
    logits = _select([batch[0] for batch in batches], reader_samples).astype(np.float64)
    labels = _select([batch[1] for batch in batches], reader_samples).astype(np.int64)
    loss = float((np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-abs(logits)))).mean())
    right = ((logits > 0) == labels).mean(axis=0)
    found = [average_precision(*columns) for columns in zip(labels.T, logits.T)]
    precisions = [one for one in found if one is not None]
    return loss, {
        "accuracy": float(right.mean()),
        "mAP": float(np.mean(precisions)) if precisions else None,
        **{f"accuracy of label {name}": float(share) for name, share in zip(names, right)},
    }


def average_precision(labels: np.ndarray, scores: np.ndarray) -> Optional[float]:
    """The sum over thresholds of (recall - recall before) * precision; None without a positive.

    `labels` (N,) are 0 or 1. Equal `scores` (N,) are one threshold. Not interpolated, as in
    M. Zhu 2004, "Recall, Precision and Average Precision".
    """
    positives = int(labels.sum())
    if positives == 0:
        return None
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.append(ranked[1:] != ranked[:-1], True)
    hits = labels[order].cumsum()[ends]
    precision = hits / (np.flatnonzero(ends) + 1)
    return float((np.diff(hits, prepend=0) * precision).sum() / positives)


def _select(arrays: List[np.ndarray], reader_samples: Sequence[int]) -> np.ndarray:
    shares = zip(*(np.split(array, len(reader_samples)) for array in arrays))
    return np.concatenate(
        [np.concatenate(share)[:count] for share, count in zip(shares, reader_samples)]
    )
