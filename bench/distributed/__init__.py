"""Training in several processes: ranks, how they share the work, and several machines.

Importing this package registers its strategies as modes and its part of a report. No room below
knows of it, and the code of ranks is loaded when it is needed. A contender that gives a mode and a
number of ranks alone takes the first strategy of its mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Mapping, Sequence

from ..plan.modes import ModeSpec, find_mode, register_mode, spell_strategy
from ..report.comparison import EXTENSIONS

if TYPE_CHECKING:
    from ..record.run import RunRecord
    from ..report.blocks import Block
    from ..report.comparison import Comparison

_CLASSES = {
    ("eager", "ddp"): "DistributedEager",
    ("eager", "global"): "GlobalEager",
    ("graph", "dp"): "SharedGraph",
    ("graph", "tp"): "TensorParallelGraph",
    ("graph", "pp"): "PipelineGraph",
    ("graph", "zero"): "ZeroGraph",
}


class RanksExtension:
    """Judges ranks against one process in float64, and shows scaling, costs and parity."""

    def extend(self, record: RunRecord, comparison: Comparison) -> Comparison:
        from .parity import judge_comparison

        return judge_comparison(record, comparison)

    def list_blocks(
        self, comparisons: Sequence[Comparison], unavailable: Mapping[str, str]
    ) -> List[Block]:
        from .report import list_rank_blocks

        return list_rank_blocks(comparisons, unavailable)


for (mode, strategy), name in _CLASSES.items():
    register_mode(
        ModeSpec(
            spell_strategy(mode, strategy),
            f"{__package__}.strategies:{name}",
            is_compiled=find_mode(mode).is_compiled,
            strategy=strategy,
            shared_mode=mode,
        )
    )
EXTENSIONS.append(RanksExtension())
