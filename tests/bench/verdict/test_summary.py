from __future__ import annotations

import random

import pytest
from records import create_speed_events

from oneflow_bench.bench.record.events import SpeedBlockEvent
from oneflow_bench.bench.report.compare import SUMMARISED_BY
from oneflow_bench.bench.verdict.judge import Margins
from oneflow_bench.bench.verdict.summary import summarize_speed


def summarize(share):
    """Of events in which that share of the contender's blocks takes 14 % less time."""
    source = random.Random(1)

    def speed_up(event):
        if not isinstance(event, SpeedBlockEvent) or event.role != "contender":
            return event
        factor = 0.86 if source.random() < share else 1.0
        changed = {"duration_s": event.duration_s * factor, "cpu_s": event.cpu_s * factor}
        return event.model_copy(update=changed)

    events = create_speed_events(double_rounds=8, compile_s=5.0, contender=0.09)
    return summarize_speed([speed_up(event) for event in events], Margins())


@pytest.mark.parametrize("share, location", [(0.0, "quickest quarter"), (0.12, "median")])
def test_all_of_a_summary_goes_by_the_location_of_its_verdict(share, location):
    speed = summarize(share)
    assert speed.judgement.location == location
    assert speed.judgement.verdict == "faster"
    assert speed.judgement.speedup.ratio == pytest.approx(1 / 0.9, rel=0.004)
    assert speed.cpu.ratio == pytest.approx(speed.judgement.speedup.ratio)
    assert speed.break_even.steps == pytest.approx(5.0 / 0.01, rel=0.1)
    assert location in SUMMARISED_BY


def test_the_mean_of_all_blocks_does_not():
    speed = summarize(0.12)
    assert speed.mean.ratio > 1.01 * speed.judgement.speedup.ratio
