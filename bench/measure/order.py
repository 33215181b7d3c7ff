"""Whose turn it is: randomised ABBA / BAAB order, and how an epoch is cut into blocks."""

from __future__ import annotations

import math
import random
from typing import Iterator, List, Optional, Sequence, Tuple

WARMUP_STEPS = 4  # after the first step; the first steps of a process ran up to 1.6x slower
MIN_BLOCKS_PER_EPOCH = 6
SPEED_BLOCK_S = 0.05  # thousands of times the clock's resolution; a tenth of a double round's drift
SYNC_SHARE = 200  # a block is so many times longer than the synchronisation it ends with
UNTIMED_BELOW_S = 0.1
WARMUP_S = 0.24
MOST_WARMUP_BLOCKS, FEWEST_WARMUP_BLOCKS = 12, 4


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


def choose_speed_block_steps(step_time_s: float, sync_s: float, block_steps: Optional[int]) -> int:
    """Steps of a block of the speed phase: as given, or long against a synchronisation.

    Short otherwise: the machine drifts over seconds, and what is compared should lie together.
    """
    if block_steps is not None:
        return block_steps
    return max(1, math.ceil(max(SPEED_BLOCK_S, SYNC_SHARE * sync_s) / max(step_time_s, 1e-9)))


def choose_untimed_steps(step_time_s: float) -> int:
    """Steps run before a block's clock starts; none where a step is long against filling caches."""
    return 1 if step_time_s < UNTIMED_BELOW_S else 0


def choose_warmup_blocks(step_time_s: float) -> Tuple[int, int]:
    """(blocks, steps of each) that a fresh worker runs before the next look at its warm-up."""
    blocks = min(MOST_WARMUP_BLOCKS, max(FEWEST_WARMUP_BLOCKS, round(WARMUP_S / step_time_s)))
    return blocks, max(1, round(WARMUP_S / MOST_WARMUP_BLOCKS / step_time_s))


def split_steps(steps: int, block_steps: int) -> List[int]:
    """Lengths of the blocks that make up `steps`; they differ by one at most.

    Near-equal lengths instead of full blocks and a short last one: a short block is a noisy one.
    """
    if steps == 0:
        return []
    count = max(1, round(steps / block_steps))
    return [steps // count + (1 if index < steps % count else 0) for index in range(count)]
