"""Looking at the data before the end, and paying for it.

A run looks when there is notably more to see, and may stop at each look. The j-th look may spend
alpha / (j (j + 1)) of the error that a verdict is allowed; these add up to alpha however many looks
there are, so by the union bound the chance of ever calling equal programs different stays below
alpha (alpha spending: Lan and DeMets, Biometrika 70, 1983; a sum instead of their recursion keeps
it valid whatever the dependence between looks, at the price of a few percent more data).
"""

from __future__ import annotations

DIFFERENCE_ALPHA = 0.01  # chance of `faster` or `slower` for equal programs, over a whole run
GROWTH = 1.5  # a further look is worth its price when there are that many times more data


def look_alpha(look: int, alpha: float = DIFFERENCE_ALPHA) -> float:
    """What look number `look`, from 1, may spend. Raises ValueError for a number below 1."""
    if look < 1:
        raise ValueError(f"look {look} was asked for; looks are numbered from 1")
    return alpha / (look * (look + 1))


def is_look_due(data: int, data_at_last_look: int) -> bool:
    """Whether the data, counted in double rounds of replicates, have grown enough for a look."""
    return data >= GROWTH * data_at_last_look
