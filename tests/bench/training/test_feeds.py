from __future__ import annotations

import pytest

pytestmark = pytest.mark.oneflow


@pytest.mark.parametrize(
    "version, alone",
    [("0.8.0", True), ("0.7.0", True), ("0.9.0", False), ("0.9.1.dev20230101", False),
     ("1.0.0", False)],
)  # fmt: skip
def test_the_reader_of_an_old_oneflow_runs_alone(version, alone):
    from oneflow_bench.bench.training.oneflow_compat import reads_alone

    assert reads_alone(version) is alone


def test_a_reader_that_runs_alone_waits_before_and_after_and_reads_the_same(monkeypatch):
    from oneflow_bench.bench.config import Workload
    from oneflow_bench.bench.training import feeds
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


def test_readers_inside_a_graph_give_the_joined_batches(tmp_path):
    import oneflow as flow

    from oneflow_bench.bench.config import Workload
    from oneflow_bench.bench.training import feeds
    from oneflow_bench.data import default_dataset_path, load_dataset, share_dataset

    dataset = share_dataset(load_dataset(default_dataset_path()), 2, tmp_path / "shared")
    workload = Workload(model="lenet", batch_size=4, val_batch_size=6, readers=2)
    plain, _ = feeds.create_feeds(workload, dataset, "cpu")
    inside, val = feeds.create_feeds(workload, dataset, "cpu")
    assert (val.reader_samples, val.steps_per_pass) == ((180, 179), 60)

    class Inside(flow.nn.Graph):
        def __init__(self):
            super().__init__()
            self.loader = inside.loader

        def build(self):
            return self.loader()

    graph = Inside()
    for _ in range(3):
        for expected, found in zip(plain.next_batch(), graph()):
            assert expected.numpy().tobytes() == found.numpy().tobytes()


@pytest.mark.parametrize("name", ["batch_size", "val_batch_size"])
def test_a_batch_that_readers_cannot_share_is_refused(name):
    from oneflow_bench.bench.config import Workload
    from oneflow_bench.bench.errors import InputError
    from oneflow_bench.bench.training.feeds import check_readers
    from oneflow_bench.bench.training.identity import ALONE

    workload = Workload(**{"batch_size": 9, "val_batch_size": 9, "readers": 3, name: 10})
    with pytest.raises(InputError, match="10 cannot be shared evenly by 3 readers"):
        check_readers(workload, ALONE)
