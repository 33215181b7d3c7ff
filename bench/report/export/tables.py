"""The blocks of contenders as CSV, and their reports as Markdown."""

from __future__ import annotations

import csv
import io
import json
from typing import Any, Dict, Iterable, Iterator, List, Sequence, Tuple

from ...record.events import BlockEvent, ParametersEvent, StepParametersEvent
from ..before_after import compare_records
from ..blocks import format_markdown
from ..compare import build_report, build_run_report
from ..curves import Series
from .selection import SETTINGS, Selected, describe_job_of, describe_machine_of, step_time_s

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
    block_fields = [name for name in BlockEvent.model_fields if name != "event"]
    columns = [*job, "status", "created", *MACHINE_COLUMNS, *block_fields, "step_time_s"]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    for row in (row for one in selected for row in _create_rows(one)):
        writer.writerow(row)
        yield stream.getvalue()
        stream.seek(stream.truncate(0))
    yield stream.getvalue()


def render_series(selected: Sequence[Selected]) -> Iterator[str]:
    """A row for each value of a curve, such as the loss of a step: what the pictures show.

    `at` is the step or the epoch, from 1. A step's time is that of its block over the block's
    steps. The parameter difference is the largest element, to the record's first contender.
    """
    yield "run_id,contender,series,at,value\n"
    for one in selected:
        for name, parts in _list_curves(one):
            stream = io.StringIO()
            csv.writer(stream, lineterminator=",").writerow(
                (one.record.document.run_id, one.contender.name, name)
            )
            who = stream.getvalue()
            for part in parts:
                rows = (f"{who}{at},{'' if value is None else value}\n" for at, value in part)
                yield "".join(rows)


def _list_curves(selected: Selected) -> Iterator[Tuple[str, Iterable[Iterable[Tuple[int, Any]]]]]:
    """Each curve in parts, since a long one would be much memory."""
    record, name = selected.record, selected.contender.name
    series = Series(name, record, name)
    blocks, by_epoch = series.blocks, record.of_kind(ParametersEvent, name)
    yield "loss", (enumerate(block.losses, block.first_step + 1) for block in blocks)
    yield (
        "train_step_time_s",
        (enumerate([step_time_s(b)] * b.steps, b.first_step + 1) for b in blocks),
    )
    yield "accuracy", [series.accuracies.items()]
    yield "train_epoch_time_s", [series.train_epoch_times_s.items()]
    yield "eval_epoch_time_s", [series.eval_epoch_times_s.items()]
    yield "parameter_difference_by_epoch", [[(e.epoch + 1, e.max_abs) for e in by_epoch]]
    by_step = record.of_kind(StepParametersEvent, name)
    yield "parameter_difference_by_step", [[(e.step + 1, e.max_abs) for e in by_step]]


def _create_rows(selected: Selected) -> Iterator[Dict[str, Any]]:
    document = selected.record.document
    shared = {
        **describe_job_of(selected),
        "status": document.status,
        "created": document.created,
        **describe_machine_of(selected),
    }
    for block in selected.blocks():
        fields = {name: _cell(value) for name, value in block if name != "event"}
        yield {**shared, **fields, "step_time_s": step_time_s(block)}


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def render_markdown(selected: Sequence[Selected]) -> str:
    """Each run as in its `report.md`, without pictures.

    A contender that was asked for by its name, or that ran alone, has its table.
    """
    parts: List[str] = []
    for one in selected:
        record = one.record
        title = f"`{record.document.run_id}` ({record.document.status})"
        if one.named or len(record.contender_names()) == 1:
            parts.append(f"{title}\n\n{format_markdown(build_run_report(one.summary))}")
        elif one.contender.name == record.contender_names()[0]:
            report = build_report(compare_records(record, record), record.document.unavailable)
            parts.append(f"{title}\n\n{format_markdown(report)}")
    return "\n".join(parts)
