from __future__ import annotations

import random

import pytest
from records import create_speed_events

from oneflow_bench.bench.record.events import SpeedBlockEvent, SpeedSetupEvent
from oneflow_bench.bench.report.rows import SUMMARISED_BY
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

    events = create_speed_events(abba_pairs=8, compile_s=5.0, contender=0.09)
    return summarize_speed([speed_up(event) for event in events], Margins())


@pytest.mark.parametrize("share, process_estimate", [(0.0, "quickest quarter"), (0.12, "median")])
def test_all_of_a_summary_goes_by_the_location_of_its_verdict(share, process_estimate):
    speed = summarize(share)
    assert speed.judgement.process_estimate == process_estimate
    assert speed.judgement.verdict == "faster"
    assert speed.judgement.speedup.ratio == pytest.approx(1 / 0.9, rel=0.004)
    assert speed.cpu.ratio == pytest.approx(speed.judgement.speedup.ratio)
    assert speed.break_even.steps == pytest.approx(5.0 / 0.01, rel=0.1)
    assert process_estimate in SUMMARISED_BY


def test_the_mean_of_all_blocks_does_not():
    speed = summarize(0.12)
    assert speed.mean.ratio > 1.01 * speed.judgement.speedup.ratio


def test_a_missing_block_costs_its_pair_of_rounds_and_a_missing_process_the_verdict():
    events = create_speed_events(abba_pairs=4)
    lost = next(e for e in events if isinstance(e, SpeedBlockEvent) and e.pair == 3)
    left = summarize_speed([e for e in events if e is not lost], Margins())
    assert left.judgement.abba_pairs == summarize_speed(events, Margins()).judgement.abba_pairs - 1
    no_setup = [e for e in events if not (isinstance(e, SpeedSetupEvent) and e.role == "control")]
    assert summarize_speed(no_setup, Margins()) is None
