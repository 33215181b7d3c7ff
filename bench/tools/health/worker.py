"""A worker that observes how a model begins to train in one mode.

It trains on its first batch until it knows that by heart. Dropout is left out, since it hinders
that.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Dict, List, Optional

import numpy as np
from pydantic import BaseModel

from ...worker.messages import PrepareRequest
from ...worker.protocol import explained_refusal, main, schedule_as_batch
from ...worker.session import check_device

if TYPE_CHECKING:
    from ...training.job import Job

# activations that give exactly zero to units that are off
SILENCING = ("ReLU", "ReLU6", "Threshold", "Hardtanh")


class HealthRequest(PrepareRequest):
    """The request `examine`: at most `steps` steps, and none after a loss of `by_heart`.

    `by_heart` is a share of the first loss.
    """

    steps: int
    by_heart: float


class ModeHealth(BaseModel):
    """Its answer. A number that is not finite is None.

    `losses` are of each step. `gradient_norms` are 2-norms at the first step, by weight of at least
    two dimensions. `dead_shares` are by activation: the share of its channels that are zero for all
    samples and pixels of the first batch. `loss_weights` are those of all heads together.
    """

    mode: str
    losses: List[Optional[float]]
    gradient_norms: Dict[str, Optional[float]]
    dead_shares: Dict[str, float]
    loss_weights: float


class HealthSession:
    def examine(self, request: HealthRequest) -> ModeHealth:
        import oneflow as flow

        from ....data import load_dataset
        from ...parity.observe import create_observed
        from ...training.job import create_job
        from ...training.losses import mean_loss

        work, contender = request.workload, request.contender
        check_device(contender.device, flow.cuda.is_available())
        dataset = load_dataset(request.dataset) if request.dataset else None
        job = create_job(work, dataset, request.steps_per_epoch, contender.device, contender.dtype)
        _leave_out_dropout(job)
        job.train_feed = job.train_feed.preload(1)
        with explained_refusal(work.model, contender.mode, job.describe_batch):
            observed = create_observed(contender.mode, job, contender.graph_options)
            first = observed.observe_step(with_outputs=True)
        losses = [finite(mean_loss(first.loss))]
        goal = request.by_heart * (losses[0] or 0.0)
        while losses[-1] is not None and losses[-1] > goal and len(losses) < request.steps:
            losses.append(finite(mean_loss(observed.observe_step(False).loss)))
        weights = {name for name, p in job.model.named_parameters() if len(p.shape) > 1}
        return ModeHealth(
            mode=contender.mode,
            losses=losses,
            gradient_norms={
                name: finite(0.0 if value is None else np.linalg.norm(value.astype(np.float64)))
                for name, value in first.gradients.items()
                if name in weights
            },
            dead_shares={
                name: find_dead_share(value)
                for name, kind, value in first.outputs
                if kind in SILENCING and value.ndim > 1
            },
            loss_weights=1.0 + sum(getattr(job.model, "aux_weights", ())),
        )

    def end(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {}


def _leave_out_dropout(job: Job) -> None:
    from oneflow import nn

    for module in job.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def find_dead_share(output: np.ndarray) -> float:
    """The share of channels, axis 1 of (N, C, ...), that are zero everywhere."""
    axes = (0, *range(2, output.ndim))
    return float((output == 0).all(axis=axes).mean())


def finite(value: Any) -> Optional[float]:
    """As a plain number, None if not finite."""
    return float(value) if math.isfinite(value) else None


if __name__ == "__main__":
    main(HealthSession(), prepare=schedule_as_batch)
