"""A machine with a scripted clock for the speed phase."""

from __future__ import annotations

import random

import pytest
from fakes import Clock, FakeSpeedWorker, create_writer

from oneflow_bench.bench.errors import WorkerError
from oneflow_bench.bench.measure.speed_phase import SpeedRun
from oneflow_bench.bench.record.run import load_record

STEP_TIME_S = 0.01


class World:
    """A machine with a scripted clock; processes of a role are `factor` times as slow.

    Of several contenders each has its own factor, by its name.
    """

    def __init__(self, folder, factors=None, noise=0.02, spread=0.003, seed=1, **measuring):
        self.clock, self.log, self.workers = Clock(), [], {}
        self.factors, self.noise, self.spread = factors or {}, noise, spread
        self.source = random.Random(seed)
        self.options = {}
        self.writer = create_writer(folder, speed=True, **measuring)
        self.folder = folder

    def launch(self, contender):
        _, role, name, _ = contender.name.split("-")
        factor = self.factors.get(name, self.factors.get(role, 1.0))
        own = STEP_TIME_S * factor * (1 + self.source.gauss(0, self.spread))

        def step_time_s():
            return own * (1 + self.source.gauss(0, self.noise))

        worker = FakeSpeedWorker(
            contender.name, self.clock, self.log, step_time_s, **self.options.get(role, {})
        )
        self.workers[contender.name] = worker
        return worker

    def run(self, before=None):
        SpeedRun(self.writer, self.launch, clock=self.clock, before=before).run()
        self.writer.close()
        return load_record(self.folder)

    def run_until_a_control_fails(self, call, works=0):
        """In that call, after it has worked so many times; the record as it was left."""
        self.options = {"control": {"fail_at": (call, works, WorkerError("no"))}}
        with pytest.raises(WorkerError):
            self.run()
        self.writer.close()
        return load_record(self.folder)
