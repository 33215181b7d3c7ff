from __future__ import annotations

import json

import pytest
from scaling.link import (
    AllReduceDocument,
    AllReduceSample,
    Link,
    all_reduce_time_s,
    create_link,
    fit_link,
    load_all_reduce,
    sent_bytes,
)

from oneflow_bench.bench.errors import InputError, RecordError

LINK = Link(latency_s=0.5, bandwidth_bytes_per_s=100.0)


@pytest.mark.parametrize(
    "algorithm, ranks, messages, sent",
    [
        ("ring", 1, 0, 0),
        ("ring", 2, 2, 800),
        ("ring", 8, 14, 1400),
        ("ring", 5, 8, 1280),
        ("tree", 1, 0, 0),
        ("tree", 2, 2, 800),
        ("tree", 8, 6, 1400),
        ("tree", 1024, 20, 1598.4375),
    ],
)
def test_an_all_reduce_of_800_bytes_worked_by_hand(algorithm, ranks, messages, sent):
    assert sent_bytes(ranks, 800) == pytest.approx(sent)
    assert all_reduce_time_s(algorithm, ranks, 800, LINK) == pytest.approx(
        messages * 0.5 + sent / 100
    )


def test_a_tree_of_ranks_that_are_no_power_of_two_is_refused():
    with pytest.raises(InputError, match="6 ranks were given with the algorithm tree"):
        all_reduce_time_s("tree", 6, 800, LINK)


def measured(algorithm, ranks, link, sizes, errors=(0.0,)):
    samples = [
        AllReduceSample(
            size_bytes=size,
            time_s=all_reduce_time_s(algorithm, ranks, size, link)
            * (1 + errors[number % len(errors)]),
        )
        for number, size in enumerate(sizes)
    ]
    return AllReduceDocument(ranks=ranks, samples=samples)


@pytest.mark.parametrize("algorithm, ranks", [("ring", 2), ("ring", 5), ("tree", 8)])
def test_the_fit_finds_a_planted_link(algorithm, ranks):
    link = Link(latency_s=3e-5, bandwidth_bytes_per_s=1.25e9)
    document = measured(algorithm, ranks, link, [4096, 65536, 2**20, 2**24])
    fit = fit_link(document, algorithm)
    assert fit.link.latency_s == pytest.approx(3e-5, rel=1e-6)
    assert fit.link.bandwidth_bytes_per_s == pytest.approx(1.25e9, rel=1e-6)
    assert fit.worst_residual < 1e-6
    assert not fit.is_bad


def test_a_latency_below_0_is_held_there():
    samples = [AllReduceSample(size_bytes=n, time_s=t) for n, t in [(10, 1), (20, 2.1), (30, 3.2)]]
    fit = fit_link(AllReduceDocument(ranks=2, samples=samples), "ring")
    assert fit.latency_held and fit.link.latency_s == 0.0
    assert fit.link.bandwidth_bytes_per_s == pytest.approx(9.6, rel=0.02)


def test_the_error_of_a_fit_is_told():
    link = Link(latency_s=3e-5, bandwidth_bytes_per_s=1.25e9)
    sizes = [2**power for power in range(10, 26)]
    fit = fit_link(measured("ring", 2, link, sizes, (0.02, -0.02)), "ring")
    assert fit.latency_low_s < 3e-5 < fit.latency_high_s
    assert fit.bandwidth_low_bytes_per_s < 1.25e9 < fit.bandwidth_high_bytes_per_s
    assert 0.015 < fit.worst_residual < 0.03 and not fit.is_bad
    assert fit_link(measured("ring", 2, link, sizes, (0.4, -0.4)), "ring").is_bad


@pytest.mark.parametrize(
    "times, words",
    [
        ({4096: 1.0, 8192: 2.0}, "has 2 sizes and the fit needs 3"),
        ({4096: 3.0, 8192: 2.0, 16384: 1.0}, "do not grow with the size"),
    ],
)
def test_times_from_which_no_link_follows_are_refused(times, words):
    samples = [AllReduceSample(size_bytes=size, time_s=time) for size, time in times.items()]
    with pytest.raises(InputError, match=words):
        fit_link(AllReduceDocument(ranks=2, samples=samples), "ring")


@pytest.mark.parametrize("latency, bandwidth", [(0, 0), (0, -1), (0, float("nan")), (-1, 1)])
def test_numbers_that_no_link_has_are_refused(latency, bandwidth):
    with pytest.raises(InputError, match="is no (bandwidth|latency); give"):
        create_link(latency, bandwidth)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"ranks": 1}, "ranks"),
        ({"samples": [{"size_bytes": 0, "time_s": 1.0}]}, "samples.0.size_bytes"),
        ({"samples": [{"size_bytes": 8, "time_s": -1.0}]}, "samples.0.time_s"),
        ({"schema_version": 9}, "schema version 9"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, change, words):
    path = tmp_path / "all.json"
    good = {"schema_version": 1, "ranks": 2, "samples": [{"size_bytes": 8, "time_s": 1.0}]}
    path.write_text(json.dumps(good))
    assert load_all_reduce(path).ranks == 2
    path.write_text(json.dumps({**good, **change}))
    with pytest.raises(RecordError, match=words):
        load_all_reduce(path)
