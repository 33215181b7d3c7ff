"""`bench eager` and `bench graph`: one contender alone."""

from __future__ import annotations

from functools import partial
from typing import Any, Dict

import click

from ..errors import EXIT_DONE
from ..measure.training_log import LOG_NAME
from ..measure.training_phase import CHECKPOINTS
from ..record.run import DOCUMENT_NAME, RunRecord
from ..report.compare import build_run_report
from ..report.comparison import summarize_contender
from ..report.screen import summarize_run
from .console import detail_options, print_detail, print_place
from .failures import go_on_without
from .options import HeadedCommand, decorated, rank_options, run_options, step_argument, take_step
from .run import execute_specs, write_report

# of the folder of a training: what a line names, if it is there
_KEPT = {", record": DOCUMENT_NAME, ", log": LOG_NAME, ", checkpoints": CHECKPOINTS}
_options = decorated(step_argument, run_options, rank_options, detail_options)


@click.command(cls=HeadedCommand)
@_options
def eager(**flags: Any) -> int:
    """Train and validate in eager mode. The run keeps the best and the last checkpoint.

    MODULE:STEP is a TrainingStep of your own (docs/your-own-step.md).

    \b
    bench eager
    bench eager --model resnet18 --data synthetic --image-size 64 --steps-per-epoch 5
    bench eager --ranks 2
    """
    return _run("eager", flags)


@click.command(cls=HeadedCommand)
@_options
def graph(**flags: Any) -> int:
    """Train and validate as compiled graphs. The run keeps the best and the last checkpoint.

    MODULE:STEP is a TrainingStep of your own (docs/your-own-step.md).

    \b
    bench graph
    bench graph --feed graph --epochs 1
    """
    return _run("graph", flags)


def _run(mode: str, flags: Dict[str, Any]) -> int:
    """Train and print the summary; the exit status."""
    take_step(flags)
    record = train(mode, flags)
    summary = summarize_contender(record, record.contender_names()[0])
    assert record.folder is not None
    if flags["as_json"]:
        click.echo(summary.model_dump_json(indent=1))
    else:
        print_detail(flags["detail"], build_run_report(summary), summarize_run(summary), [])
        kept = [word for word, name in _KEPT.items() if (record.folder / name).exists()]
        print_place(f"report{''.join(kept)}", record.folder)
    with go_on_without("the report", f"bench report {record.folder} makes it"):
        write_report(record.folder, [record], partial(build_run_report, summary))
    return EXIT_DONE


def train(mode: str, flags: Dict[str, Any]) -> RunRecord:
    """Train one contender, and keep its best and last checkpoint unless the flags say otherwise."""
    spec = mode if (flags["ranks"] or 1) == 1 else f"{mode},ranks={flags['ranks']}"
    kept = flags["keep_checkpoints"] or "best,last"
    return execute_specs(mode, [spec], {**flags, "keep_checkpoints": kept})
