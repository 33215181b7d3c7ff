"""The summary of a parity check."""

from __future__ import annotations

from typing import List, Sequence

from ...errors import STATUS_ORDER
from ...parity.gate import Judged
from ..blocks import Block, Heading, Table, Text
from ..check import build_models, conclude, describe_origin, describe_speed, report_findings
from ..format import format_sentence
from . import MOST_ROWS, cut_table

MOST_NAMED = 3  # models in the heading


def summarize_checks(judged: Sequence[Judged]) -> List[Block]:
    """The conclusion, the worst ten models, and the first difference of the worst one."""
    ordered = sorted(judged, key=lambda one: STATUS_ORDER.index(one.exit_status))
    checks = [one.check for one in ordered]
    names = [one.title for one in checks]
    whose = ", ".join(names) if len(names) <= MOST_NAMED else f"{len(names)} models"
    shown = [*describe_speed(checks), *report_findings(judged)]
    table, *legend = build_models(checks)
    return [
        Heading(f"Check of {whose}"),
        Text(conclude(judged)),
        cut_table(table),
        *legend,
        *_describe_worst(ordered),
        *map(cut_table, shown),
    ]


def _describe_worst(judged: Sequence[Judged]) -> List[Block]:
    """The errors, else the reason and first difference of the worst; none if all is equal."""
    failed = [one.check for one in judged if one.check.error is not None]
    errors = [f"{one.title}: {str(one.error).splitlines()[0]}" for one in failed[:MOST_ROWS]]
    if errors:
        more = str(failed[0].error).splitlines()[1:MOST_ROWS] if len(failed) == 1 else []
        return [Text([*errors, *more])]
    check = judged[0].check
    if check.verdict == "identical":  # with a value that a later step may need, in spite of that
        noted = [one.check for one in judged if one.check.cause is not None][:MOST_ROWS]
        lines = [f"{one.title}: {format_sentence(one.reason)}" for one in noted]
        return [Text(lines)] if lines else []
    reason = Text([f"{check.title}: {format_sentence(check.reason)}"])
    origin = describe_origin(check)[:MOST_ROWS]
    return [reason, Table(["property", "value"], origin)] if origin else [reason]
