from __future__ import annotations

import pytest
from records import create_speed_events

from oneflow_bench.bench.record.events import ConditionsEvent, SpeedBlockEvent
from oneflow_bench.bench.verdict.conditions import (
    find_warnings,
    measure_controller_share,
    read_conditions,
    read_frequency_hz,
    read_temperature_c,
)

QUIET = {"load": 1.0, "cores": 2, "steal_s": 0.0, "frequency_hz": 3e9, "temperature_c": 50.0}


def warn(before=None, after=None, **block):
    conditions = [
        ConditionsEvent(when="before", started_s=0, conditions={**QUIET, **(before or {})}),
        ConditionsEvent(when="after", started_s=10, conditions={**QUIET, **(after or {})}),
    ]
    events = create_speed_events(**block)
    blocks = [e for e in events if isinstance(e, SpeedBlockEvent) and e.kind == "scored"]
    return find_warnings(conditions, blocks)


def test_a_quiet_machine_gives_no_warning():
    assert warn() == []


@pytest.mark.parametrize(
    "case, cause, remedy",
    [
        ({"before": {"load": 9.0}}, "load 9.0 on 2 cores", "End other work"),
        ({"after": {"steal_s": 4.0}}, "took 20.0 %", "not shared"),
        ({"after": {"frequency_hz": 2e9}}, "2.00 to 3.00 GHz", "governor"),
        ({"after": {"temperature_c": 97.0}}, "97 degrees", "Let it cool"),
        ({"major_faults": 50}, "major faults", "--batch-size"),
        ({"machine_busy_s": 0.95}, "used 0.9 cores", "--budget"),
    ],
)
def test_each_warning_says_cause_and_remedy(case, cause, remedy):
    (warning,) = warn(**case)
    assert cause in warning and remedy in warning


def test_the_controller_s_share_is_its_processor_time_over_the_time_of_the_phase():
    conditions = [
        ConditionsEvent(when="before", started_s=5, conditions={"controller_cpu_s": 2.0}),
        ConditionsEvent(when="during", started_s=10, conditions={}),
        ConditionsEvent(when="after", started_s=25, conditions={"controller_cpu_s": 2.1}),
    ]
    assert measure_controller_share(conditions) == pytest.approx(0.005)
    assert measure_controller_share(conditions[:2]) is None  # an interrupted run, or an older one
    assert measure_controller_share([]) is None


def test_what_cannot_be_read_gives_no_warning(tmp_path):
    nothing = dict.fromkeys(QUIET)
    assert warn(nothing, nothing) == []
    assert read_frequency_hz(tmp_path) is None and read_temperature_c(tmp_path) is None


def test_conditions_are_read_from_this_machine(tmp_path):
    conditions = read_conditions()
    assert conditions["cores"] >= 1 and conditions["controller_cpu_s"] > 0
    (tmp_path / "thermal_zone0").mkdir()
    (tmp_path / "thermal_zone0" / "temp").write_text("51000\n")
    assert read_temperature_c(tmp_path) == 51.0
