"""The summaries of results on one screen of 80 x 40: the verdicts first, then at most ten rows."""

from __future__ import annotations

from ..blocks import Block, Table

MOST_ROWS = 10  # of a table


def cut_table(block: Block) -> Block:
    """A table of more than ten rows ends with how many are left out. Other blocks stay."""
    if not isinstance(block, Table) or len(block.rows) <= MOST_ROWS:
        return block
    more = [f"{len(block.rows) - MOST_ROWS + 1} more: -v", *[""] * (len(block.columns) - 1)]
    return Table(block.columns, [*block.rows[: MOST_ROWS - 1], more], block.right)
