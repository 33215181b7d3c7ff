"""For all tests: how threads are scheduled, what Ctrl-C does, and a cheap initialisation."""

from __future__ import annotations

import os
import signal

import pytest

# OneFlow 0.9.0 now and then ends the process of a graph as quick as those of the tests; threads
# that do not preempt each other when they wake up keep it from that but for rare cases
# (benchmarks/launch_race.py). Inherited by every thread and process that the tests start.
try:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
except OSError:  # a sandbox may forbid it; then they are as good as OneFlow is
    pass

# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start; and
# OneFlow 0.9.0, once imported, ends this process with status 255 where Python handles no SIGINT
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

DRAWS = ("kaiming_uniform_", "kaiming_normal_", "normal_", "uniform_")


@pytest.fixture
def no_initialisation(monkeypatch):
    """Weights stay as the memory was, for tests that do not look at them: shapes and counts."""
    from oneflow import nn

    for name in DRAWS:
        monkeypatch.setattr(nn.init, name, lambda tensor, *rest, **named: tensor)
