"""`bench baseline`: the stored results that a check is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

import click

from ..errors import InputError, worst_status
from .check import check_options, load_stored_check, plan_checks, run_planned_checks
from .options import HeadedCommand

if TYPE_CHECKING:
    from ..parity.baseline import Baseline
    from ..parity.result import CheckDocument
    from ..report.blocks import Block

_DEFAULT_PLACE = "results/baselines"
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
    default=_DEFAULT_PLACE,
    show_default=True,
    metavar="PATH",
    help="Folder of baselines, or one model's file.",
)
@check_options
def update(**flags: Any) -> int:
    """Check models and write what they gave as their baselines, showing what changes.

    Each file is replaced in one move. A model whose check is different, inconclusive or failed
    keeps the baseline it has, and the exit status is that check's.

    \b
    bench baseline update
    bench baseline update --models 'resnet*' --baseline results/baselines
    bench baseline update --from results/RUN
    """  # fmt: skip
    from ..parity.baseline import list_baselines

    place = Path(flags["baseline"])
    if flags["from_run"] is not None:
        document = load_stored_check(flags["from_run"], _WITH_A_STORED_RUN)
        _require_place(place, [found.model for found in document.checks])
    else:
        plans = plan_checks(flags, lambda: list_baselines(place) if _holds_any(place) else [])
        _require_place(place, [plan.workload.model for plan in plans])
        document, folder = run_planned_checks(plans, flags)
        click.echo(f"check: {folder}", err=flags["as_json"])
    return _write_baselines(document, place, flags["as_json"])


def _holds_any(place: Path) -> bool:
    return place.is_file() or any(place.glob("*.json"))


def _require_place(place: Path, models: Sequence[str]) -> None:
    if place.suffix == ".json" and len(models) > 1:
        raise InputError(
            f"--baseline {place} is one file and {len(models)} models were given; give a folder"
        )
    if place.suffix != ".json" and place.exists() and not place.is_dir():
        raise InputError(f"--baseline {place} is neither a folder nor a .json file; give one")


def _write_baselines(document: CheckDocument, place: Path, as_json: bool) -> int:
    """Write what is good, say what is not; the exit status."""
    from rich.console import Console

    from ..parity.baseline import baseline_path, create_baseline, save_baseline
    from ..parity.gate import judge_checks
    from ..report.baseline_update import report_update
    from ..report.blocks import print_blocks

    written: Dict[Path, Baseline] = {}
    blocks: List[Block] = []
    for found in document.checks:
        path = baseline_path(place, found.model)
        new = create_baseline(document, found)
        if new is None or found.verdict not in _GOOD:
            said = "failed" if found.error is not None else found.verdict
            click.echo(f"{found.model}: the check is {said}; its baseline stays as it is", err=True)
            continue
        old, problem = _load_old(path)
        if problem:
            click.echo(f"the old baseline could not be read: {problem}", err=True)
        blocks += report_update(old, new, path)
        written[path] = new
    print_blocks(blocks, Console(stderr=as_json))
    for path, new in written.items():
        save_baseline(new, path)
    if as_json:
        click.echo(
            "[" + ",\n".join(one.model_dump_json(indent=1) for one in written.values()) + "]"
        )
    return worst_status([one.exit_status for one in judge_checks(document)])


def _load_old(path: Path) -> Tuple[Optional[Baseline], Optional[str]]:
    """What is rewritten; one that is damaged or of another schema is no reason not to."""
    from ..errors import RecordError
    from ..parity.baseline import load_baseline

    if not path.exists():
        return None, None
    try:
        return load_baseline(path), None
    except RecordError as error:
        return None, str(error)
