from __future__ import annotations

import resource
from types import SimpleNamespace

from oneflow_bench.bench.training.counters import (
    Counters,
    InstructionCounter,
    read_busy_s,
    read_energy_j,
    subtract_counters,
)


def test_faults_and_switches_are_those_that_the_kernel_counts_for_this_process(monkeypatch):
    names = ("ru_minflt", "ru_majflt", "ru_nvcsw", "ru_nivcsw")
    counted = [SimpleNamespace(**dict(zip(names, row))) for row in ((9, 1, 5, 7), (99, 3, 5, 8))]
    usage = {resource.RUSAGE_SELF: iter(counted)}
    monkeypatch.setattr(resource, "getrusage", lambda who: next(usage[who]))
    counters = Counters()
    before = counters.read()
    used = subtract_counters(counters.read(), before)
    kinds = ("minor_faults", "major_faults", "voluntary_switches", "involuntary_switches")
    assert [used[kind] for kind in kinds] == [90, 2, 0, 1]


def test_instructions_are_counted_or_it_is_said_why_not():
    counter = InstructionCounter()
    first = counter.read()
    if first is None:
        assert "perf_event" in counter.reason or "no counter is known" in counter.reason
    else:
        sum(range(100_000))
        assert counter.read() - first > 100_000


def test_an_unknown_processor_is_no_error(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "vax")
    counter = InstructionCounter()
    assert counter.read() is None and "vax" in counter.reason


def test_energy_is_read_where_it_can_be(tmp_path):
    assert read_energy_j(tmp_path) is None
    (tmp_path / "energy_uj").write_text("2500000\n")
    assert read_energy_j(tmp_path) == 2.5


def test_busy_seconds_are_those_of_the_usable_cores(tmp_path, monkeypatch):
    stat = tmp_path / "stat"
    stat.write_text("cpu 9 9 9 9\ncpu0 100 0 50 7 7 25 25 9\ncpu1 100 0 0 7 7 0 0 0\nintr 5\n")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0})
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    assert read_busy_s(stat) == 2.0
    assert read_busy_s(tmp_path / "nothing") is None
    assert read_busy_s() >= 0


def test_a_counter_that_wrapped_or_is_missing_gives_none():
    assert subtract_counters({"a": 5, "b": 1, "c": None}, {"a": 3, "b": 9, "c": None}) == {
        "a": 2,
        "b": None,
        "c": None,
    }
