"""How far two numbers of an update are off in either mode: Adam's bias correction, a clipped norm.

    python benchmarks/update_rounding.py

Prints relative errors. The exact values are computed here in float64 from the gradients that
OneFlow gave, which are bitwise equal in both modes; beside the norm's errors stands that of squares
added one after another in float32, tensor by tensor.
"""

from __future__ import annotations

import sys
from typing import Any, Dict, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.parity.observe import create_observed
from oneflow_bench.bench.training.job import create_job

MODEL, CLIP_NORM = "cnn", 1.0  # its largest layer has 262,144 weights
LR = 0.1
CLIP_EPS = 1e-6  # OneFlow, like PyTorch, divides by the norm plus this


class _Step(nn.Graph):
    def __init__(self, model: nn.Module, optimizer: Any) -> None:
        super().__init__()
        self.model = model
        self.add_optimizer(optimizer)

    def build(self, x: flow.Tensor) -> flow.Tensor:
        loss = self.model(x).sum()
        loss.backward()
        return loss


def measure_adam(mode: str) -> float:
    """Relative error of Adam's first update, which without epsilon is the learning rate."""
    model = nn.Linear(4, 3, bias=False)
    before = model.weight.numpy().astype(np.float64)
    optimizer = flow.optim.Adam(model.parameters(), lr=LR, eps=0.0)
    if mode == "graph":
        _Step(model, optimizer)(flow.ones(2, 4)).numpy()
    else:
        model(flow.ones(2, 4)).sum().backward()
        optimizer.step()
    return float(np.median((before - model.weight.numpy()) / LR - 1.0))


def measure_clipping(mode: str) -> Tuple[float, float]:
    """Relative errors of the norm that gradients were clipped by, and of a sum in float32."""
    workload = Workload(
        model=MODEL, data="synthetic", feed="memory", batch_size=4, val_batch_size=4, lr=1.0,
        weight_decay=0.0, schedule="constant", clip_norm=CLIP_NORM,
    )  # fmt: skip
    observed = create_observed(mode, create_job(workload, None, 10, "cpu"))
    gradients: Dict[str, np.ndarray] = observed.observe_step(with_outputs=True).gradients
    momentum = observed.capture_optimizer()
    wide = {name: value.astype(np.float64) for name, value in gradients.items()}
    norm = np.sqrt(sum((value**2).sum() for value in wide.values()))
    largest = max(wide, key=lambda name: float(np.abs(wide[name]).max()))
    clipped = np.abs(momentum[f"{largest}/momentum"].astype(np.float64))
    used = CLIP_NORM * np.abs(wide[largest]).sum() / clipped.sum() - CLIP_EPS
    parts = [np.add.accumulate(value.ravel() ** 2)[-1] for value in gradients.values()]
    added = np.sqrt(float(np.add.accumulate(np.array(parts, np.float32))[-1]))
    return float(used / norm - 1.0), float(added / norm - 1.0)


def main() -> int:
    for mode in ("eager", "graph"):
        used, added = measure_clipping(mode)
        print(
            f"{mode}: Adam's first update {measure_adam(mode):+.2e}; norm of {MODEL}'s gradients "
            f"{used:+.2e} (squares added one by one in float32: {added:+.2e})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
