"""Known differences: explained, counted, and reported as outdated when they are gone."""

from __future__ import annotations

import pytest

from oneflow_bench.bench.distributed.report import LEVEL
from oneflow_bench.bench.parity.judge import (
    Comparison,
    KnownDifference,
    KnownTally,
    load_known_differences,
)
from oneflow_bench.bench.parity.result import FIRST_UPDATE, FORWARD, LEVELS
from oneflow_bench.bench.parity.tensors import Entry, Pair

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


def pair(name, kind, differs):
    sides = (
        Entry(level=FIRST_UPDATE, name=name, kind=kind, shape=[], digest=digest)
        for digest in ("e", "g" if differs else "e")
    )
    return Pair(*sides)


def test_differences_are_counted_and_equal_tensors_are_not():
    tally = KnownTally([ENTRY], "0.9.0")
    weight = pair("a.weight", "parameter", True)
    pairs = [pair("a.counter", "buffer", True), pair("b.counter", "buffer", False), weight]
    assert tally.split(pairs) == ([weight], 1)
    (hit,) = tally.hits()
    assert (hit.id, hit.tensors, hit.outdated) == ("counter", 1, False)


def test_an_entry_that_no_longer_occurs_is_outdated():
    tally = KnownTally([ENTRY], "0.9.0")
    assert tally.split([pair("a.counter", "buffer", False)]) == ([], 0)
    (hit,) = tally.hits()
    assert hit.outdated and hit.tensors == 0


def test_an_entry_without_its_tensors_says_nothing():
    assert KnownTally([ENTRY], "0.9.0").hits() == []


def test_only_a_batch_norm_s_own_counter_is_known():
    def entry(owner, name="bn.num_batches_tracked", digest="e"):
        return Entry(
            level=FIRST_UPDATE, name=name, kind="buffer", shape=[], digest=digest, owner=owner
        )

    for owner, known in (("BatchNorm2d", 1), ("FusedBatchNorm2d", 1), ("Module", 0)):
        comparison = Comparison([entry(owner)], [entry(owner, digest="g")], "0.9.0")
        comparison.judge()
        (level,) = comparison.levels
        assert (level.known, level.different) == (known, 1 - known)
        for layer in ("bn", "bn (call 2)"):
            reason = comparison.find_known_reason(FIRST_UPDATE, f"{layer}.num_batches_tracked")
            assert bool(reason) == bool(known)
    alone = Comparison([entry("BatchNorm2d", "num_batches_tracked")], [], "0.9.0")
    assert alone.find_known_reason(FIRST_UPDATE, "output.num_batches_tracked")


@pytest.mark.oneflow
def test_a_buffer_s_owner_is_the_oneflow_class_that_holds_it():
    from oneflow import nn

    from oneflow_bench.bench.training.oneflow_compat import find_owner

    class Own(nn.Module):
        pass

    class Derived(nn.BatchNorm2d):
        pass

    model = nn.Sequential(Derived(2), nn.ModuleDict({"deep": nn.BatchNorm1d(2)}), Own())
    found = [find_owner(model, f"{path}.counter") for path in ("0", "1.deep", "2")]
    assert found == ["BatchNorm2d", "BatchNorm1d", "Module"]
    assert find_owner(Own(), "counter") == "Module"
