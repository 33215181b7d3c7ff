"""`bench compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import click

from ..errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_INCONCLUSIVE, InputError
from ..plan.modes import load_run
from ..record.run import RunRecord, create_run_folder
from ..report.before_after import (
    BeforeAfter,
    build_runs_report,
    compare_runs,
    dump_runs,
    pair_contenders,
)
from ..report.compare import conclude_all
from ..report.screen import summarize_runs
from .console import detail_options, print_detail, print_place
from .continuing import continue_run
from .failures import go_on_without
from .options import (
    HeadedCommand,
    find_given_flag,
    rank_options,
    run_options,
    speed_options,
    take_step,
    weak_option,
)
from .run import execute_specs, judge_parities, report_comparisons, write_report
from .value_types import RunFolder, percent

QUICK = {"epochs": 1, "steps_per_epoch": 12, "budget_s": 12.0}  # of --quick


@click.command(cls=HeadedCommand)
@click.argument(
    "runs", nargs=-1, metavar="[MODULE:STEP | RUN RUN]", shell_complete=RunFolder().shell_complete
)
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
@click.option(
    "--quick",
    is_flag=True,
    help="A first look: --epochs 1 --steps-per-epoch 12 --budget 12. These flags override it.",
)
@click.option(
    "--continue",
    "continue_run",
    type=RunFolder(),
    metavar="RUN",
    help="Measure more fresh processes of a stored run, for --budget seconds more.",
)
@run_options
@rank_options
@weak_option
@speed_options
@detail_options
@click.option(
    "--gate",
    type=percent,
    metavar="SHARE",
    help="Of two stored runs: exit status 1 if a contender is slower by more, such as 5%.",
)
def compare(runs: Tuple[str, ...], **flags: Any) -> int:
    """Run eager and graph in turns on the same batches from the same weights.

    The training gives curves, accuracy and parity. Then fresh processes of both take turns until
    there is a speed verdict or the --budget is used up.

    --baseline and --contender choose other sides than eager and graph. A contender is its mode and
    its differences from the flags: runtime, device, dtype, python, env.NAME, or a switch of
    nn.Graph's config. A contender that begins with a strategy (ddp, eager-global, graph-dp,
    graph-tp, graph-pp, graph-zero) trains in --ranks processes.

    MODULE:STEP is a TrainingStep of your own (docs/your-own-step.md), such as my_file:gpt.

    --continue RUN goes on from a run without a speed verdict. The verdict then follows from the old
    samples and the new ones. RUN stays as it is.

    Two stored RUNs, before and after a change, are compared without a new run. Contenders of the
    same name are pairs. The report says what else differs between the runs. They took no turns, so
    a change of the machine's speed is part of the ratios.

    Exit status: 1 the modes differ, 3 parity is inconclusive, whatever the speed. With --gate: 1
    the second run is slower, 3 a run did not end or has no speed phase, 0 otherwise.

    \b
    bench compare
    bench compare --baseline eager,runtime=stock --contender eager --contender graph
    bench compare --baseline graph --contender graph,allow_fuse_add_to_output=true
    bench compare --model alexnet --data synthetic --batch-size 16 --num-classes 1000
    bench compare --budget 120 --until 3%
    bench compare my_file:gpt --optimizer adamw --lr 1e-3
    bench compare --model lenet --quick
    bench compare --continue latest --budget 120
    bench compare my_file:gpt --continue latest
    bench compare --ranks 2 --contender ddp --contender graph-dp
    bench compare results/RUN1 results/RUN2 --gate 5%
    """
    is_step = len(runs) == 1 and ":" in runs[0] and not Path(runs[0]).exists()
    if flags["continue_run"] is not None:
        if runs and not is_step:
            raise InputError(
                f"{' '.join(runs)} was given beside --continue {flags['continue_run']}, which "
                "knows its own model; leave one out"
            )
        if is_step:  # its name, as `--model` gives that of another model
            flags["model"] = runs[0]
        record = continue_run(flags)
        return report_comparisons(record, flags, record.folder)
    del flags["continue_run"]
    flags["step"] = runs[0] if is_step else None
    take_step(flags)
    if runs and not is_step:
        return _compare_stored(runs, flags)
    if flags.pop("gate") is not None:
        raise InputError("--gate is for two stored runs and none was given; give BEFORE and AFTER")
    take_quick(flags)
    usual = ["graph"] if (flags["ranks"] or 1) == 1 else ["ddp", "graph-dp"]
    specs = [flags.pop("baseline"), *(flags.pop("contenders") or usual)]
    record = execute_specs("compare", specs, flags)
    return report_comparisons(record, flags, record.folder)


def take_quick(flags: Dict[str, Any]) -> None:
    """Replace `quick` by what it stands for, where nothing else was given."""
    if flags.pop("quick"):
        flags.update({name: value for name, value in QUICK.items() if flags[name] is None})


def _compare_stored(runs: Tuple[str, ...], flags: Dict[str, Any]) -> int:
    if len(runs) != 2:
        given = f"{len(runs)} were given"
        if len(runs) == 1:
            given = f"one was given; bench compare {runs[0]} {runs[0]} shows its own report again"
            module = runs[0][: -len(".py")] if runs[0].endswith(".py") else runs[0]
            if Path(f"{module}.py").is_file():
                given = f"{module}.py is code; give {module}:NAME for a TrainingStep in it"
        raise InputError(
            f"bench compare takes two stored runs, BEFORE and AFTER, or none for a new run; {given}"
        )
    flag = find_given_flag(("out", "as_json", "gate", "detail"))
    if flag:
        raise InputError(f"{flag} is for a new run, and two stored runs were given; leave one out")
    left, right = (Path(RunFolder().convert(one, None, None)) for one in runs)
    before = load_run(left)
    again = left.resolve() == right.resolve()  # one run, whose contenders took turns
    if again and len(before.racing_names()) < 2:
        raise InputError(
            f"{left} has one contender, {before.racing_names()[0]}, and nothing to compare it "
            "with; give another run too"
        )
    if again and flags["gate"] is not None:
        raise InputError(f"--gate compares two runs and {left} was given twice; give another run")
    after = before if again else load_run(right)
    if not again:  # refused before a folder is made
        pair_contenders(before, after)
    folder = Path(flags["out"]) if flags["out"] else None
    if folder:
        create_run_folder(folder)
    if again:
        return report_comparisons(before, flags, folder)
    return _report_runs(compare_runs(before, after, flags["gate"]), [before, after], flags, folder)


def _report_runs(
    found: BeforeAfter, records: List[RunRecord], flags: Dict[str, Any], folder: Optional[Path]
) -> int:
    report, summary = build_runs_report(found), summarize_runs(found)
    if flags["as_json"]:
        click.echo(dump_runs(found))
    else:
        fits = print_detail(flags["detail"], report, summary, summary[1:2])
        print_place(
            "report and pictures", folder, [] if fits else conclude_all(found.comparisons, True)
        )
    if folder:
        with go_on_without(f"the report in {folder}", "give --out another folder"):
            write_report(
                folder, records, lambda pictures: report, found.comparisons, dump_runs(found)
            )
    if found.gate is not None:
        without = EXIT_INCONCLUSIVE if found.untold else EXIT_DONE
        return EXIT_DIFFERENT if found.slower else without
    return judge_parities(found.comparisons)
