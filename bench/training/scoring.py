"""The score of a validation pass: every sample counts once."""

from __future__ import annotations

from typing import Any, List, Sequence, Tuple

import numpy as np


def score_batches(batches: List[Any], reader_samples: Sequence[int]) -> Tuple[int, float]:
    """(number correct, mean cross entropy) over the samples of a pass.

    `batches` are (logits (B, K), labels (B,)), each of equally many rows of each reader, in order.
    What follows a reader's last sample is its next pass and does not count. The loss is computed
    here, in float64, for both modes.
    """
    logits = _select([batch[0] for batch in batches], reader_samples).astype(np.float64)
    labels = _select([batch[1] for batch in batches], reader_samples).astype(np.int64)
    correct = int((logits.argmax(axis=1) == labels).sum())
    top = logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    loss = float((log_sum - logits[np.arange(len(labels)), labels]).mean())
    return correct, loss


def _select(arrays: List[np.ndarray], reader_samples: Sequence[int]) -> np.ndarray:
    shares = zip(*(np.split(array, len(reader_samples)) for array in arrays))
    return np.concatenate(
        [np.concatenate(share)[:count] for share, count in zip(shares, reader_samples)]
    )
