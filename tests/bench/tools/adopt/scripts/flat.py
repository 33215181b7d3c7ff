"""A flat script: everything at the top level, batches drawn in the loop."""

import numpy as np
import oneflow as flow
import oneflow.nn as nn

flow.manual_seed(0)
np.random.seed(0)
device = flow.device("cpu")
FEATURES = 128
HIDDEN = 8 * FEATURES

model = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
model.to(device)
for layer in (model[0], model[2]):
    nn.init.constant_(layer.bias, 0.1)
mse = nn.MSELoss().to(device)
optimizer = flow.optim.Adam(model.parameters(), lr=1e-3)
truth = np.linspace(-1, 1, FEATURES).astype(np.float32)

losses = []
for step in range(40):
    x = np.random.randn(128, FEATURES).astype(np.float32)
    inputs = flow.tensor(x).to(device)
    targets = flow.tensor((x @ truth)[:, None]).to(device)
    optimizer.zero_grad()
    outputs = model(inputs)
    loss = mse(outputs, targets)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    if step % 10 == 0:
        print(f"step {step}: loss {loss.item():.4f}")
print("last loss", losses[-1])
