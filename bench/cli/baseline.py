"""`bench baseline`: the stored results that a check is compared with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import click

from ..errors import InputError, RecordError, worst_status
from ..parity.baseline import (
    Baseline,
    baseline_path,
    create_baseline,
    list_baselines,
    load_baseline,
    save_baseline,
)
from ..parity.gate import judge_checks
from ..parity.result import CheckDocument
from ..report.blocks import Block, print_blocks
from ..report.check import report_update
from .check import check_options, prepare_check
from .console import Console
from .options import HeadedCommand

_WITH_A_STORED_RUN = ("from_run", "baseline", "as_json")
_GOOD = ("identical", "equal within rounding")


@click.group()
def baseline() -> None:
    """Stored results that `bench check --baseline` compares with.

    \b
    bench baseline update --models lenet,resnet18
    """


@baseline.command(cls=HeadedCommand)
@click.option(
    "--baseline",
    default="results/baselines",
    show_default=True,
    metavar="PATH",
    help="Folder of baselines, or one model's file.",
)
@check_options
def update(**flags: Any) -> int:
    """Check models, store the results as their baselines, and show the changes.

    Each file is replaced in one move. A model whose check is different, inconclusive or failed
    keeps its baseline, and the exit status is that of the check.

    \b
    bench baseline update
    bench baseline update --models 'resnet*' --baseline results/baselines
    bench baseline update --from results/RUN
    """  # fmt: skip
    place = Path(flags["baseline"])

    def list_stored() -> Sequence[str]:
        return list_baselines(place) if place.is_file() or any(place.glob("*.json")) else []

    workloads, run = prepare_check(flags, _WITH_A_STORED_RUN, list_stored)
    if place.suffix == ".json" and len(workloads) > 1:
        raise InputError(
            f"--baseline {place} is one file and {len(workloads)} models were given; give a folder"
        )
    if place.suffix != ".json" and place.exists() and not place.is_dir():
        raise InputError(f"--baseline {place} is neither a folder nor a .json file; give one")
    document, folder = run()
    if folder is not None:
        click.echo(f"check: {folder}", err=flags["as_json"])
    return _write_baselines(document, place, flags["as_json"])


def _write_baselines(document: CheckDocument, place: Path, as_json: bool) -> int:
    """Store the good results and name the others; the exit status."""
    written: Dict[Path, Baseline] = {}
    blocks: List[Block] = []
    for found in document.checks:
        path = baseline_path(place, found.model)
        new = create_baseline(document, found)
        if new is None or found.verdict not in _GOOD:
            verdict = "failed" if found.error is not None else found.verdict
            click.echo(f"{found.model}: the check is {verdict}; its baseline is kept", err=True)
            continue
        blocks += report_update(_load_old(path), new, path)
        written[path] = new
    print_blocks(blocks, Console(stderr=as_json))
    for path, new in written.items():
        save_baseline(new, path)
    if as_json:
        click.echo(json.dumps([one.model_dump(mode="json") for one in written.values()], indent=1))
    return worst_status([one.exit_status for one in judge_checks(document)])


def _load_old(path: Path) -> Optional[Baseline]:
    """The baseline before; None, and a note, for one that is damaged or of another schema."""
    try:
        return load_baseline(path) if path.exists() else None
    except RecordError as error:
        click.echo(f"the old baseline could not be read: {error}", err=True)
        return None
