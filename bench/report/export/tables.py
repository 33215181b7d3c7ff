"""The blocks of contenders as CSV, and their reports as Markdown."""

from __future__ import annotations

import csv
import io
import json
from operator import attrgetter
from typing import Any, Collection, Dict, Iterable, Iterator, List, Sequence, Tuple

from ...record.events import BlockEvent, ParametersEvent, StepParametersEvent
from ...record.side import Side
from ..before_after import compare_record
from ..blocks import Text, format_markdown
from ..compare import build_report, build_run_report
from ..curves import Series
from .selection import SETTINGS, Selected, describe_job_of, describe_machine_of

MACHINE_COLUMNS = [
    "cpu_model_name",
    "cpu_count",
    "memory_bytes",
    "platform",
    "python_version",
    "oneflow_version",
    "blas_kernel",
]


def render_csv(selected: Sequence[Selected]) -> Iterator[str]:
    """A row for each block, with everything a new analysis needs, below a heading, line by line.

    The columns of a block are the fields of `BlockEvent`; lists are JSON, full precision
    throughout. A contender that measured no block has no row.
    """
    apart = ("contender", *SETTINGS)  # a column of the block's; columns that all contenders share
    job = [*(name for name in describe_job_of(selected[0]) if name not in apart), *SETTINGS]
    shared = [*job, "status", "created", *MACHINE_COLUMNS]
    fields = [name for name in BlockEvent.model_fields if name != "event"]
    yield _format_line([*shared, *fields, "step_time_s"])
    read = attrgetter(*fields)
    for one in selected:
        document = one.record.document
        facts: Dict[str, Any] = {
            **describe_job_of(one),
            "status": document.status,
            "created": document.created,
            **describe_machine_of(one),
        }
        start = _format_line([facts.get(name) for name in shared])[:-1]
        before: List[Any] = [None] * len(fields)
        cells = [""] * len(fields)  # of the block before
        for block in one.blocks:
            for place, value in enumerate(read(block)):
                if value is not before[place]:  # digests and learning rates often are
                    before[place], cells[place] = value, _format_cell(value)
            yield f"{start},{','.join(cells)},{block.step_time_s}\n"


def _format_line(cells: Sequence[Any]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(cells)
    return stream.getvalue()


def _format_cell(value: Any) -> str:
    """A list is JSON between quotes: `csv` would search each letter for one that needs them."""
    if isinstance(value, list):
        return f'"{json.dumps(value)}"' if len(value) > 1 else json.dumps(value)
    if isinstance(value, str):
        return _format_line([value])[:-1]
    return "" if value is None else str(value)


def render_series(selected: Sequence[Selected]) -> Iterator[str]:
    """A row for each value of a curve, such as the loss of a step: what the pictures show.

    `at` is the step or the epoch, from 1. A step's time is that of its block over the block's
    steps. The parameter difference is the largest element, to the record's first contender. A value
    that is not finite is nan.
    """
    yield "run_id,contender,series,at,value\n"
    for one in selected:
        for name, parts in list_curves(one):
            start = _format_line((one.record.document.run_id, one.name, name))[:-1]
            row = start.replace("%", "%%") + ",%d,%s\n"
            for ats, values in parts:
                cells: List[Any] = [None] * (2 * len(ats))
                cells[::2], cells[1::2] = ats, ["nan" if v is None else v for v in values]
                yield row * len(ats) % tuple(cells)


def list_curves(
    side: Side,
) -> Iterator[Tuple[str, Iterable[Tuple[Collection[int], Iterable[Any]]]]]:
    """Each curve in parts of places and values, since a long one would be much memory."""
    record, name = side.record, side.name
    series = Series(record, name, name)
    blocks, by_epoch = series.blocks, record.of_kind(ParametersEvent, name)

    def list_steps(values: Sequence[Any], first: int) -> Tuple[Collection[int], Sequence[Any]]:
        return range(first + 1, first + 1 + len(values)), values

    yield "loss", (list_steps(block.losses, block.first_step) for block in blocks)
    yield (
        "train_step_time_s",
        (list_steps([str(b.step_time_s)] * b.steps, b.first_step) for b in blocks),
    )
    for of, by in (
        ("accuracy", series.accuracies),
        ("train_epoch_time_s", series.train_epoch_times_s),
        ("eval_epoch_time_s", series.eval_epoch_times_s),
    ):
        yield of, [(by.keys(), by.values())]
    yield (
        "parameter_difference_by_epoch",
        [([e.epoch + 1 for e in by_epoch], [e.max_abs for e in by_epoch])],
    )
    by_step = record.of_kind(StepParametersEvent, name)
    yield (
        "parameter_difference_by_step",
        [([e.step + 1 for e in by_step], [e.max_abs for e in by_step])],
    )


def render_markdown(selected: Sequence[Selected]) -> str:
    """Each run as in its `report.md`, without pictures.

    A contender that was asked for by its name, or that ran alone, has its table.
    """
    parts: List[str] = []
    for one in selected:
        record = one.record
        title = Text([f"{record.document.run_id} ({record.document.status})"])
        if one.named or len(record.contender_names()) == 1:
            parts.append(format_markdown([title, *build_run_report(one.summary)]))
        elif one.name == record.contender_names()[0]:
            report = build_report(compare_record(record), record.document.unavailable)
            parts.append(format_markdown([title, *report]))
    return "\n".join(parts)
