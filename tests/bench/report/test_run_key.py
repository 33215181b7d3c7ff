from __future__ import annotations

import pytest
from histories import create_run

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.record.events import SetupEvent
from oneflow_bench.bench.report.run_key import create_series_key, list_differences


def test_runs_that_differ_in_seed_and_time_alone_share_a_key():
    first, second = create_run(0), create_run(1, step_time_s=0.2, loss_shift=1e-3)
    workload = second.document.workload.model_copy(update={"seed": 7})
    second.document.workload = workload
    second.document.environment_start["git_commit"] = "another"
    second.document.environment_start["memory_bytes"] += 1000
    assert create_series_key(first) == create_series_key(second)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda d: d.environment_start["cpu"].update(model="Other CPU"),
         ["processor Other CPU rather than Example CPU"]),
        (lambda d: d.environment_start["cpu"].update(cores=8), ["cores 8 rather than 2"]),
        (lambda d: d.environment_start.update(memory_bytes=2**34),
         ["memory 16 GiB rather than 8 GiB"]),
        (lambda d: d.environment_start.update(blas_kernel={"eager": "Zen", "graph": "Zen"}),
         ["blas_kernel Zen rather than unknown"]),
        (lambda d: d.environment_start.update(blas_kernel={"graph": "Zen"}),
         ["blas_kernel of graph Zen rather than unknown"]),
        (lambda d: setattr(d, "workload", d.workload.model_copy(update={"batch_size": 64})),
         ["batch_size 64 rather than 32"]),
        (lambda d: setattr(d, "workload", d.workload.model_copy(update={"alpha": 0.5})),
         ["alpha 0.5 rather than none"]),
        (lambda d: setattr(d, "train_samples", 5), ["train_samples 5 rather than 640"]),
        (lambda d: setattr(d, "contenders", [
            c.model_copy(update={"runtime": "stock"}) for c in d.contenders]),
         ["runtime stock rather than tuned"]),
        (lambda d: setattr(d, "contenders", [Contender(name="eager", mode="eager")]),
         ["contenders eager rather than eager, graph"]),
    ],
)  # fmt: skip
def test_what_must_match_is_named_when_it_does_not(change, words):
    before, after = create_run(0), create_run(1)
    change(after.document)
    keys = create_series_key(before), create_series_key(after)
    assert keys[0] != keys[1]
    assert list_differences(*keys) == words


def with_environment(record, **environment):
    """The record with that software in every worker's setup."""
    for index, event in enumerate(record.events):
        if isinstance(event, SetupEvent):
            record.events[index] = event.model_copy(update={"environment": environment})
    return create_series_key(record)


def test_oneflow_and_the_variables_in_effect_must_match():
    old = with_environment(create_run(0), oneflow="0.8.0", variables={"OMP_NUM_THREADS": "1"})
    new = with_environment(create_run(1), oneflow="0.9.0", variables={"GLOG_v": "2"})
    assert list_differences(old, new) == [
        "oneflow 0.9.0 rather than 0.8.0",
        "GLOG_v 2 rather than unset",
        "OMP_NUM_THREADS unset rather than 1",
    ]
    unknown = create_series_key(create_run(2))
    assert "oneflow 0.9.0 rather than unknown" in list_differences(unknown, new)


def test_equal_keys_have_no_differences():
    key = create_series_key(create_run(0))
    assert list_differences(key, dict(key)) == []
