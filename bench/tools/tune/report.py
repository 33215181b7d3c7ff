"""Says a search in words and tables, for the terminal (80 columns) and as Markdown.

One list of tables and one of lines serve both, so that they cannot disagree.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence

from ...report.format import MISSING, format_short_ratio
from ...verdict.judge import FASTER, Interval
from .candidates import Setting, find_feed
from .fidelity import Fidelity
from .result import (
    NOT_TRIED,
    CandidateResult,
    Confirmation,
    ModeResult,
    TuneDocument,
    find_confirmation,
)

if TYPE_CHECKING:
    from rich.console import Console

NAME_WIDTH = 33  # characters of the first column, so that a table fits 80
_TITLES = {
    "alone": "each setting alone, against stock",
    "together": "together, against stock",
    "left out": "the combination with one left out, against the whole",
}


class TuneTable(NamedTuple):
    """A title, headers and rows of text."""

    title: str
    headers: List[str]
    rows: List[List[str]]


def format_interval(interval: Optional[Interval]) -> str:
    """Base time over time with its 95 % interval; nothing where it was not timed."""
    if interval is None:
        return MISSING
    return format_short_ratio(interval.ratio, interval.low, interval.high)


def mode_tables(mode: ModeResult) -> List[TuneTable]:
    """The phases of a mode that measured anything, and the confirmations."""
    tables = []
    for phase, title in _TITLES.items():
        members = [c for c in mode.candidates if c.phase == phase]
        rows = [_candidate_row(c, n) for c, n in zip(members, label_candidates(members))]
        if rows:
            headers = ["setting", "speedup (95 %)", "verdict", "parity"]
            tables.append(TuneTable(f"{mode.mode}: {title}", headers, rows))
    if mode.confirmations:
        rows = [
            [
                c.name,
                format_interval(c.judgement.speedup if c.judgement else None),
                c.verdict,
                _parity_word(c.fidelity),
            ]
            for c in mode.confirmations
        ]
        headers = ["settings", "speedup (95 %)", "verdict", "parity"]
        tables.append(
            TuneTable(f"{mode.mode}: confirmed in fresh processes, against stock", headers, rows)
        )
    return tables


def _candidate_row(candidate: CandidateResult, label: str) -> List[str]:
    return [
        label,
        format_interval(candidate.speedup),
        candidate.verdict,
        _parity_word(candidate.fidelity),
    ]


def _parity_word(fidelity: Optional[Fidelity]) -> str:
    if fidelity is None:
        return MISSING
    return {"equal within rounding": "rounding"}.get(fidelity.verdict, fidelity.verdict)


def reason_lines(mode: ModeResult) -> List[str]:
    """Why candidates were dropped, where the table's interval does not say it."""
    lines = []
    waiting: List[str] = []
    for candidate, label in zip(mode.candidates, label_candidates(mode.candidates)):
        if candidate.verdict == NOT_TRIED:
            if candidate.phase == "alone":
                waiting.append(label)
        elif candidate.speedup is None:
            lines.append(f"{label}: {candidate.verdict}; {candidate.reason}")
        elif candidate.reason.startswith("slower than "):
            lines.append(f"{label}: {candidate.reason}")
    by_reason: Dict[str, List[str]] = {}
    for name, reason in mode.dropped.items():
        by_reason.setdefault(reason, []).append(name)
    lines += [
        f"not in the combination: {', '.join(names)}; {reason}"
        for reason, names in by_reason.items()
    ]
    lines += [
        f"{c.name}: not confirmed, {c.verdict}; {c.reason}"
        for c in mode.confirmations
        if c.verdict != FASTER
    ]
    if waiting:
        lines.append(f"not tried, for want of time (a longer --budget): {', '.join(waiting)}")
    return lines


def label_candidates(candidates: Sequence[CandidateResult]) -> List[str]:
    """What each is called in a list: what is left out, and of a climb what each step adds."""
    labels = []
    before: Sequence[Setting] = []
    for candidate in candidates:
        label = candidate.name
        if candidate.left_out:
            label = f"without {candidate.left_out}"
        elif candidate.phase == "together" and before and candidate.settings[:-1] == before:
            label = f"+ {candidate.settings[-1].name}"
        before = candidate.settings if candidate.phase == "together" else []
        labels.append(label)
    return labels


def headline(mode: ModeResult) -> str:
    """What was found for a mode, in a sentence or two."""
    found = find_confirmation(mode)
    if found is None or found.judgement is None:
        return f"{mode.mode}: stock stays; {mode.reason}."
    return (
        f"{mode.mode}: {format_interval(found.judgement.speedup)} times the speed of stock with "
        f"{found.name}. Parity with stock: {_describe_fidelity(found)}."
    )


def _describe_fidelity(confirmation: Confirmation) -> str:
    fidelity = confirmation.fidelity
    if fidelity is None:
        return "not known"
    if fidelity.verdict == "identical":
        return f"identical over {fidelity.steps} steps"
    difference = fidelity.loss_difference
    shown = "not finite" if difference is None else f"{difference:.1e}"
    return (
        f"{fidelity.verdict} over {fidelity.steps} steps, losses at most {shown} apart (relative)"
    )


def closing_lines(document: TuneDocument) -> List[str]:
    """What to do with the result, and what to know of it."""
    lines = []
    if document.environment:
        shown = " ".join(f"{name}={value}" for name, value in document.environment.items())
        lines.append(f"Set in this shell, so in stock too and not searched: {shown}")
    if document.profile is not None:
        missing = [m for m in ("eager", "graph") if m not in [mode.mode for mode in document.modes]]
        note = f" ({missing[0]} was not searched: stock)" if missing else ""
        feeds = [f for mode in document.modes for f in [find_feed(mode.settings)] if f]
        feed = f" --feed {feeds[0]}" if feeds else ""
        if any(mode.settings for mode in document.modes):
            lines.append(f"profile{note}, for bench ... --runtime {document.profile}{feed}")
        else:
            lines.append(f"profile: {document.profile}; it sets nothing, which is stock")
    said = [w for mode in document.modes for c in mode.confirmations for w in c.warnings]
    return [*lines, *document.warnings, *(f"Warning: {w}." for w in dict.fromkeys(said))]


def list_why(document: TuneDocument) -> Dict[str, str]:
    """Why each setting that was tried may help."""
    return {
        setting.name: setting.why
        for mode in document.modes
        for candidate in mode.of_phase("alone")
        for setting in candidate.settings
    }


def render_terminal(document: TuneDocument, console: Console) -> None:
    """Tables that fit 80 columns, what was dropped and why, and what was found."""
    for mode in document.modes:
        for table in mode_tables(mode):
            render_table(table, console)
        for line in reason_lines(mode):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        console.print()
    for line in [*(headline(mode) for mode in document.modes), *closing_lines(document)]:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def render_settings(mode: str, settings: Sequence[Setting], console: Console) -> None:
    """The settings that a search of `mode` would try, and why each may help."""
    rows = [[setting.name, setting.why] for setting in settings]
    render_table(TuneTable(f"{mode}: settings, in the order of the search",
                           ["setting", "why it may help"], rows), console)  # fmt: skip


def render_table(table: TuneTable, console: Console) -> None:
    from rich import box
    from rich.table import Table

    console.print(table.title, style="italic", highlight=False, markup=False)
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for position, header in enumerate(table.headers):
        shown.add_column(header, overflow="fold", no_wrap=position == 1 and len(header) < 15)
    for name, *rest in table.rows:
        shown.add_row(_wrap(name), *rest)
    console.print(shown, "")


def _wrap(name: str) -> str:
    """A name in lines that fit the first column, broken between words, else behind a _."""
    lines: List[str] = []
    for word in name.split():
        while len(word) > NAME_WIDTH:
            cut = word.rfind("_", 0, NAME_WIDTH) + 1 or NAME_WIDTH
            lines.append(word[:cut])
            word = word[cut:]
        if lines and len(lines[-1]) + 1 + len(word) <= NAME_WIDTH and not lines[-1].endswith("_"):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


def render_markdown(document: TuneDocument, pictures: Sequence[Path]) -> str:
    """The report as Markdown; pictures are linked by their names, PNG only."""
    work, machine = document.workload, document.machine
    cpu = machine.get("cpu", {})
    lines = [f"# {document.run_id}", ""]
    lines += [f"- {headline(mode)}" for mode in document.modes]
    lines += ["", *(f"{line}  " for line in closing_lines(document)), ""]
    lines += [
        f"{work.model}, batch {work.batch_size}, {work.image_size} px, data {work.data}; "
        f"{cpu.get('model')}, {cpu.get('cores')} cores, OneFlow {document.oneflow}; budget "
        f"{document.budget_s:g} s, status {document.status}. How it was found: docs/tune.md.",
    ]
    for mode in document.modes:
        for table in mode_tables(mode):
            lines += ["", f"## {table.title}", "", _row(table.headers)]
            lines += [f"|{'|'.join(['---'] * len(table.headers))}|", *map(_row, table.rows)]
        reasons = reason_lines(mode)
        if reasons:
            lines += ["", f"## {mode.mode}: what was dropped and why", ""]
            lines += [f"- {line}" for line in reasons]
    lines += ["", "## Why a setting may help", "", "| setting | why |", "|---|---|"]
    lines += [_row([name, why]) for name, why in list_why(document).items()]
    lines += ["", *(f"![{p.stem}]({p.name})\n" for p in pictures if p.suffix == ".png")]
    return "\n".join(lines)


def _row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(text.replace('|', '/') for text in texts)} |"
