"""The hook by which a room above adds a judgement and blocks of its own to a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, List, Mapping, Optional, Protocol, Sequence, Tuple

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ..record.run import RunRecord
    from ..verdict.statistics import Ratio
    from .blocks import Block
    from .comparison import Comparison


@dataclass(frozen=True)
class Addition:
    """The part of a comparison that an extension computes."""

    payload: BaseModel  # stored as `ranks` in the comparison
    parity: Tuple[str, str]  # the verdict and its reason
    expected: bool  # a known difference explains a parity of "different"


class Extension(Protocol):
    """Adds to the comparisons of the contenders that it knows."""

    def compare(
        self,
        record: RunRecord,
        baseline: str,
        contender: str,
        ratio: Optional[Ratio],
        parity: Tuple[str, str],
        accuracy_difference: Optional[float],
    ) -> Optional[Addition]:
        """Judge a contender of one run; None for a contender that the extension does not know.

        `ratio` is the speedup of the train step. `parity` is the verdict by weights, batches and
        losses of the two contenders, and its reason.
        """

    def list_blocks(
        self, comparisons: Sequence[Comparison], unavailable: Mapping[str, str]
    ) -> List[Block]:
        """Blocks for the end of the report; none where no comparison has this addition.

        `unavailable` maps contenders that were left out of the run to the reason.
        """


EXTENSIONS: List[Extension] = []  # the command line registers them


def find_addition(
    record: RunRecord,
    baseline: str,
    contender: str,
    ratio: Optional[Ratio],
    parity: Tuple[str, str],
    accuracy_difference: Optional[float],
) -> Optional[Addition]:
    """The addition of the first extension that knows the contender."""
    for extension in EXTENSIONS:
        found = extension.compare(record, baseline, contender, ratio, parity, accuracy_difference)
        if found is not None:
            return found
    return None


def list_extension_blocks(
    comparisons: Sequence[Comparison], unavailable: Mapping[str, str]
) -> List[Block]:
    """The blocks of all extensions."""
    return [
        block
        for extension in EXTENSIONS
        for block in extension.list_blocks(comparisons, unavailable)
    ]
