"""class Trainer: parts as attributes, a step of its own, a helper for the loss."""

from dataclasses import dataclass

import numpy as np
import oneflow as flow
import oneflow.nn as nn
from oneflow.utils.data import DataLoader, TensorDataset


@dataclass
class Config:
    vocabulary: int = 512
    width: int = 256
    batch: int = 32
    epochs: int = 2
    lr: float = 3e-3


class Tagger(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.head = nn.Linear(config.width, config.vocabulary)

    def forward(self, ids):
        return self.head(self.words(ids))


class BaseTrainer:
    def fit(self):
        for epoch in range(self.config.epochs):
            self.model.train()
            for batch in self.loader:
                loss = self.train_step(batch)
            print(f"epoch {epoch}: {loss.item():.4f}")


class Trainer(BaseTrainer):
    def __init__(self, config, model):
        self.config = config
        self.model = model
        self.criterion = nn.CrossEntropyLoss()
        self.step_count = 0
        self.build()

    def build(self):
        self.optimizer = flow.optim.AdamW(self.model.parameters(), lr=self.config.lr)
        self.schedule = flow.optim.lr_scheduler.CosineDecayLR(self.optimizer, decay_steps=16)
        self.loader = self.make_loader()

    def make_loader(self):
        ids = np.random.default_rng(3).integers(0, self.config.vocabulary, (128, 6))
        words = flow.tensor(ids)
        following = flow.tensor((ids + 1) % self.config.vocabulary)
        return DataLoader(TensorDataset(words, following), self.config.batch, shuffle=True)

    def compute_loss(self, logits, labels):
        count = self.config.vocabulary
        return self.criterion(logits.reshape(-1, count), labels.reshape(-1))

    def train_step(self, batch):
        ids, labels = batch
        loss = self.compute_loss(self.model(ids), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.step_count += 1
        return loss


if __name__ == "__main__":
    settings = Config(epochs=1)
    Trainer(settings, Tagger(settings)).fit()
