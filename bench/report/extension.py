"""The hook by which a room above adds a judgement and blocks of its own to a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Mapping, Protocol, Sequence

if TYPE_CHECKING:
    from ..record.run import RunRecord
    from .blocks import Block
    from .comparison import Comparison


class Extension(Protocol):
    """Adds to the comparisons of the contenders that it knows."""

    def extend(self, record: RunRecord, comparison: Comparison) -> Comparison:
        """Two contenders of one run with a judgement and `ranks`, the extension's payload.

        Returns the comparison as it is for a contender that the extension does not know.
        """

    def list_blocks(
        self, comparisons: Sequence[Comparison], unavailable: Mapping[str, str]
    ) -> List[Block]:
        """Blocks for the end of the report; none where no comparison has this payload.

        `unavailable` maps contenders that were left out of the run to the reason.
        """


EXTENSIONS: List[Extension] = []  # a room above adds its own when it is imported
