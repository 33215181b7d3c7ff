"""An MLP on a table of scikit-learn: is a tumour benign? (Street, Wolberg, Mangasarian 1993)

Needs scikit-learn: pip install scikit-learn

bench compare examples.tabular:tabular --lr 0.05 --schedule constant
"""

from __future__ import annotations

from typing import Dict, Iterator, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from oneflow_bench import TrainingStep

BATCH_SIZE, WIDTH = 32, 64
HELD_BACK = 96  # rows for the evaluation

Rows = Tuple[np.ndarray, np.ndarray]


def load_table() -> Rows:
    """Measurements (N, 30), each column with mean 0 and deviation 1, and classes (N,)."""
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError:
        raise ImportError(
            "scikit-learn is not installed and has the table; run pip install scikit-learn"
        ) from None
    features, classes = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(classes))
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    return scaled[order].astype(np.float32), classes[order].astype(np.int64)


def create_module() -> nn.Module:
    """Two hidden layers, with batch norm."""
    return nn.Sequential(
        nn.Linear(30, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(),
        nn.Linear(WIDTH, 2),
    )  # fmt: skip


def create_batches(seed: int) -> Iterator[Rows]:
    """One pass over the rows in another order; a last partial batch is dropped."""
    features, classes = (part[HELD_BACK:] for part in load_table())
    order = np.random.default_rng(seed).permutation(len(classes))
    for first in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
        rows = order[first : first + BATCH_SIZE]
        yield features[rows], classes[rows]


def create_evaluation_batches() -> Iterator[Rows]:
    """The rows that are held back, once."""
    features, classes = load_table()
    for first in range(0, HELD_BACK, BATCH_SIZE):
        yield features[first : first + BATCH_SIZE], classes[first : first + BATCH_SIZE]


def compute_loss(model: nn.Module, batch: Tuple[flow.Tensor, flow.Tensor]) -> flow.Tensor:
    """Mean cross entropy."""
    features, classes = batch
    return nn.functional.cross_entropy(model(features), classes)


def evaluate(model: nn.Module, batch: Tuple[flow.Tensor, flow.Tensor]) -> Dict[str, flow.Tensor]:
    """The share of rows that are classified rightly."""
    features, classes = batch
    right = (model(features).argmax(dim=1) == classes).to(flow.float32)
    return {"accuracy": right.mean(), "loss": compute_loss(model, batch)}


tabular = TrainingStep(
    create_module=create_module,
    create_batches=create_batches,
    loss=compute_loss,
    evaluate=evaluate,
    create_evaluation_batches=create_evaluation_batches,
    predict=lambda model, batch: model(batch[0]),
)
