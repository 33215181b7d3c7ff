"""The summaries of results on one screen of 80 x 40: the verdicts first, then at most ten rows."""

from __future__ import annotations

from typing import List

from ..blocks import Block, Table, Text

MOST_ROWS = 10  # of a table


def cut_table(block: Block) -> Block:
    """A table or text of more than ten rows ends with how many are left out. Others stay."""
    if isinstance(block, Text) and len(block.lines) > MOST_ROWS:
        left_out = len(block.lines) - MOST_ROWS + 1
        return Text([*block.lines[: MOST_ROWS - 1], f"{left_out} more: -v"])
    if not isinstance(block, Table) or len(block.rows) <= MOST_ROWS:
        return block
    more = [f"{len(block.rows) - MOST_ROWS + 1} more: -v", *[""] * (len(block.columns) - 1)]
    return Table(block.columns, [*block.rows[: MOST_ROWS - 1], more], block.right)


def summarize_blocks(blocks: List[Block]) -> List[Block]:
    """A report up to its first table, and the text that it ends with, such as the failures."""
    first = next((at for at, one in enumerate(blocks) if isinstance(one, Table)), len(blocks) - 1)
    last = blocks[first + 1 :][-2:] if isinstance(blocks[-1], Text) else []
    return [*map(cut_table, blocks[: first + 1]), *map(cut_table, last)]
