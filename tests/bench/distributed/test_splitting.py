from __future__ import annotations

import pytest


@pytest.mark.oneflow
@pytest.mark.parametrize(
    "work, stages, expected",
    [
        ([5], 1, [0]),
        ([1, 1, 1, 1], 2, [0, 0, 1, 1]),
        ([9, 1, 1, 1], 2, [0, 1, 1, 1]),
        ([1, 1, 1, 9], 2, [0, 0, 0, 1]),
        ([0, 0, 7, 0], 3, [0, 0, 1, 2]),
        ([5, 0, 0, 5, 0], 2, [0, 0, 0, 1, 1]),
        ([4, 3, 2, 5, 1], 3, [0, 1, 1, 2, 2]),
    ],
)
def test_the_largest_stage_is_as_small_as_it_can_be(work, stages, expected):
    from oneflow_bench.bench.distributed.strategies import cut

    assert cut(work, stages) == expected


@pytest.mark.oneflow
def test_sequences_are_opened_and_other_children_are_not():
    from oneflow import nn

    from oneflow_bench.bench.distributed.strategies import list_parts

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.ReLU(), nn.ReLU()))
            self.block = Block()
            self.head = nn.Linear(4, 2)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 1)

    assert list_parts(Model()) == ["stem.0", "stem.1.0", "stem.1.1", "block", "head"]
