"""The part of a comparison's report on contenders of several ranks.

Registered by the command line; loads the code of ranks when there is something to compare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Mapping, Optional, Sequence, Tuple

from ..report.extension import EXTENSIONS, Addition

if TYPE_CHECKING:
    from ..record.run import RunRecord
    from ..report.blocks import Block
    from ..report.comparison import Comparison
    from ..verdict.statistics import Ratio


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
        from .comparison import compare_ranks

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
