from __future__ import annotations

import pytest

pytestmark = pytest.mark.oneflow


@pytest.mark.parametrize(
    "version, alone",
    [("0.8.0", True), ("0.7.0", True), ("0.9.0", False), ("0.9.1.dev20230101", False),
     ("1.0.0", False)],
)  # fmt: skip
def test_the_reader_of_an_old_oneflow_runs_alone(version, alone):
    from oneflow_bench.feeds import reads_alone

    assert reads_alone(version) is alone


def test_a_reader_that_runs_alone_waits_before_and_after_and_reads_the_same(monkeypatch):
    from oneflow_bench import feeds
    from oneflow_bench.config import Workload
    from oneflow_bench.data import default_dataset_path, load_dataset

    def read(batches):
        workload = Workload(model="lenet", batch_size=4, val_batch_size=4)
        train, _ = feeds.create_feeds(workload, load_dataset(default_dataset_path()), "cpu")
        return [train.next_batch()[1].numpy().tolist() for _ in range(batches)]

    waits = []
    monkeypatch.setattr(feeds, "synchronize", lambda: waits.append(1))
    plain = read(3)
    assert waits == []
    monkeypatch.setattr(feeds, "reads_alone", lambda version: True)
    assert read(3) == plain and len(waits) == 6
