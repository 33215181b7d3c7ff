"""`bench versions`: one OneFlow against another, mode by mode, in environments made for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Tuple

import click

from ..errors import InputError
from ..plan.plan import create_plan, split_flags
from ..record.run import RunRecord, create_run_id
from ..report.before_after import compare_record
from ..worker.virtualenvs import check_version, ensure_environment, locate_environment
from .console import ProgressBar, print_place
from .failures import go_on_without
from .options import HeadedCommand, run_options, speed_options
from .run import execute_specs, judge_parities, print_comparisons, write_comparisons

MODES = ("eager", "graph")
_LONGEST_LINE = 70


@click.command(cls=HeadedCommand)
@click.argument("versions", nargs=-1, metavar="VERSION VERSION...")
@run_options
@speed_options
def versions(versions: Tuple[str, ...], **flags: Any) -> int:
    """Compare versions of OneFlow: speed and parity of both modes.

    pip makes an environment for each version in the cache folder, about 2 GB, which is kept. Each
    mode of the first version is the baseline for the same mode of the others, in a run of its own;
    --budget is for each of the two. All train from the first version's weights. The default data
    are preloaded batches of the embedded digits; --data and --feed change that.

    \b
    bench versions 0.8.0 0.9.0
    bench versions 0.8.0 0.9.0 --model resnet18 --data synthetic --image-size 64 --epochs 1

    Exit status: 1 a mode differs between versions, 3 inconclusive, 2 bad input, such as a version
    that pip cannot install.
    """
    _check(versions, flags)
    if flags["feed"] is None and flags["data"] is None and flags["config"] is None:
        flags["feed"] = "memory"  # OneFlow 0.8.0's loader runs alone, which would be in the times
    pythons = _prepare(versions)
    folder = Path(flags["out"] or f"results/{create_run_id('versions')}")
    records = {mode: _run(mode, pythons, {**flags, "out": folder / mode}) for mode in MODES}
    compared = {mode: compare_record(record) for mode, record in records.items()}
    if flags["as_json"]:
        dumped = {mode: [one.model_dump() for one in found] for mode, found in compared.items()}
        click.echo(json.dumps(dumped, indent=1))
    else:
        for comparisons in compared.values():
            print_comparisons(comparisons, {}, None)
        print_place("reports, records and pictures", folder)
    for mode, record in records.items():
        again = f"bench compare {folder / mode} {folder / mode} shows it again"
        with go_on_without(f"the report in {folder / mode}", again):
            write_comparisons(compared[mode], record, folder / mode)
    return judge_parities([one for found in compared.values() for one in found])


def _check(versions: Tuple[str, ...], flags: Dict[str, Any]) -> None:
    if len(versions) < 2 or len(set(versions)) < len(versions):
        raise InputError(
            "bench versions takes two or more versions of OneFlow, each once, such as 0.8.0 0.9.0, "
            f"and was given {' '.join(versions) or 'none'}"
        )
    for version in versions:
        check_version(version)
    if flags["out"] and Path(flags["out"]).exists():
        raise InputError(f"--out {flags['out']} exists already; give another folder")
    create_plan(split_flags(flags)[0])  # a plan that cannot be run is refused before pip runs


def _prepare(versions: Tuple[str, ...]) -> Dict[str, str]:
    """The interpreter of each version; missing environments are made."""
    with ProgressBar("versions") as bar:
        pythons: Dict[str, str] = {}
        for version in versions:

            def show(line: str) -> None:
                bar(line[:_LONGEST_LINE], len(pythons), len(versions))

            place = locate_environment(version)
            if not place.exists():
                bar.print_line(f"OneFlow {version}: pip makes {place}, a download of up to 2 GB")
            show(f"OneFlow {version}")
            pythons[version] = ensure_environment(version, show)
            bar.print_line(f"OneFlow {version}: runs on {pythons[version]}")
    return pythons


def _run(mode: str, pythons: Dict[str, str], flags: Dict[str, Any]) -> RunRecord:
    """One run of a mode on all versions."""
    specs = [
        f'{mode},name={mode}-{version},python="{python}"' for version, python in pythons.items()
    ]
    return execute_specs("compare", specs, flags)
