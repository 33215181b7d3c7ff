"""Values that follow from the events of a training."""

from __future__ import annotations

import math
from typing import List, Optional, Sequence

from .events import BlockEvent, EvalEvent


def list_losses(blocks: List[BlockEvent]) -> List[Optional[float]]:
    """The losses of all steps of a contender."""
    return [loss for block in blocks for loss in block.losses]


def find_best(evaluations: Sequence[EvalEvent]) -> Optional[EvalEvent]:
    """The validation of the best weights: the first where several are equal.

    None where no validation gave a finite loss or an accuracy.
    """
    known = [one for one in evaluations if one.quality > -math.inf]
    return max(known, key=lambda one: one.quality) if known else None
