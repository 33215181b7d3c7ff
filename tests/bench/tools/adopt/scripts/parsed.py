"""main() with argparse, a dataset of its own, and a schedule that is stepped each epoch."""

import argparse
import random

import numpy as np
import oneflow as flow
from oneflow import nn, optim
from oneflow.utils.data import DataLoader, Dataset


class Spirals(Dataset):
    def __init__(self, count, seed):
        source = np.random.default_rng(seed)
        self.labels = source.integers(0, 2, count)
        turns = source.uniform(0.5, 2, count)
        angles = 2 * np.pi * turns + np.pi * self.labels
        points = np.stack([turns * np.cos(angles), turns * np.sin(angles)], axis=1)
        self.points = points.astype(np.float32)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return flow.tensor(self.points[index]), flow.tensor(self.labels[index])


class Net(nn.Module):
    def __init__(self, hidden, classes=2):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, hidden))
        self.head = nn.Sequential(nn.Tanh(), nn.Linear(hidden, classes))

    def forward(self, x):
        return self.head(self.body(x))


def parse_args():
    parser = argparse.ArgumentParser(description="spirals")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--hidden", type=int, required=True)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main():
    args = parse_args()
    random.seed(args.seed)
    flow.manual_seed(args.seed)
    device = args.device
    train_loader = DataLoader(
        Spirals(300, seed=0), batch_size=args.batch_size, shuffle=True, num_workers=2
    )
    val_loader = DataLoader(Spirals(128, seed=1), batch_size=args.batch_size)
    model = Net(args.hidden).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=1e-4)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    best = 0.0
    for epoch in range(args.epochs):
        model.train()
        for index, (points, labels) in enumerate(train_loader):
            points, labels = points.to(device), labels.to(device)
            logits = model(points)
            loss = criterion(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if index % 2 == 0:
                print(epoch, index, loss.item())
        scheduler.step()
        model.eval()
        right = 0
        for points, labels in val_loader:
            with flow.no_grad():
                right += (model(points.to(device)).argmax(1).cpu() == labels).sum().item()
        best = max(best, right / 128)
        print("accuracy", right / 128, "best", best)


if __name__ == "__main__":
    main()
