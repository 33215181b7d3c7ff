"""`bench compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Tuple

import click

from ..errors import InputError
from ..plan.modes import MODES, spell_strategy
from ..record.run import RunRecord, load_record
from .options import (
    HeadedCommand,
    find_given_flag,
    rank_options,
    run_options,
    speed_options,
    weak_option,
)
from .run import execute_specs, report_comparisons


@click.command(cls=HeadedCommand)
@click.argument("runs", nargs=-1, metavar="[RUN RUN]")
@click.option(
    "--baseline",
    default="eager",
    metavar="SPEC",
    show_default=True,
    help="Contender that the others are compared with: MODE[,KEY=VALUE]...",
)
@click.option(
    "--contender",
    "contenders",
    multiple=True,
    metavar="SPEC",
    help="Such as graph,runtime=stock. Repeatable. Default: graph.",
)
@run_options
@rank_options
@weak_option
@speed_options
def compare(runs: Tuple[str, ...], **flags: Any) -> int:
    """Run eager and graph in turns on the same batches from the same weights.

    The training gives curves, accuracy and parity. Then fresh processes of both take turns until
    there is a speed verdict or the --budget is used up.

    --baseline and --contender choose other sides than eager and graph. A contender is its mode and
    its differences from the flags: runtime, device, dtype, python, env.NAME, or a switch of
    nn.Graph's config. A contender that begins with a strategy (ddp, eager-global, graph-dp,
    graph-tp, graph-pp, graph-zero) trains in --ranks processes.

    Two stored RUNs are compared without a new run. If they took no turns, the report says so beside
    their speed.

    Exit status: 1 the modes differ, 3 the comparison is inconclusive.

    \b
    bench compare
    bench compare --baseline eager,runtime=stock --contender eager --contender graph
    bench compare --baseline graph --contender graph,allow_fuse_add_to_output=true
    bench compare --model alexnet --data synthetic --batch-size 16 --num-classes 1000
    bench compare --budget 120 --until 3%
    bench compare --ranks 2 --contender ddp --contender graph-dp
    bench compare results/RUN1 results/RUN2
    """
    if runs:
        return _compare_stored(runs, flags)
    usual = ["graph"] if (flags["ranks"] or 1) == 1 else ["ddp", "graph-dp"]
    specs = [flags.pop("baseline"), *(flags.pop("contenders") or usual)]
    record = execute_specs("compare", specs, flags)
    return report_comparisons(record, record, flags["as_json"], record.folder)


def _compare_stored(runs: Tuple[str, ...], flags: Dict[str, Any]) -> int:
    if len(runs) != 2:
        raise InputError(f"bench compare takes two stored runs or none, and {len(runs)} were given")
    flag = find_given_flag(("out", "as_json"))
    if flag:
        raise InputError(f"{flag} is for a new run, and two stored runs were given; leave one out")
    left, right = map(Path, runs)
    baseline = load_record(left)
    again = left.resolve() == right.resolve()  # one run, whose contenders took turns
    contender = baseline if again else load_record(right)
    if again and len(baseline.racing_names()) < 2:
        raise InputError(
            f"{left} holds the contender {baseline.racing_names()[0]} alone and was given twice; "
            "give two runs, or one of bench compare"
        )
    for record in (baseline, contender):
        _check_modes(record)
    folder = Path(flags["out"]) if flags["out"] else None
    if folder:
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise InputError(
                f"--out {folder} cannot be created ({error.strerror}); give a new folder"
            ) from None
    return report_comparisons(baseline, contender, flags["as_json"], folder)


def _check_modes(record: RunRecord) -> None:
    for one in record.document.contenders:
        mode = spell_strategy(one.mode, one.strategy)
        if mode not in MODES:
            raise InputError(
                f"the contender {one.name} of {record.folder} has the mode {mode}, which is not "
                "known here; compare it with the version of the suite that wrote it"
            )
