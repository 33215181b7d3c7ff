"""The report of a comparison, and of a run of one mode, as blocks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Iterable, List, Mapping, Optional, Sequence

from ..parity.causes import tell_infinite
from ..verdict.judge import INCONCLUSIVE
from .blocks import Block, Figure, Heading, Table, Text
from .check import describe_check
from .commands import describe_detectable
from .comparison import EXTENSIONS, Comparison, ContenderSummary
from .format import INTERVAL, MISSING, format_median_ms, format_sentence, format_short_interval
from .rows import Rows, list_measurements, list_parity, list_speed

COUNTERS = {"instructions": "Instructions were", "energy_j": "Energy was"}
EXPLANATION = [
    f"A time is a median with its {INTERVAL} interval, over blocks of steps between two full "
    "synchronisations.",
    "A speedup is the baseline's time over the contender's: above 1 the contender is faster. In "
    "one run the processes of both take turns, block by block.",
    "docs/methodology.md explains the method. samples.jsonl holds the samples.",
]
SHARED = (
    "The contenders share the processes of the baseline and of the control. They also share the "
    "1 % error of the sequential intervals."
)


def build_report(
    comparisons: Sequence[Comparison],
    unavailable: Optional[Mapping[str, str]] = None,
    pictures: Sequence[Path] = (),
) -> List[Block]:
    """One contender or several against their baseline; `unavailable` was left out of the run.

    Pictures are linked by their names, PNG only. `screen.py` has what a terminal shows of it.
    """
    several = len(comparisons) > 1
    summaries = [comparisons[0].baseline, *(one.contender for one in comparisons)]
    names = ", ".join(one.name for one in summaries[1:])
    title = Heading(f"{summaries[0].model}: {names} against {summaries[0].name}")
    conclusion = Text(conclude_all(comparisons))
    noted = [Text(notes)] if (notes := list_notes(comparisons)) else []
    added = [b for one in EXTENSIONS for b in one.list_blocks(comparisons, unavailable or {})]
    overview = [build_overview(comparisons)] if several or added else []
    shared = [SHARED] if several and any(one.speed for one in comparisons) else []
    return [
        title,
        conclusion,
        *noted,
        *overview,
        *added,
        *_build_tables(comparisons),
        *(block for one in comparisons if one.check for block in describe_check(one.check)),
        Heading("How to read this report"),
        Text([*EXPLANATION, *shared]),
        *_show(pictures),
    ]


def build_run_report(summary: ContenderSummary, pictures: Sequence[Path] = ()) -> List[Block]:
    """A run of one mode, with `pictures` as in `build_report`."""
    table = build_table([summary.name], [list_measurements(summary)])
    title = Heading(f"{summary.model}: {summary.name}")
    return [title, *describe_losses(summary), table, *_show(pictures)]


def describe_losses(summary: ContenderSummary) -> List[Block]:
    """A warning where a loss is not finite."""
    step = summary.first_infinite_step
    return [] if step is None else [Text([format_sentence(f"Warning: {tell_infinite(step)}")])]


def _show(pictures: Sequence[Path]) -> List[Block]:
    return [Figure(p.stem.replace("_", " "), p.name) for p in pictures if p.suffix == ".png"]


def dump_comparisons(comparisons: Sequence[Comparison]) -> str:
    """JSON: the comparison of one contender, a list of them for several."""
    dumped = [one.model_dump() for one in comparisons]
    return json.dumps(dumped if len(dumped) > 1 else dumped[0], indent=1)


def conclude(comparison: Comparison, several: bool = False, brief: bool = False) -> List[str]:
    """The two answers, each with its reason: is it faithful, and is it faster.

    With several contenders each answer names its own. Brief answers have no reason.
    """
    contender, baseline = comparison.contender.name, comparison.baseline.name
    ratio, of = comparison.speedup, f" of {contender}" if several else ""
    parity = f"Parity{of}: {comparison.parity}."
    speed = [f"Speed{of}: {comparison.speed_verdict}."]
    if ratio is not None:
        interval = "no interval"
        if ratio.low is not None and ratio.high is not None:
            interval = f"{INTERVAL} interval {ratio.low:.3f} to {ratio.high:.3f}"
        speed.append(
            f"{contender} runs at {ratio.ratio:.3f} times the speed of {baseline} ({interval})."
        )
    if brief:
        return [parity, " ".join(speed)]
    parity += f" {format_sentence(comparison.parity_reason)}"
    speed.append(format_sentence(comparison.speed_reason))
    if comparison.speed is not None and comparison.speed_verdict == INCONCLUSIVE:
        speed.append(describe_detectable(comparison.speed, comparison.continuation))
    return [parity, " ".join(speed)]


def conclude_all(comparisons: Sequence[Comparison], brief: bool = False) -> List[str]:
    """The answers on each contender, as `conclude` gives them."""
    several = len(comparisons) > 1
    return [line for one in comparisons for line in conclude(one, several, brief)]


def list_notes(comparisons: Sequence[Comparison], brief: bool = False) -> List[str]:
    """Facts that qualify the verdicts, each once: the machine disturbs all contenders alike.

    Brief notes leave out which counters the machine does not have.
    """
    notes = []
    statuses = {status for one in comparisons for status in one.status} - {"complete"}
    if statuses:
        notes.append(
            f"Not every run is complete ({', '.join(sorted(statuses))}). The comparison covers the "
            "steps that were measured."
        )
    for one in comparisons:
        sides = (one.baseline, one.contender)
        if len({(side.oneflow, side.python) for side in sides}) > 1:
            notes += [f"{s.name}: OneFlow {s.oneflow}, Python {s.python}." for s in sides]
        if one.speed and one.continues:
            earlier, count = one.speed.earlier_replicates, one.speed.judgement.replicates
            notes.append(
                f"This run continues {one.continues}. Of its {count} replicates {earlier} were "
                "measured there, and all count for the verdict."
            )
        if one.speed and _differs_from_training(one):
            notes.append(
                "The step times in the table are of the training, with one process for each side. "
                f"The speed verdict of {one.contender.name} is of fresh processes."
            )
        if one.speed:
            notes += [f"Warning: {warning}." for warning in one.speed.warnings]
            notes += [
                f"{COUNTERS[name]} not measured: {reason}."
                for name, reason in one.speed.unreadable.items()
                if name in COUNTERS and not brief
            ]
    return list(dict.fromkeys(notes))


def _differs_from_training(one: Comparison) -> bool:
    """Whether the table's step times give another ratio than the verdict's, by over 10 %."""
    ours, theirs = one.baseline.train_step_time_s, one.contender.train_step_time_s
    if ours is None or theirs is None or one.speedup is None:
        return False
    return abs(math.log(ours.median / theirs.median / one.speedup.ratio)) > math.log(1.1)


def build_overview(comparisons: Sequence[Comparison]) -> Table:
    """A line for each contender, and the baseline's above them."""
    baseline = comparisons[0].baseline
    rows = [[baseline.name, format_median_ms(baseline.train_step_time_s), *[MISSING] * 3]]
    rows += [
        [
            one.contender.name,
            format_median_ms(one.contender.train_step_time_s),
            format_short_interval(one.speedup),
            one.speed_verdict,
            f"{one.parity} (expected)" if one.parity_expected else one.parity,
        ]
        for one in comparisons
    ]
    titles = ["", "train step, ms", "speedup (95 % interval)", "speed", "parity"]
    # a run too short for steady steps has no times
    kept = [i for i in range(len(titles)) if any(row[i] != MISSING for row in rows)]
    return Table([titles[i] for i in kept], [[row[i] for i in kept] for row in rows], titles[1:3])


def _build_tables(comparisons: Sequence[Comparison]) -> List[Block]:
    baseline, names = comparisons[0].baseline, [one.contender.name for one in comparisons]
    measurements = [list_measurements(s) for s in (baseline, *(c.contender for c in comparisons))]
    tables = {
        "Measurements": build_table([baseline.name, *names], measurements),
        f"Speed against {baseline.name}": build_table(names, map(list_speed, comparisons)),
        f"Parity with {baseline.name}": build_table(names, map(list_parity, comparisons)),
    }
    return [b for title, table in tables.items() if table.rows for b in (Heading(title), table)]


def build_table(names: Sequence[str], values: Iterable[Rows]) -> Table:
    """A column for each name, and a line for each label that has a value in some column."""
    columns = list(values)
    labels = dict.fromkeys(label for rows in columns for label in rows)
    lines = [[label, *(rows.get(label, MISSING) for rows in columns)] for label in labels]
    filled = [line for line in lines if set(line[1:]) != {MISSING}]
    return Table(["", *names], filled, list(names))
