"""Functions train(epoch) and evaluate() over globals, with DataLoader; two inputs."""

import numpy as np
import oneflow as flow
import oneflow.nn as nn
import oneflow.nn.functional as F
from oneflow.utils.data import DataLoader, TensorDataset

EPOCHS, BATCH, USERS, FILMS = 2, 128, 12, 18


class Rating(nn.Module):
    def __init__(self, width=512):
        super().__init__()
        self.users = nn.Embedding(USERS, width)
        self.films = nn.Embedding(FILMS, width)
        self.mix = nn.Linear(width, width)

    def forward(self, user, film):
        return self.mix(self.users(user) * self.films(film)).mean(dim=1)


def make_data(count, seed):
    source = np.random.default_rng(seed)
    user, film = source.integers(0, USERS, count), source.integers(0, FILMS, count)
    stars = ((user + film) % 5).astype(np.float32)
    return TensorDataset(flow.tensor(user), flow.tensor(film), flow.tensor(stars))


train_loader = DataLoader(make_data(512, 0), batch_size=BATCH, shuffle=True, drop_last=True)
test_loader = DataLoader(make_data(128, 1), batch_size=BATCH)
net = Rating()
optimizer = flow.optim.RMSprop(
    [
        {"params": net.users.parameters(), "lr": 0.02},
        {"params": [*net.films.parameters(), *net.mix.parameters()], "lr": 0.001},
    ],
    lr=0.01,
)


def rate(user, film):
    return 5 * flow.sigmoid(net(user, film))


def train(epoch):
    net.train()
    total = 0.0
    for user, film, stars in train_loader:
        optimizer.zero_grad()
        loss = F.mse_loss(rate(user, film), stars)
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(epoch, total / len(train_loader))


def evaluate():
    net.eval()
    with flow.no_grad():
        errors = [F.mse_loss(rate(u, f), s).item() for u, f, s in test_loader]
    print("error", sum(errors) / len(errors))


for epoch in range(EPOCHS):
    train(epoch)
    evaluate()
