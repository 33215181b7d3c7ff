"""Known differences: explained, counted, and reported as outdated when they are gone."""

from __future__ import annotations

from oneflow_bench.bench.distributed.parity import LEVEL
from oneflow_bench.bench.parity.known import KnownDifference, KnownTally, load_known_differences
from oneflow_bench.bench.parity.result import FIRST_UPDATE, FORWARD, LEVELS

ENTRY = KnownDifference(
    id="counter",
    kind="buffer",
    name="*.counter",
    levels=[FIRST_UPDATE],
    oneflow=["0.9.0"],
    reason="because",
    link="docs",
)


def test_the_data_file_is_complete():
    known = load_known_differences()
    assert len({entry.id for entry in known}) == len(known) >= 1
    for entry in known:
        assert set(entry.levels) <= {*LEVELS, LEVEL}
        assert entry.reason and entry.link and entry.oneflow


def test_an_entry_explains_its_own_tensors_only():
    assert ENTRY.explains(FIRST_UPDATE, "bn.counter", "buffer", "0.9.0")
    assert not ENTRY.explains(FORWARD, "bn.counter", "buffer", "0.9.0")
    assert not ENTRY.explains(FIRST_UPDATE, "bn.counter", "parameter", "0.9.0")
    assert not ENTRY.explains(FIRST_UPDATE, "bn.mean", "buffer", "0.9.0")
    assert not ENTRY.explains(FIRST_UPDATE, "bn.counter", "buffer", "0.8.0")
    assert not ENTRY.explains(FIRST_UPDATE, "bn.counter", "buffer", None)


def test_differences_are_counted_and_equal_tensors_are_not():
    tally = KnownTally([ENTRY], "0.9.0")
    assert tally.note(FIRST_UPDATE, "a.counter", "buffer", True)
    assert not tally.note(FIRST_UPDATE, "b.counter", "buffer", False)
    assert not tally.note(FIRST_UPDATE, "a.weight", "parameter", True)
    (hit,) = tally.hits()
    assert (hit.id, hit.tensors, hit.outdated) == ("counter", 1, False)


def test_an_entry_that_no_longer_occurs_is_outdated():
    tally = KnownTally([ENTRY], "0.9.0")
    assert not tally.note(FIRST_UPDATE, "a.counter", "buffer", False)
    (hit,) = tally.hits()
    assert hit.outdated and hit.tensors == 0


def test_an_entry_without_its_tensors_says_nothing():
    assert KnownTally([ENTRY], "0.9.0").hits() == []
