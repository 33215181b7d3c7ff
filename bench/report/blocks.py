"""The parts of a report, and how a terminal, Markdown and HTML show them.

A report is built once, as a list of blocks, so that the renderers cannot disagree.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Callable, List, Literal, Sequence, Union
from urllib.parse import quote

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Heading:
    """Begins a section."""

    text: str


@dataclass(frozen=True)
class Text:
    """Lines of prose, each a sentence or more; `words` between backticks are code."""

    lines: List[str]


@dataclass(frozen=True)
class Table:
    """Columns in `right` are numbers."""

    columns: List[str]
    rows: List[List[str]]
    right: List[str] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """A picture; `path` is relative to the folder of the report."""

    title: str
    path: str


GAP = 2  # letters between the columns of a terminal's table
VERDICT = r"^(Parity|Speed)[^:.]*: [^.]+\."
Block = Union[Heading, Text, Table, Figure]


def strip_controls(text: str) -> str:
    """Without the control characters of a log, which a terminal obeys and XML forbids."""
    without_colours = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    return "".join(c for c in without_colours if c in "\n\t" or unicodedata.category(c)[0] != "C")


def print_blocks(blocks: Sequence[Block], console: Console) -> None:
    """To a terminal, within its width."""
    from rich.text import Text as Prose

    for previous, block in zip([None, *blocks], blocks):
        if previous and (isinstance(block, Heading) or not isinstance(previous, Heading)):
            console.print()
        if isinstance(block, Heading):
            console.print(Prose(strip_controls(block.text), style="bold"))
        elif isinstance(block, Text):
            for line in block.lines:
                prose = Prose(strip_controls(line))
                prose.highlight_regex(VERDICT, "bold")
                console.print(prose, highlight=False)
        elif isinstance(block, Figure):
            console.print(Prose(strip_controls(f"{block.title}: {block.path}")), highlight=False)
        else:
            _print_table(block, console)


def _print_table(block: Table, console: Console) -> None:
    """No word is cut: a terminal too narrow for the longest of each column shows row by row."""
    from rich import box
    from rich import table as rich_table
    from rich.cells import cell_len
    from rich.text import Text as Prose

    table = rich_table.Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False
    )
    titles, *rows = [[strip_controls(cell) for cell in row] for row in (block.columns, *block.rows)]
    columns = [[title, *cells] for title, *cells in zip(titles, *rows)]
    least = [
        max((cell_len(w) for cell in cells for w in cell.split()), default=1) for cells in columns
    ]
    spare = console.width - sum(least) - GAP * (len(columns) - 1)
    if spare < 0:
        for name, *values in rows:
            console.print(Prose(name), soft_wrap=True)
            for title, value in zip(titles[1:], values):
                for line in Prose(f"{title}: {value}").wrap(console, max(1, console.width - 2)):
                    console.print(Prose(f"  {line}"))
        return
    lines = [[line for cell in cells for line in cell.split("\n")] for cells in columns]
    wanted = [max(map(cell_len, each)) - width for each, width in zip(lines, least)]
    widths = dict(enumerate(least))
    for done, index in enumerate(sorted(widths, key=lambda index: wanted[index])):
        more = min(wanted[index], spare // (len(widths) - done))
        widths[index] += more
        spare -= more
    for index, title in enumerate(titles):
        justify: Literal["left", "right"] = "right" if title in block.right else "left"
        table.add_column(Prose(title), justify=justify, width=widths[index])
    for row in rows:
        table.add_row(*map(Prose, row))
    console.print(table)


def format_markdown(blocks: Sequence[Block]) -> str:
    """As Markdown; the first heading is the page's title."""
    parts = []
    level = "#"
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"{level} {_escape(block.text)}")
            level = "##"
        elif isinstance(block, Text):
            parts.append("\n".join(f"{_escape_prose(line)}  " for line in block.lines))
        elif isinstance(block, Figure):
            parts.append(f"![{_escape(block.title)}]({quote(block.path)})")
        else:
            head = [_row([_escape(name) for name in block.columns])]
            head.append(_row(["---:" if name in block.right else "---" for name in block.columns]))
            parts.append("\n".join(head + [_row([_escape(c) for c in row]) for row in block.rows]))
    return "\n\n".join(parts) + "\n"


def format_html(blocks: Sequence[Block], explain: Callable[[str], str] = lambda label: "") -> str:
    """As HTML below a page's title: headings are h2.

    `explain` gives the explanation of a row by its label. The label opens it.
    """
    parts = []
    for number, block in enumerate(blocks):
        if isinstance(block, Heading):
            parts.append(f"<h2>{_to_html(block.text)}</h2>")
        elif isinstance(block, Text):
            parts += [f"<p>{format_prose(line)}</p>" for line in block.lines]
        elif isinstance(block, Figure):
            title = _to_html(block.title)
            parts.append(f'<img src="{escape(quote(block.path))}" alt="{title}">')
        else:
            titles = [one.text for one in blocks[:number] if isinstance(one, Heading)]
            parts.append(_format_table(block, (titles or ["Table"])[-1], explain))
    return "\n".join(parts)


def _format_table(table: Table, title: str, explain: Callable[[str], str]) -> str:
    """The first cell of a row is its header; a narrow screen scrolls the table alone."""
    kinds = [' class="number"' if name in table.right else "" for name in table.columns]
    head = "".join(
        f'<th scope="col"{kind}>{_to_html(name)}</th>' if name else f"<td{kind}></td>"
        for name, kind in zip(table.columns, kinds)
    )
    lines = [f"<thead><tr>{head}</tr></thead>", "<tbody>"]
    for label, *cells in table.rows:
        name, told = _to_html(label), escape(explain(label))
        if told:
            name = f"<details><summary>{name}</summary>{told}</details>"
        rest = "".join(f"<td{k}>{_to_html(cell)}</td>" for k, cell in zip(kinds[1:], cells))
        lines.append(f'<tr><th scope="row">{name}</th>{rest}</tr>')
    region = f'<div class="scroll" role="region" tabindex="0" aria-label="{_to_html(title)}">'
    return "\n".join([f"{region}<table>", *lines, "</tbody></table></div>"])


def format_prose(line: str) -> str:
    """A line of prose as HTML; `words` between backticks are code."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", _to_html(line))


def _to_html(text: str) -> str:
    """Bytes that are no text, as in the names of files, are shown by their numbers."""
    shown = strip_controls(text.encode(errors="backslashreplace").decode())
    return escape(shown).replace(" %", "\u00a0%")  # a line does not begin with the sign


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape_prose(text: str) -> str:
    """Code stays code, as no character is markup within it."""
    parts = re.split(r"(`[^`\n]+`)", strip_controls(text))
    line = "".join(part if index % 2 else _escape(part) for index, part in enumerate(parts))
    return re.sub(r"^(\s*\d*)([#+=.)-])", r"\1\\\2", line)  # no heading and no list


def _escape(text: str) -> str:
    """Text of tensors and errors is data and no markup."""
    text = strip_controls(text)
    for character in "\\`*_<>|[]&~$":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ")
