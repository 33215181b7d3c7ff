"""The command line. Commands import what they need when they run, so that --help is quick."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import List, Optional

import click

from ... import __version__
from ..errors import EXIT_INTERRUPTED, BenchError, WorkerError

_COMMANDS = {
    "eager": ("compare", "Train and validate in eager mode."),
    "graph": ("compare", "Train and validate as compiled graphs (nn.Graph)."),
    "compare": ("compare", "Run both modes in turns, or compare two stored runs."),
    "launch": ("launch", "Print the command of each of several machines."),
    "versions": ("versions", "Compare versions of OneFlow, each in an environment made for it."),
    "sweep": ("sweep", "Compare the modes over models, batch sizes and more."),
    "check": ("check", "Find where the modes differ; gate on stored baselines."),
    "baseline": ("baseline", "Rewrite stored baselines, with a readable diff."),
    "infer": ("infer", "Say what is on pictures, in either mode or both."),
    "tune": ("tune", "Find the fastest faithful runtime of a model here."),
    "profile": ("profile", "Time each layer, eagerly or as a graph."),
    "limits": ("limits", "Say how far a train step is from the machine's limits."),
    "scaling": ("scaling", "Calculate how training scales to more ranks."),
    "doctor": ("doctor", "Say what slows OneFlow down on this machine."),
    "plot": ("plot", "Draw the pictures of stored runs."),
    "history": ("history", "Say what changed over the stored runs of a machine."),
    "export": ("export", "Write stored runs in the formats of other tools."),
    "models": ("models", "List the models."),
    "data": ("data", "Make, import and inspect datasets."),
}


class _Commands(click.Group):
    """Loads a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> List[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Optional[click.Command]:
        if cmd_name not in _COMMANDS:
            return None
        import_module("..distributed", __name__)  # registers the strategies of several ranks
        module = import_module(f"{__name__}.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bench")
def bench() -> None:
    """Is a OneFlow model's compiled graph faithful to eager mode, and is it worth it?

    \b
    bench compare                      both modes on the embedded digits
    bench compare --model resnet18 --data synthetic
    bench eager --epochs 5 --out results/mine

    Exit status: 0 done, 1 the modes differ, a metric is worse than its
    baseline or the doctor found something, 2 bad input, 3 inconclusive, 4 a
    worker failed, 130 Ctrl-C.
    """


def main(arguments: Optional[List[str]] = None) -> None:
    """Entry point of `bench`; turns the suite's errors into a sentence and an exit status."""
    try:
        status: int = bench(arguments, standalone_mode=False) or 0
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("ended by the user", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except BenchError as error:
        click.echo(f"error: {error}", err=True)
        if isinstance(error, WorkerError) and error.log_tail:
            click.echo(f"its last lines:\n{error.log_tail}", err=True)
        sys.exit(error.exit_status)
    sys.exit(status)
