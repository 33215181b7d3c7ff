"""A text classifier, embedding and transformer: does a sentence praise or complain?

bench compare examples.classifier:classifier --optimizer adam --lr 3e-3 --schedule constant
"""

from __future__ import annotations

from typing import Dict, Iterator

import numpy as np
import oneflow as flow
from oneflow import nn

from oneflow_bench import TrainingStep

BATCH_SIZE, LENGTH, WIDTH, HEADS, PADDING = 16, 12, 32, 4, 0
GOOD, BAD = ["good", "fine", "great", "lovely"], ["bad", "poor", "awful", "dull"]
OTHERS = ["the", "a", "film", "book", "was", "is", "very", "quite", "so", "we", "saw", "read"]
VOCABULARY = ["", *GOOD, *BAD, *OTHERS]  # the first is padding


class Encoder(nn.Module):
    """One transformer layer, normalised before (pre-norm), that leaves padding out."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.queries, self.keys, self.values = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.widen, self.narrow = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.activation, self.dropout = nn.GELU(), nn.Dropout(0.1)

    def attend(self, x: flow.Tensor, is_word: flow.Tensor) -> flow.Tensor:
        """Attention (B, T, W) to words; `is_word` (B, T) is 0 for padding."""
        batch, length, _ = x.shape
        queries, keys, values = (
            layer(x).reshape(batch, length, HEADS, WIDTH // HEADS).permute(0, 2, 1, 3)
            for layer in (self.queries, self.keys, self.values)
        )
        scores = flow.matmul(queries, keys.transpose(2, 3)) * (WIDTH // HEADS) ** -0.5
        scores = scores + (is_word - 1).reshape(batch, 1, 1, length) * 1e4
        mixed = flow.matmul(flow.softmax(scores, dim=-1), values)
        return mixed.permute(0, 2, 1, 3).reshape(batch, length, WIDTH)

    def feed_forward(self, x: flow.Tensor) -> flow.Tensor:
        return self.narrow(self.dropout(self.activation(self.widen(x))))

    def forward(self, x: flow.Tensor, is_word: flow.Tensor) -> flow.Tensor:
        x = x + self.attend(self.norm_1(x), is_word)
        return x + self.feed_forward(self.norm_2(x))


class Classifier(nn.Module):
    """Words (B, T) to the logits of both classes (B, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(VOCABULARY), WIDTH)
        self.encoder, self.norm = Encoder(), nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 2)

    def find_words(self, words: flow.Tensor) -> flow.Tensor:
        """1 for a word and 0 for padding (B, T)."""
        return (words != PADDING).to(flow.float32)

    def forward(self, words: flow.Tensor) -> flow.Tensor:
        is_word = self.find_words(words)
        encoded = self.norm(self.encoder(self.words(words), is_word))
        summed = (encoded * is_word.unsqueeze(2)).sum(dim=1)
        return self.head(summed / is_word.sum(dim=1, keepdim=True))


def create_batches(seed: int) -> Iterator[Dict[str, np.ndarray]]:
    """Sentences of 4 to 12 words with one or two that praise (1) or complain (0), without end."""
    source = np.random.default_rng(seed)
    while True:
        words = np.full((BATCH_SIZE, LENGTH), PADDING)
        labels = source.integers(0, 2, BATCH_SIZE)
        for row, praises in zip(words, labels):
            length, said = (
                source.integers(4, LENGTH + 1),
                source.choice(GOOD if praises else BAD, 2),
            )
            sentence = [*source.choice(OTHERS, length - 2), *said]
            row[:length] = [VOCABULARY.index(word) for word in source.permutation(sentence)]
        yield {"words": words, "labels": labels}


def compute_loss(model: nn.Module, batch: Dict[str, flow.Tensor]) -> flow.Tensor:
    """Mean cross entropy."""
    return nn.functional.cross_entropy(model(batch["words"]), batch["labels"])


def evaluate(model: nn.Module, batch: Dict[str, flow.Tensor]) -> Dict[str, flow.Tensor]:
    """The share of sentences that are classified rightly."""
    found = model(batch["words"]).argmax(dim=1)
    return {"accuracy": (found == batch["labels"]).to(flow.float32).mean()}


classifier = TrainingStep(
    create_module=Classifier,
    create_batches=create_batches,
    loss=compute_loss,
    evaluate=evaluate,
    predict=lambda model, batch: model(batch["words"]),
)
