"""A small GPT that learns the licence of Python's standard library, letter by letter.

bench compare examples.gpt:gpt --optimizer adamw --lr 1e-3
"""

from __future__ import annotations

import builtins
from typing import Any, Dict, Iterator

import numpy as np
import oneflow as flow
from oneflow import nn

from oneflow_bench import TrainingStep

BATCH_SIZE, CONTEXT, WIDTH, HEADS, LAYERS = 16, 32, 64, 4, 2


def read_text() -> str:
    """The text behind `license()`, which each installation of Python has."""
    license_text = builtins.license  # type: ignore[attr-defined]
    license_text._Printer__setup()
    return "\n".join(license_text._Printer__lines)


TEXT = read_text()
LETTERS = sorted(set(TEXT))
IDS = np.array([LETTERS.index(letter) for letter in TEXT], np.int64)
TRAINING, EVALUATION = IDS[: -len(IDS) // 10], IDS[-len(IDS) // 10 :]


class Block(nn.Module):
    """Causal attention and a feed-forward layer, each normalised before and added (pre-norm)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.queries_keys_values = nn.Linear(WIDTH, 3 * WIDTH)
        self.projection = nn.Linear(WIDTH, WIDTH)
        self.feed_forward = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )
        mask = np.triu(np.full((CONTEXT, CONTEXT), -1e4, np.float32), k=1)
        self.register_buffer("mask", flow.tensor(mask))

    def attend(self, x: flow.Tensor, mask: flow.Tensor) -> flow.Tensor:
        """Attention (B, T, W), with a mask (T, T) that is added to the scores."""
        batch, length, _ = x.shape
        parts = self.queries_keys_values(x).reshape(batch, length, 3, HEADS, WIDTH // HEADS)
        queries, keys, values = (parts[:, :, i].permute(0, 2, 1, 3) for i in range(3))
        scores = flow.matmul(queries, keys.transpose(2, 3)) * (WIDTH // HEADS) ** -0.5
        weights = flow.softmax(scores + mask, dim=-1)
        mixed = flow.matmul(weights, values).permute(0, 2, 1, 3).reshape(batch, length, WIDTH)
        return self.projection(mixed)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = x + self.attend(self.norm_1(x), self.mask)  # to no later letter
        return x + self.feed_forward(self.norm_2(x))


class GPT(nn.Module):
    """Letters (B, T) to the logits of each next letter (B, T, letters)."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(len(LETTERS), WIDTH)
        self.places = nn.Parameter(flow.randn(1, CONTEXT, WIDTH) * 0.02)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(LETTERS))

    def forward(self, letters: flow.Tensor) -> flow.Tensor:
        return self.head(self.norm(self.blocks(self.letters(letters) + self.places)))


def cut(ids: np.ndarray, starts: np.ndarray) -> Dict[str, np.ndarray]:
    """Pieces of a text, and the same pieces one letter later."""
    places = starts[:, None] + np.arange(CONTEXT)
    return {"letters": ids[places], "next": ids[places + 1]}


def create_batches(seed: int) -> Iterator[Dict[str, np.ndarray]]:
    """Random pieces of the text, without end."""
    source = np.random.default_rng(seed)
    while True:
        yield cut(TRAINING, source.integers(0, len(TRAINING) - CONTEXT - 1, BATCH_SIZE))


def create_evaluation_batches() -> Iterator[Dict[str, np.ndarray]]:
    """The text that is held back, once."""
    starts = np.arange(0, len(EVALUATION) - CONTEXT - 1, CONTEXT)
    for first in range(0, len(starts) - BATCH_SIZE + 1, BATCH_SIZE):
        yield cut(EVALUATION, starts[first : first + BATCH_SIZE])


def compute_loss(model: nn.Module, batch: Dict[str, flow.Tensor]) -> flow.Tensor:
    """Mean cross entropy of the next letter, in nats."""
    logits = model(batch["letters"])
    return nn.functional.cross_entropy(logits.reshape(-1, len(LETTERS)), batch["next"].reshape(-1))


def evaluate(model: nn.Module, batch: Dict[str, flow.Tensor]) -> Dict[str, Any]:
    """The loss, and the perplexity exp(loss)."""
    loss = compute_loss(model, batch)
    return {"loss": loss, "perplexity": flow.exp(loss)}


gpt = TrainingStep(
    create_module=GPT,
    create_batches=create_batches,
    loss=compute_loss,
    evaluate=evaluate,
    create_evaluation_batches=create_evaluation_batches,
    predict=lambda model, batch: model(batch["letters"]),
)
