"""`bench runs`: the stored runs of a folder, with the verdicts that their reports gave."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import click
from pydantic import BaseModel

from ..errors import RecordError
from ..record.run import DOCUMENT_NAME, READABLE_VERSIONS, SAMPLES_NAME, Document, load_document
from ..record.samples import find_damage
from ..report.blocks import Block, Table, Text, print_blocks
from ..report.format import MISSING, format_age, format_number
from ..tools.history.series import find_runs
from .console import Console
from .value_types import RESULTS

DAMAGED = "damaged"  # the status of a complete run that lacks samples


@click.command()
@click.option(
    "--results", default=RESULTS, show_default=True, metavar="DIR", help="Folder of the runs."
)
@click.option("--json", "as_json", is_flag=True, help="Print the runs as JSON.")
def runs(results: str, as_json: bool) -> None:
    """List the stored runs with age, model and verdict, the newest last; needs no OneFlow.

    Every command that takes a RUN also takes the beginning of a run's name in the folder results,
    and the word latest.

    \b
    bench runs
    bench report latest --open
    bench compare compare-resnet18 latest
    """
    stored = sorted(map(read_stored, find_runs([Path(results)])), key=lambda run: run.created)
    if as_json:
        click.echo(json.dumps([one.model_dump() for one in stored], indent=1))
    else:
        print_blocks(_report(stored, datetime.now(timezone.utc)), Console())


class StoredRun(BaseModel):
    """One run. The verdicts are those of its comparison.json, a line for each contender."""

    run: str  # the name of its folder
    folder: str
    created: str = ""  # ISO 8601, UTC
    command: str = ""
    model: str = ""
    status: str  # complete | interrupted | failed | running | damaged | unreadable
    verdicts: List[str] = []
    error: Optional[str] = None


def read_stored(folder: Path) -> StoredRun:
    """A run without its samples, of which the last line is read.

    One that cannot be read is `unreadable`, with the reason.
    """
    try:
        document = load_document(
            folder / DOCUMENT_NAME, Document, READABLE_VERSIONS, "record", "give a run folder"
        )
    except RecordError as error:
        name = folder.name
        return StoredRun(run=name, folder=str(folder), status="unreadable", error=str(error))
    damage = None
    if document.status == "complete":
        damage = find_damage(folder / SAMPLES_NAME, document.samples_crc32)
    return StoredRun(
        run=folder.name,
        folder=str(folder),
        created=document.created,
        command=document.command,
        model=document.workload.model,
        status=DAMAGED if damage else document.status,
        verdicts=_read_verdicts(folder / "comparison.json"),
        error=damage or document.error,
    )


def _read_verdicts(path: Path) -> List[str]:
    """None where the run compared nothing, or where the file was made by another program."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return list(map(_describe, stored if isinstance(stored, list) else [stored]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _describe(one: Dict[str, Any]) -> str:
    ratio = format_number((one["speedup"] or {}).get("ratio"), ".3f")
    return f"{one['contender']['name']}: {one['parity']}, {one['speed_verdict']} ({ratio})"


def _report(runs: Sequence[StoredRun], now: datetime) -> List[Block]:
    """A row for each run with its age at `now`, and the reasons of those that cannot be read."""
    rows = [
        [
            one.run,
            format_age(one.created, now),
            one.model or MISSING,
            "\n".join(one.verdicts) if one.verdicts and one.status == "complete" else one.status,
        ]
        for one in runs
    ]
    errors = [one.error for one in runs if one.status in ("unreadable", DAMAGED) and one.error]
    table = Table(["run", "begun", "model", "result"], rows)
    return [table, Text(errors)] if errors else [table]
