"""The summaries of results on one screen of 80 x 40: the verdicts first, then at most ten rows."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence

from ..errors import STATUS_ORDER
from ..parity.gate import Judged
from ..verdict.judge import INCONCLUSIVE
from .before_after import BeforeAfter, build_runs_report
from .blocks import Block, Heading, Table, Text
from .check import build_models, describe_origin, describe_speed, report_findings
from .check import conclude as conclude_check
from .compare import build_overview, build_table, conclude, describe_losses, list_notes
from .comparison import EXTENSIONS, Comparison, ContenderSummary
from .format import (
    MISSING,
    format_break_even,
    format_finite,
    format_median_ms,
    format_mib,
    format_number,
    format_sentence,
    format_size,
    format_yes,
)
from .parity import AGREED
from .rows import Rows, list_measurements

MOST_ROWS = 10  # of a table
MOST_NAMED = 3  # models in the heading
# rows of the report that a summary shows; metrics of the user's own take the places that are left
USUAL_ROWS = (
    *("loss, first to last", "accuracy by epoch, %", "train step, ms", "validation step, ms"),
    *("train images per second", "compile, s", "time to first step, s", "peak memory, MiB"),
)
OTHER_ROWS = (
    *("train steps", "best accuracy, %", "train accuracy, %", "teacher accuracy, %"),
    "first step, ms",
)
BREAK_EVEN = "compilation pays for itself"


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
        Text(conclude_check(judged)),
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


def summarize_comparisons(
    comparisons: Sequence[Comparison], unavailable: Optional[Mapping[str, str]] = None
) -> List[Block]:
    """The verdicts, the rows that tell the sides apart, and what qualifies the verdicts.

    Several contenders have a line each, and a reason where a verdict could not be reached or the
    modes differ. `unavailable` are contenders that were left out of the run.
    """
    summaries = [comparisons[0].baseline, *(one.contender for one in comparisons)]
    names = ", ".join(one.name for one in summaries[1:])
    title = Heading(f"{summaries[0].model}: {names} against {summaries[0].name}")
    # of each extension the first heading and its table
    added = [b for one in EXTENSIONS for b in one.list_blocks(comparisons, unavailable or {})[:2]]
    notes = [Text(lines)] if (lines := list_notes(comparisons, brief=True)) else []
    if len(comparisons) > 1:
        reasons = [Text(lines)] if (lines := _list_reasons(comparisons)) else []
        overview = build_overview(comparisons)
        return [title, overview, *reasons, _build_costs(summaries), *added, *notes]
    (one,) = comparisons
    return [title, Text(conclude(one)), *_list_rows(summaries, one), *added, *notes]


def summarize_run(summary: ContenderSummary) -> List[Block]:
    """The summary of a run of one mode."""
    title = Heading(f"{summary.model}: {summary.name}")
    return [title, *describe_losses(summary), *_list_rows([summary])]


def summarize_runs(found: BeforeAfter) -> List[Block]:
    """The summary of two stored runs: verdicts, a line for each pair, and what else differs."""
    title, differences, pairs, notes, verdicts = build_runs_report(found, tables=False)
    return [title, verdicts, pairs, cut_table(differences), notes]


def _list_rows(
    summaries: Sequence[ContenderSummary], comparison: Optional[Comparison] = None
) -> List[Block]:
    """A column for each side, and at most ten rows."""
    measured = list(map(list_measurements, summaries))
    even = MISSING
    if comparison:
        even = format_break_even(comparison.break_even, comparison.speedup)
    wanted = len(USUAL_ROWS) + (even != MISSING)
    own = [name for name in measured[0] if name not in (*USUAL_ROWS, *OTHER_ROWS)]
    shown = own[: MOST_ROWS - wanted]
    kept = {*USUAL_ROWS, *shown}
    rows: List[Rows] = [{k: v for k, v in one.items() if k in kept} for one in measured]
    rows[-1][BREAK_EVEN] = even
    table = build_table([one.name for one in summaries], rows)
    left = len(own) - len(shown)
    more = [Text([f"{left} more metrics are in report.md; -v shows them"])] if left else []
    return [table, *more] if table.rows else []


def _list_reasons(comparisons: Sequence[Comparison]) -> List[str]:
    """The reasons of parities that do not agree, and of speeds without a verdict."""
    lines = []
    for one in comparisons:
        parity, speed = conclude(one, several=True)
        lines += [parity] if one.parity not in AGREED and not one.parity_expected else []
        lines += [speed] if one.speed and one.speed_verdict == INCONCLUSIVE else []
    return lines


def _build_costs(summaries: Sequence[ContenderSummary]) -> Table:
    """A line for each contender; the columns that tell contenders apart."""
    columns = ["", "validation step, ms", "compile, s", "accuracy, %", "peak memory, MiB"]
    rows = [
        [
            summary.name,
            format_median_ms(summary.eval_step_time_s),
            format_number(summary.compile_s, ".2f"),
            format_finite(summary.accuracy[-1], ".1f", 100) if summary.accuracy else MISSING,
            format_mib(summary.peak_rss_bytes),
        ]
        for summary in summaries
    ]
    return Table(columns, rows, columns[1:])


def describe_dataset(described: Dict[str, Any]) -> List[Block]:
    """A column for each split. `described` is what `inspect_dataset` gives."""
    splits = {name: one for name, one in described.items() if isinstance(one, dict)}
    columns = [_list_split(one) for one in splits.values()]
    rows = [[label, *(column[label] for column in columns)] for label in columns[0]]
    facts = [
        f"{described['classes']} {'class' if described['classes'] == 1 else 'classes'}, "
        f"{'with' if described['index'] else 'without'} an index.",
        f"Normalised by mean {_join(described['mean'])} and deviation {_join(described['std'])}.",
        f"Augmentation: random crop {_switch(described['random_crop'])}, "
        f"horizontal flip {_switch(described['horizontal_flip'])}.",
    ]
    title = Heading(f"{described['name']}: {described['path']}")
    return [title, Text(facts), Table(["", *splits], rows, list(splits))]


def _list_split(split: Dict[str, Any]) -> Dict[str, str]:
    counts = list(split["images_per_class"].values())
    return {
        "images": f"{split['images']:,}",
        "images of a class": _range([f"{min(counts):,}", f"{max(counts):,}"]) if counts else "none",
        "image size, pixels": _range(
            [_shape(split["min_image_size"]), _shape(split["max_image_size"])]
        ),
        "part files": str(split["parts"]),
        "size": format_size(split["bytes"]),
        "checksums match": format_yes(split["checksums_match"]),
    }


def _shape(size: Optional[Sequence[int]]) -> str:
    return "x".join(map(str, size)) if size else MISSING


def _range(ends: Sequence[str]) -> str:
    """As one value where both ends are equal."""
    return " to ".join(dict.fromkeys(ends))


def _join(values: Sequence[float]) -> str:
    """A value for each channel, or one where they are equal."""
    return ", ".join(dict.fromkeys(f"{value:.2f}" for value in values))


def _switch(on: bool) -> str:
    return "on" if on else "off"
