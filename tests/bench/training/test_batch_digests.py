from __future__ import annotations

import hashlib

import numpy as np

from oneflow_bench.bench.training.feeds import BatchDigests, join_digests


class Tensor:
    """Counts how often it is read."""

    def __init__(self, values):
        self.values, self.reads = np.array(values, np.int32), 0

    def __len__(self):
        return len(self.values)

    def numpy(self):
        self.reads += 1
        return self.values


def test_one_reader_s_digest_is_over_whole_tensors():
    rows = np.array([1, 2], np.int32)
    inner = hashlib.sha256(rows.tobytes()).hexdigest()
    digest = BatchDigests(1, False).digest([Tensor([1, 2]), Tensor([1, 2])])
    assert digest == hashlib.sha256((inner + inner).encode()).hexdigest()


def test_what_one_process_read_is_what_its_readers_read():
    whole = BatchDigests(2, False).digest([Tensor([1, 2, 3, 4]), Tensor([5, 6, 7, 8])])
    first = BatchDigests(1, False).digest([Tensor([1, 2]), Tensor([5, 6])])
    second = BatchDigests(1, False).digest([Tensor([3, 4]), Tensor([7, 8])])
    assert whole == join_digests([first, second]) != join_digests([second, first])


def test_a_preloaded_tensor_is_hashed_once():
    tensor = Tensor([1, 2])
    for preloaded, reads in ((True, 1), (False, 4)):
        tensor.reads = 0
        BatchDigests(1, preloaded).digest([tensor] * 4)
        assert tensor.reads == reads
