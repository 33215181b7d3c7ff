"""The command line. A command is imported when it is asked for, so that --help is quick."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from typing import List, Optional

import click

from ... import __version__
from ..errors import EXIT_DONE, InputError
from .failures import check_words, drop_output, end_on_signals, ensure_home, tell

# each command is in the file of its name, eager and graph in train.py, which holds its full help
GROUPS = {
    "Run": {
        "compare": "Run both modes in turns, or compare two stored runs.",
        "eager": "Train and validate in eager mode.",
        "graph": "Train and validate as compiled graphs (nn.Graph).",
        "sweep": "Compare the modes over models, batch sizes and more.",
        "infer": "Classify pictures in either mode or both.",
        "adopt": "Turn a training script into a training step and a graph.",
    },
    "Judge": {
        "check": "Find the first difference of the modes, or a regression.",
        "baseline": "Rewrite stored baselines and print the changes.",
        "history": "Find changes over the stored runs of a machine.",
    },
    "Look": {
        "report": "Make the page of stored runs again.",
        "runs": "List the stored runs with their verdicts.",
        "plot": "Draw the pictures of stored runs.",
        "export": "Write stored runs in the formats of other tools.",
        "profile": "Time each layer, with --limits beside the machine's limits.",
        "models": "List the models.",
    },
    "Machine and data": {
        "doctor": "Find the causes of slowness on this machine.",
        "tune": "Find the fastest faithful runtime of a model on this machine.",
        "versions": "Compare versions of OneFlow, each in its own environment.",
        "data": "Make, import and inspect datasets.",
    },
}
COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}

# replacements of former commands
REMOVED = {
    "launch": "`bench launch` is gone: several machines are a Ray cluster now; start it with "
    "`ray start` and give --cluster to eager, graph or compare (docs/distributed.md)",
    "limits": "`bench limits` is now `bench profile --limits`, its --witness-steps is "
    "--loss-steps, and --profile is no longer needed",
    "scaling": "`bench scaling` is now benchmarks/calculate_scaling.py in a checkout of the "
    "suite, which takes its flags (results/scaling/README.md)",
}


class _Commands(click.Group):
    """Loads a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> List[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Optional[click.Command]:
        if cmd_name in REMOVED:
            raise InputError(REMOVED[cmd_name])
        if cmd_name.startswith("-"):
            return None
        if cmd_name not in COMMANDS:
            raise InputError(f"there is no command {cmd_name}; it is one of {', '.join(COMMANDS)}")
        import_module("..distributed", __name__)  # registers the strategies of several ranks
        file = "train" if cmd_name in ("eager", "graph") else cmd_name
        module = import_module(f"{__name__}.{file}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        formatter.write_paragraph()
        for heading, commands in GROUPS.items():  # without blank lines, so that 40 rows show all
            formatter.write_heading(heading)
            with formatter.indentation():
                formatter.write_dl([(name.ljust(width), text) for name, text in commands.items()])


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="bench")
@click.pass_context
def bench(context: click.Context) -> None:
    """Is a OneFlow model's compiled graph faithful to eager mode, and worth it?

    \b
    Try first:
    bench compare                      both modes on the embedded digits
    bench check --model resnet20       the first tensor that differs
    bench doctor                       slow settings of this machine

    Exit status: 0 done, 1 a difference, a worse metric or a slow setting, 2 bad
    input, 3 inconclusive, 4 a worker failed, 70 the suite failed, 130 Ctrl-C.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: Optional[List[str]] = None) -> None:
    """Entry point of `bench`. Whatever ends it becomes a sentence and an exit status."""
    for name in ("stdin", "stdout", "stderr"):  # closed: the next file would take its number
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if arguments is None:
        end_on_signals()
        ensure_home()
        arguments = sys.argv[1:]
        if "_BENCH_COMPLETE" in os.environ:
            bench(arguments, prog_name="bench")
    sys.exit(_run(arguments))


def _run(arguments: List[str]) -> int:
    """The exit status. Not by click's own `main`, whose status 1 would mean a difference."""
    status = EXIT_DONE
    try:
        try:
            check_words(arguments)
            with bench.make_context("bench", list(arguments)) as context:
                status = bench.invoke(context) or EXIT_DONE
        except click.exceptions.Exit as end:
            status = end.exit_code
        sys.stdout.flush()
    except BaseException as error:
        status = tell(error)
        try:
            sys.stdout.flush()
        except OSError:
            drop_output()
    return status
