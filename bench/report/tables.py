"""Says a comparison in words and tables, for the terminal and as Markdown.

One list of rows (`contender_rows`, `difference_rows`) serves both, so that they cannot disagree.
Units change here and nowhere else: seconds to milliseconds, bytes to MiB.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Sequence, Tuple

from ..tools.inference.run import ModeTimes
from ..verdict.statistics import CONFIDENCE, BreakEven, Ratio, Summary
from .comparison import Comparison, ContenderSummary
from .speed import MISSING, format_ratio, speed_notes, speed_rows

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_EPOCHS = 5  # the last ones; the picture has them all
_INTERVAL = f"{CONFIDENCE * 100:.0f} %"
Row = Tuple[str, str]


def contender_rows(summary: ContenderSummary) -> List[Row]:
    """(what, value with unit) of one contender."""
    losses = [MISSING if x is None else f"{x:.4f}" for x in (summary.first_loss, summary.last_loss)]
    accuracy = " ".join(f"{x * 100:.1f}" for x in summary.accuracy[-SHOWN_EPOCHS:])
    if len(summary.accuracy) > SHOWN_EPOCHS:
        accuracy = "... " + accuracy
    compile_s = (
        None
        if summary.compile_train_s is None
        else summary.compile_train_s + (summary.compile_eval_s or 0.0)
    )
    return [
        ("train steps", str(summary.steps)),
        ("loss, first to last", " to ".join(losses)),
        ("accuracy, %", accuracy or MISSING),
        ("train step, ms", _summary_ms(summary.train_step_time_s)),
        ("eval step, ms", _summary_ms(summary.eval_step_time_s)),
        ("train images/s", _number(summary.images_per_s, ".1f")),
        ("compile, s", _number(compile_s, ".2f")),
        ("first step, ms", _ms(summary.first_step_s)),
        ("to first step, s", _number(summary.time_to_first_step_s, ".2f")),
        ("peak memory, MiB", _mib(summary.peak_rss_bytes)),
    ]


def difference_rows(comparison: Comparison) -> List[Row]:
    """(what, value) between the two contenders."""
    loss = comparison.loss
    rows = [
        ("speedup, training", _ratio(comparison.speedup)),
        ("speedup, eval", _ratio(comparison.eval_speedup)),
        ("smallest speed effect visible", _effect(comparison.speedup)),
        ("break-even", _break_even(comparison.break_even)),
        *(speed_rows(comparison.speed) if comparison.speed else []),
        ("same initial weights", _yes(comparison.same_weights)),
        ("same batches", _batches(comparison)),
        ("largest loss difference", _exact(loss.max_abs if loss else None)),
        ("mean loss difference", _exact(loss.mean_abs if loss else None)),
        ("correlation of losses", _number(loss.correlation if loss else None, ".12g")),
        ("accuracy difference, points", _points(comparison.accuracy_difference)),
    ]
    for event in comparison.parameter_difference:
        value = _exact(event.max_abs)
        if event.max_abs:
            value += f" largest, {_exact(event.relative_l2)} relative"
        rows.append((f"parameter difference, epoch {event.epoch + 1}", value))
    return rows


def render_verdict(comparison: Comparison) -> str:
    """The answer in two sentences: is it faithful, and is it worth it."""
    parity = f"Parity: {comparison.parity}; {comparison.parity_reason}."
    name, other = comparison.contender.name, comparison.baseline.name
    ratio = comparison.speedup
    if ratio is None:
        return f"{parity}\nSpeed: inconclusive; no steady blocks of both were measured."
    effect = (
        ""
        if ratio.smallest_effect is None
        else (f"; the smallest effect it could have seen is {ratio.smallest_effect * 100:.1f} %")
    )
    return (
        f"{parity}\nSpeed: {comparison.speed_verdict}; {name} runs at {_ratio(ratio)} times the "
        f"speed of {other}; {comparison.speed_reason}{effect}."
    )


def render_notes(comparison: Comparison) -> List[str]:
    """What a reader of the verdict should know besides."""
    sides = (comparison.baseline, comparison.contender)
    notes = []
    if len({(side.oneflow, side.python) for side in sides}) > 1:
        notes = [f"{side.name}: OneFlow {side.oneflow}, Python {side.python}." for side in sides]
    return notes + (speed_notes(comparison.speed) if comparison.speed else [])


def render_terminal(comparison: Comparison, console: Console) -> None:
    """Two tables and the verdict."""
    from rich.table import Table

    left, right = comparison.baseline, comparison.contender
    table = Table(title=f"{left.model}: {left.name} and {right.name}", title_justify="left")
    for title in ("", left.name, right.name):
        table.add_column(title, justify="left" if not title else "right")
    for (what, ours), (_, theirs) in zip(contender_rows(left), contender_rows(right)):
        table.add_row(what, ours, theirs)
    console.print(table)
    between = Table(title=f"{right.name} against {left.name}", title_justify="left")
    between.add_column("")
    between.add_column("", justify="right")
    between.show_header = False
    for what, value in difference_rows(comparison):
        between.add_row(what, value)
    console.print(between)
    if comparison.status != ["complete"] * len(comparison.status):
        console.print(f"Runs that did not complete are compared as far as they got: "
                      f"{', '.join(comparison.status)}.")  # fmt: skip
    for note in render_notes(comparison):
        console.print(note, soft_wrap=True)
    console.print(render_verdict(comparison), soft_wrap=True)


def render_run(summary: ContenderSummary, console: Console) -> None:
    """One table for a run of one mode."""
    from rich.table import Table

    table = Table(title=f"{summary.model}: {summary.name}", title_justify="left", show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    for what, value in contender_rows(summary):
        table.add_row(what, value)
    console.print(table)


def inference_time_rows(times: Sequence[ModeTimes]) -> List[List[str]]:
    """(what, value of each mode), milliseconds."""
    parts = [
        ("import, ms", [_ms(t.import_s) for t in times]),
        ("build, ms", [_ms(t.init_s) for t in times]),
        ("load weights, ms", [_ms(t.load_s) for t in times]),
        ("compile, ms", [_ms(t.compile_s) for t in times]),
        ("first pass, ms", [_ms(t.first_s) for t in times]),
        ("steady pass, ms", [_summary_ms(t.steady_s) for t in times]),
    ]
    return [[what, *values] for what, values in parts]


def format_probability(value: Optional[float]) -> str:
    """A probability in percent; what is not among the best of a mode is missing."""
    return MISSING if value is None else f"{value * 100:.2f} %"


def render_markdown(comparison: Comparison, pictures: List[Path]) -> str:
    """The report as Markdown; pictures are linked by their names, PNG only."""
    left, right = comparison.baseline, comparison.contender
    lines = [f"# {left.model}: {left.name} and {right.name}", ""]
    lines += [line + "  " for line in render_verdict(comparison).splitlines()]
    lines += [note + "  " for note in render_notes(comparison)]
    lines += [
        "",
        *markdown_contender_table([left, right]),
        "",
        *markdown_difference_table(comparison),
        "",
        *markdown_footer(pictures),
    ]
    return "\n".join(lines)


def markdown_contender_table(summaries: Sequence[ContenderSummary]) -> List[str]:
    """Lines of a table with a column for each contender."""
    names = " | ".join(summary.name for summary in summaries)
    lines = [f"| | {names} |", "|---|" + "---:|" * len(summaries)]
    for rows in zip(*(contender_rows(summary) for summary in summaries)):
        lines.append(f"| {rows[0][0]} | {' | '.join(value for _, value in rows)} |")
    return lines


def markdown_difference_table(comparison: Comparison) -> List[str]:
    """Lines of a table of what is between two contenders."""
    lines = [f"| {comparison.contender.name} against {comparison.baseline.name} | |", "|---|---:|"]
    return lines + [f"| {what} | {value} |" for what, value in difference_rows(comparison)]


def markdown_footer(pictures: Sequence[Path]) -> List[str]:
    """How it was measured, and the pictures."""
    return [
        f"Times are medians with {_INTERVAL} intervals over blocks of steps between two full "
        "synchronisations; a speedup is the mean log ratio of processes that took turns, block by "
        "block. "
        "How everything is measured: docs/methodology.md. The samples: samples.jsonl.",
        "",
        *(f"![{p.stem}]({p.name})\n" for p in pictures if p.suffix == ".png"),
    ]


def _ms(seconds: Optional[float]) -> str:
    return MISSING if seconds is None else f"{seconds * 1e3:.1f}"


def _summary_ms(summary: Optional[Summary]) -> str:
    if summary is None:
        return MISSING
    if summary.low is None or summary.high is None:
        return _ms(summary.median)
    return f"{_ms(summary.median)} ({_ms(summary.low)} to {_ms(summary.high)})"


def _number(value: Optional[float], form: str) -> str:
    return MISSING if value is None else format(value, form)


def _mib(value: Optional[int]) -> str:
    return MISSING if value is None else f"{value / 2**20:.0f}"


def _exact(value: Optional[float]) -> str:
    """Full precision: 3e-9 is not 0, and 0 is said only of equal bits."""
    if value is None:
        return MISSING
    return "0 (bitwise equal)" if value == 0 else f"{value:.3g}"


def _ratio(ratio: Optional[Ratio]) -> str:
    if ratio is None:
        return MISSING
    return format_ratio(ratio.ratio, ratio.low, ratio.high)


def _effect(ratio: Optional[Ratio]) -> str:
    if ratio is None or ratio.smallest_effect is None:
        return MISSING
    return f"{ratio.smallest_effect * 100:.1f} %"


def _break_even(value: Optional[BreakEven]) -> str:
    if value is None:
        return MISSING
    if value.steps is None:
        return "never at this ratio"
    if value.low is None:
        return f"{value.steps:.0f} steps"
    low = f"{value.low:.0f}"
    high = "never" if value.high is None else f"{value.high:.0f}"
    return f"{value.steps:.0f} steps ({low} to {high})"


def _yes(value: Optional[bool]) -> str:
    return MISSING if value is None else ("yes" if value else "no")


def _batches(comparison: Comparison) -> str:
    by = "" if comparison.same_batches is None else f" (by their {comparison.batches_by})"
    return _yes(comparison.same_batches) + by


def _points(value: Optional[float]) -> str:
    return MISSING if value is None else f"{value * 100:+.2f}"
