"""A flat script with an L2 term over the parameters, and an evaluation function."""

import oneflow as flow
from oneflow import nn
from oneflow.utils.data import DataLoader, TensorDataset

flow.manual_seed(0)
x = flow.randn(96, 6)
train_loader = DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), batch_size=16, shuffle=True)
held = flow.randn(48, 6)
val_loader = DataLoader(TensorDataset(held, (held.sum(1) > 0).long()), batch_size=16)
model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 2))
criterion = nn.CrossEntropyLoss()
optimizer = flow.optim.SGD(model.parameters(), lr=0.1)


def validate(net, loader):
    net.eval()
    right, seen, loss_sum = 0, 0, 0.0
    flow.set_grad_enabled(False)
    for inputs, target in loader:
        output = net(inputs)
        loss_sum += criterion(output, target).item()
        _, predicted = flow.max(output, 1)
        right += predicted.eq(target).sum().item()
        seen += target.size(0)
    flow.set_grad_enabled(True)
    return 100.0 * right / seen, loss_sum / len(loader)


for epoch in range(3):
    model.train()
    for inputs, target in train_loader:
        output = model(inputs)
        l2 = sum((p**2).sum() for p in model.parameters())
        loss = criterion(output, target) + 1e-3 * l2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(epoch, validate(model, val_loader))
