"""One contender of a record: what was measured of it, and values that follow from that."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Dict, List, Optional, Sequence

from ..config import Contender
from .events import BlockEvent, EvalEvent, SetupEvent
from .run import RunRecord


@dataclass(frozen=True)
class Side:
    """A contender of a record, by its name there."""

    record: RunRecord
    name: str

    @cached_property
    def contender(self) -> Contender:
        return next(one for one in self.record.document.contenders if one.name == self.name)

    @cached_property
    def setup(self) -> Optional[SetupEvent]:
        return next(iter(self.record.of_kind(SetupEvent, self.name)), None)

    @property
    def environment(self) -> Dict[str, Any]:
        """Versions, variables and BLAS of its process; empty where nothing was started."""
        return self.setup.environment if self.setup else {}

    @cached_property
    def blocks(self) -> List[BlockEvent]:
        return self.record.of_kind(BlockEvent, self.name)

    @cached_property
    def steady_blocks(self) -> List[BlockEvent]:
        return [block for block in self.blocks if block.kind == "steady"]

    @cached_property
    def evals(self) -> List[EvalEvent]:
        return self.record.of_kind(EvalEvent, self.name)

    def list_losses(self) -> List[Optional[float]]:
        """Of all steps; None where not finite."""
        return [loss for block in self.blocks for loss in block.losses]


def find_best(evaluations: Sequence[EvalEvent]) -> Optional[EvalEvent]:
    """The validation of the best weights: the first where several are equal.

    None where no validation gave a finite loss or an accuracy.
    """
    known = [one for one in evaluations if one.quality > -math.inf]
    return max(known, key=lambda one: one.quality) if known else None
