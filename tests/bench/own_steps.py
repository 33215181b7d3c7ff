"""Training steps of a user for `own_steps:NAME`, faithful, faulty and unusable."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, Iterator

import numpy as np
import oneflow as flow
from oneflow import nn
from oneflow.utils.data import DataLoader, Dataset

from oneflow_bench import TrainingStep

ROWS, WORDS, LENGTH, WIDTH = 4, 11, 5, 6


class Tagger(nn.Module):
    """Two inputs, integer ids and float features; two outputs."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, width)
        self.mix = nn.Linear(width, width)
        self.head = nn.Linear(width, WORDS)

    def forward(self, ids: flow.Tensor, features: flow.Tensor) -> Dict[str, flow.Tensor]:
        mixed = flow.tanh(self.mix(self.words(ids)) + features)
        return {"logits": self.head(mixed), "norm": (mixed * mixed).mean()}


def create_batches(seed: int) -> Iterator[Dict[str, Any]]:
    """Three batches, nests of arrays."""
    source = np.random.default_rng(seed)
    for _ in range(3):
        ids = source.integers(0, WORDS, (ROWS, LENGTH))
        features = source.normal(size=(ROWS, LENGTH, WIDTH)).astype(np.float32)
        yield {"inputs": (ids, features), "next": (ids + 1) % WORDS}


def compute_loss(model: nn.Module, batch: Dict[str, Any]) -> Any:
    """Two terms."""
    outputs = model(*batch["inputs"])
    logits, labels = outputs["logits"].reshape(-1, WORDS), batch["next"].reshape(-1)
    return {"label": nn.functional.cross_entropy(logits, labels), "norm": 0.1 * outputs["norm"]}


def evaluate(model: nn.Module, batch: Dict[str, Any]) -> Dict[str, flow.Tensor]:
    """Accuracy is one metric."""
    found = model(*batch["inputs"])["logits"].argmax(dim=-1)
    return {"accuracy": (found == batch["next"]).to(flow.float32).mean()}


def create_optimizer(model: nn.Module) -> Any:
    """Two groups, the norm clipped, and a schedule."""
    groups = [
        {"params": [model.words.weight], "lr": 0.5, "weight_decay": 0.0},
        {
            "params": [*model.mix.parameters(), *model.head.parameters()],
            "lr": 0.1,
            "clip_grad_max_norm": 0.2,
            "clip_grad_norm_type": 2.0,
        },
    ]
    optimizer = flow.optim.SGD(groups, lr=0.1, momentum=0.9)
    return optimizer, flow.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)


tagger = TrainingStep(create_module=Tagger, create_batches=create_batches, loss=compute_loss)
full = replace(
    tagger,
    create_optimizer=create_optimizer,
    evaluate=evaluate,
    create_evaluation_batches=lambda: create_batches(7),
)


class Square(nn.Module):
    """Takes rows and a table of as many lines, which has no rows."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(ROWS, ROWS)

    def forward(self, rows: flow.Tensor, table: flow.Tensor) -> flow.Tensor:
        return flow.matmul(self.mix(rows), table)


square = TrainingStep(
    create_module=Square,
    create_batches=lambda seed: [(np.ones((ROWS, ROWS), np.float32),) * 2],
)
unlearned = TrainingStep(
    create_module=Tagger,
    create_batches=create_batches,
    predict=lambda model, batch: model(*batch["inputs"]),
)


def wide(width: int) -> TrainingStep:
    """With an argument."""
    return replace(tagger, create_module=lambda: Tagger(width))


def create_partial(seed: int) -> Iterator[Any]:
    """The last batch is smaller."""
    yield from create_batches(seed)
    batch = next(create_batches(seed))
    yield {**batch, "next": batch["next"][:2]}


def fail(*given: Any) -> Any:
    """Raises in the user's file."""
    return 1 / 0


class Crossed(Tagger):
    """Its forward cannot take the batch."""

    def forward(self, ids: flow.Tensor, features: flow.Tensor) -> Dict[str, flow.Tensor]:
        return super().forward(ids, flow.matmul(features, self.words.weight))


class Counting(Tagger):
    """A planted fault: the weight of a loss term moves in eager mode and is frozen in a graph."""

    calls = 0

    def forward(self, ids: flow.Tensor, features: flow.Tensor) -> Dict[str, flow.Tensor]:
        self.calls += 1
        outputs = Tagger.forward(self, ids, features)
        return {**outputs, "norm": outputs["norm"] * self.calls}


curriculum = {"factor": 1.0}


def create_rising(seed: int) -> Iterator[Any]:
    """A planted fault: each batch raises a factor of the loss, which a graph freezes."""
    for batch in create_batches(seed):
        yield batch
        curriculum["factor"] += 0.5


def compute_risen(model: nn.Module, batch: Dict[str, Any]) -> Any:
    """With the factor of the batch."""
    return curriculum["factor"] * compute_loss(model, batch)["label"]


class Items(Dataset):
    """Eight samples, in memory."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Dict[str, Any]:
        return {"number": flow.tensor(float(index))}


shuffled_loader = DataLoader(Items(), batch_size=4, shuffle=True)
shuffled = TrainingStep(
    create_module=lambda: nn.Linear(1, 1),
    create_batches=lambda seed: shuffled_loader,
    loss=lambda model, batch: model(batch["number"].unsqueeze(1)).mean(),
)
partial = replace(tagger, create_batches=create_partial)
crossed = replace(tagger, create_module=Crossed)
counting = replace(tagger, create_module=Counting)
rising = replace(tagger, create_batches=create_rising, loss=compute_risen)
no_module = replace(tagger, create_module=fail)
wrong_module = replace(tagger, create_module=dict)
words = replace(tagger, create_batches=lambda seed: [(np.ones(2), np.array(["a", "b"]))])
no_batch = replace(tagger, create_batches=lambda seed: [])
no_row = replace(tagger, create_batches=lambda seed: [np.ones((0, 3), np.float32)])
no_tensor = replace(tagger, create_batches=lambda seed: ["text"])
no_number = replace(tagger, loss=lambda model, batch: model(*batch["inputs"])["logits"])
no_metric = replace(tagger, evaluate=lambda model, batch: model(*batch["inputs"])["logits"])
no_metric_number = replace(tagger, evaluate=lambda model, batch: {"mse": 0.5})
numbered = replace(tagger, evaluate=lambda model, batch: {1: compute_loss(model, batch)["norm"]})
percent = replace(tagger, evaluate=lambda model, batch: {"accuracy": flow.tensor(87.0)})
mixed = replace(tagger, loss=lambda model, batch: {**compute_loss(model, batch), "n": 16})
array = replace(tagger, loss=lambda model, batch: [compute_loss(model, batch), np.ones(1)])
bare = replace(tagger, loss=lambda model, batch: 3.0)
counted = replace(
    tagger,
    create_batches=lambda seed: [
        {**batch, "weights": [k]} for k, batch in zip((3, np.int64(3), 1), create_batches(seed))
    ],
)
endless = replace(tagger, create_evaluation_batches=lambda: iter(int, 1))
not_a_step = Tagger
number = 3
