"""Registers ranks with the rooms below: the strategies as modes, and an extension of the report.

Both load the code of ranks only when it is needed. A contender that gives a mode and a
number of ranks alone takes the first strategy of its mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Mapping, Optional, Sequence, Tuple

from ..plan.modes import ModeSpec, find_mode, register_mode, spell_strategy
from ..report.extension import EXTENSIONS, Addition

if TYPE_CHECKING:
    from ..record.run import RunRecord
    from ..report.blocks import Block
    from ..report.comparison import Comparison
    from ..verdict.statistics import Ratio


_CLASSES = {
    ("eager", "ddp"): "DistributedEager",
    ("eager", "global"): "GlobalEager",
    ("graph", "dp"): "SharedGraph",
    ("graph", "tp"): "TensorParallelGraph",
    ("graph", "pp"): "PipelineGraph",
    ("graph", "zero"): "ZeroGraph",
}


def register_strategies() -> None:
    """Let contenders name a strategy."""
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


class RanksExtension:
    """Judges ranks against one process in float64, and shows scaling, costs and parity."""

    def compare(
        self,
        record: RunRecord,
        baseline: str,
        contender: str,
        ratio: Optional[Ratio],
        parity: Tuple[str, str],
        accuracy_difference: Optional[float],
    ) -> Optional[Addition]:
        from .parity import compare_ranks

        found, judged = compare_ranks(
            record, baseline, contender, ratio, parity, accuracy_difference
        )
        return None if found is None else Addition(found, judged, found.expected is not None)

    def list_blocks(
        self, comparisons: Sequence[Comparison], unavailable: Mapping[str, str]
    ) -> List[Block]:
        from .report import list_rank_blocks

        return list_rank_blocks(comparisons, unavailable)


EXTENSION = RanksExtension()


def register_extension() -> None:
    """Let reports judge and show contenders of several ranks."""
    if EXTENSION not in EXTENSIONS:
        EXTENSIONS.append(EXTENSION)
