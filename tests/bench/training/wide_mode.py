"""A third mode in one file: eager in float64, on the same float32 batches and initial weights."""

from __future__ import annotations

from dataclasses import replace

import oneflow as flow

from oneflow_bench.bench.training.eager import EagerMode
from oneflow_bench.bench.training.optimizers import create_optimizer, create_scheduler


class WideEager(EagerMode):
    @classmethod
    def create(cls, job, setting):
        job.objective.to(flow.float64)
        optimizer = create_optimizer(setting.workload, job.model)
        scheduler = create_scheduler(setting.workload, optimizer, setting.steps_per_epoch)
        return cls(replace(job, optimizer=optimizer, scheduler=scheduler))

    def compute_loss(self, images, labels):
        return super().compute_loss(images.to(flow.float64), labels)

    def eval_step(self):
        self._job.model.eval()
        with flow.no_grad():
            images, labels = self._job.eval_feed.next_batch()
            return self._job.model(images.to(flow.float64)), labels
