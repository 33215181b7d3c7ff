"""An image job: own model with batch norm, SGD, a schedule by epochs, clipped gradients."""

import argparse
import os
import time

import numpy as np
import oneflow as flow
from oneflow import nn
from oneflow.optim import SGD
from oneflow.optim.lr_scheduler import MultiStepLR

CLASSES = 4


class Block(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return flow.relu(self.norm(self.conv(x)))


def small_net(num_classes=10, width=8):
    return nn.Sequential(
        Block(3, width),
        nn.MaxPool2d(2),
        Block(width, 2 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, num_classes),
    )


class Pictures(flow.utils.data.Dataset):
    """Stripes whose direction and width are the class."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        label = index % CLASSES
        rows, columns = np.mgrid[:16, :16]
        wave = np.sin((rows if label % 2 else columns) * (0.5 + label))
        noise = np.random.default_rng(index).normal(scale=0.2, size=(3, 16, 16))
        return flow.tensor((wave + noise).astype(np.float32)), flow.tensor(label)


class AverageMeter:
    def __init__(self):
        self.sum = self.count = 0

    def update(self, value):
        self.sum, self.count = self.sum + value, self.count + 1


def main(args):
    os.makedirs(args.output, exist_ok=True)
    train_set = Pictures(64)
    loader = flow.utils.data.DataLoader(train_set, batch_size=args.batch_size, shuffle=True)
    model = small_net(num_classes=CLASSES).to("cuda")
    criterion = nn.CrossEntropyLoss().to("cuda")
    optimizer = SGD(model.parameters(), args.learning_rate, momentum=args.mom, nesterov=False)
    if args.resume:
        state = flow.load(args.resume)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    schedule = MultiStepLR(optimizer, milestones=[1, 2], gamma=0.1)
    for epoch in range(args.epochs):
        train_one_epoch(model, criterion, loader, optimizer, epoch, args)
        schedule.step()
        flow.save(model.state_dict(), os.path.join(args.output, f"epoch_{epoch}"))


def train_one_epoch(model, criterion, data, optimizer, epoch, args):
    model.train()
    meter, start = AverageMeter(), time.time()
    for images, target in data:
        images = images.cuda()
        target = target.cuda()
        output = model(images)
        loss = criterion(output, target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=args.clip)
        optimizer.step()
        meter.update(loss.item())
    print(f"epoch {epoch}: loss {meter.sum / meter.count:.4f}, {time.time() - start:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", default=3, type=int)
    parser.add_argument("--batch-size", default=8, type=int)
    parser.add_argument("--learning-rate", default=0.05, type=float)
    parser.add_argument("--mom", default=0.9, type=float)
    parser.add_argument("--clip", default=1.0, type=float)
    parser.add_argument("--resume", default="")
    parser.add_argument("--output", default="output")
    main(parser.parse_args())
