"""The worker of a parity check with one fault planted, named by the variable PLANTED_FAULT."""

from __future__ import annotations

import os
from typing import Any, Dict

from faults.catalogue import FAULTS

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.parity.worker import ParitySession, load_state
from oneflow_bench.bench.worker.protocol import main

VARIABLE = "PLANTED_FAULT"


class FaultySession(ParitySession):
    """A session whose jobs have the fault, or whose turns have it."""

    def __init__(self) -> None:
        super().__init__()
        self._fault = next(fault for fault in FAULTS if fault.name == os.environ[VARIABLE])
        self._initial: Dict[str, Any] = {}

    def create_job(self, workload: Workload) -> Any:
        from oneflow_bench.bench.training.job import copy_state

        job = super().create_job(workload)
        self._initial = copy_state(job.model)
        self._fault.plant(self._fault, job)
        return job

    def restore_optimizer(self, optimizer: Dict[str, Any], step: int) -> None:
        lost = self._fault.kind == "optimizer state lost at a checkpoint"
        zeros = {name: value * 0 for name, value in optimizer.items()}
        super().restore_optimizer(zeros if lost else optimizer, step)

    def validate(self, request: Dict[str, Any]) -> Dict[str, Any]:
        if self._fault.kind == "validation with stale weights":
            load_state(self._job.model, self._initial)
        return super().validate(request)


if __name__ == "__main__":
    main(FaultySession())
