"""Whose turn it is: randomised ABBA / BAAB order, and how an epoch is cut into blocks."""

from __future__ import annotations

import random
from typing import Iterator, List, Optional, Sequence

WARMUP_STEPS = 4  # after the first step; the first steps of a process ran up to 1.6x slower
MIN_BLOCKS_PER_EPOCH = 6


def generate_orders(names: Sequence[str], seed: int) -> Iterator[List[str]]:
    """Endless orders of the contenders, one order a block.

    Orders come two by two: a random one, then its reverse, so that with two contenders every
    double pair is ABBA or BAAB and a linear drift of the machine cancels out of it.
    """
    source = random.Random(seed)
    while True:
        order = list(names)
        source.shuffle(order)
        yield order
        yield order[::-1]


def choose_block_steps(
    step_time_s: float, block_target_s: float, steps_per_epoch: int, block_steps: Optional[int]
) -> int:
    """Steps in a steady block: as given, or so many that a block lasts about `block_target_s`.

    A chosen length leaves at least `MIN_BLOCKS_PER_EPOCH` blocks in an epoch that has the steps.
    """
    if block_steps is not None:
        return min(block_steps, steps_per_epoch)
    wanted = round(block_target_s / max(step_time_s, 1e-9))
    return max(1, min(wanted, steps_per_epoch // MIN_BLOCKS_PER_EPOCH))


def split_steps(steps: int, block_steps: int) -> List[int]:
    """Lengths of the blocks that make up `steps`; they differ by one at most.

    Near-equal lengths instead of full blocks and a short last one: a short block is a noisy one.
    """
    if steps == 0:
        return []
    count = max(1, round(steps / block_steps))
    return [steps // count + (1 if index < steps % count else 0) for index in range(count)]
