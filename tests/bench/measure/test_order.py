from __future__ import annotations

from itertools import islice

import pytest

from oneflow_bench.bench.measure.order import choose_block_steps, generate_orders, split_steps


def test_orders_come_as_abba_or_baab():
    orders = list(islice(generate_orders(["a", "b"], seed=3), 200))
    for first, second in zip(orders[::2], orders[1::2]):
        assert second == first[::-1]
    starts = [first[0] for first in orders[::2]]
    assert 30 < starts.count("a") < 70


def test_orders_depend_on_the_seed_alone():
    def take(seed):
        return list(islice(generate_orders(["a", "b"], seed), 50))

    assert take(1) == take(1) != take(2)


@pytest.mark.parametrize("steps, length", [(45, 4), (40, 3), (7, 7), (1, 5), (3, 2), (100, 9)])
def test_blocks_cover_the_steps_and_are_nearly_equal(steps, length):
    blocks = split_steps(steps, length)
    assert sum(blocks) == steps
    assert max(blocks) - min(blocks) <= 1


def test_no_steps_are_no_blocks():
    assert split_steps(0, 3) == []


def test_block_length_aims_at_the_target_and_leaves_enough_blocks():
    assert choose_block_steps(0.25, 1.0, 100, None) == 4
    assert choose_block_steps(0.001, 1.0, 60, None) == 10
    assert choose_block_steps(30.0, 1.0, 60, None) == 1
    assert choose_block_steps(0.1, 1.0, 3, None) == 1
    assert choose_block_steps(0.1, 1.0, 60, 7) == 7
    assert choose_block_steps(0.1, 1.0, 4, 7) == 4
