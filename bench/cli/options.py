"""The flags of the commands, made from the fields of the configuration.

A flag's type, bounds, choices, help and default are its field's. None means "not given", so that a
recipe file can stand between the flags and the defaults of the fields.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import click

from ..config import HEADINGS, STEP_DATA, SYNTHETIC_DATA, Workload
from ..errors import InputError
from ..plan.fields import SETTINGS, Setting, flag_of, list_settings
from .trainer_flags import TRAINER_FLAGS, VALUE_ALONE, replaced_option
from .value_types import FIELD_TYPES, NumberRange, ValueList, parse_pairs, percent

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

# of flags that are no fields
_HEADINGS = {
    **dict.fromkeys(["out", "as_json", "detail"], "Output"),
    **dict.fromkeys(["oversubscribe", "cluster", "placement", "weak"], "Several processes"),
}

# the flags that --help shows of each heading; --help-all shows all
_FIRST = (
    *("model", "load_checkpoint", "data", "feed", "epochs", "steps_per_epoch", "batch_size"),
    *("optimizer", "lr", "runtime", "budget_s", "until", "ranks", "cluster", "out", "as_json"),
    "detail",
)

HELP_ALL = "all flags"  # the context's object when --help-all was given


def _show_all_help(context: click.Context, option: click.Parameter, asked: bool) -> None:
    if asked:
        context.obj = HELP_ALL
        click.echo(context.get_help())
        context.exit()


class HeadedCommand(click.Command):
    """A command whose help groups the flags under headings, and shows the usual ones first."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.params.append(
            click.Option(
                ["--help-all"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_all_help,
                help="Show all flags and exit.",
            )
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: Dict[str, List[Tuple[str, str]]] = {"Options": []}
        sections.update({heading: [] for heading in HEADINGS})
        hidden = 0
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx) if isinstance(option, click.Option) else None
            if record is not None:
                setting = SETTINGS.get(str(option.name))
                heading = _HEADINGS.get(str(option.name)) or (setting and setting.heading)
                if heading and option.name not in _FIRST and ctx.obj != HELP_ALL:
                    hidden += 1
                else:
                    sections[heading or "Options"].append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
        if hidden:
            formatter.write_paragraph()
            formatter.write_text(f"{hidden} more flags: {ctx.command_path} --help-all")


def field_option(name: str, default: Any = None, shown: Any = None) -> Decorator:
    """Decorator: the flag of a field.

    `default` is the value of a command that reads no recipe. `shown` is a default that the command
    applies itself.
    """
    setting = SETTINGS[name]
    flag = f"{setting.flag}/--no-{setting.flag[2:]}" if setting.kind is bool else setting.flag
    return click.option(
        flag,
        name,
        type=_choose_type(setting),
        default=default,
        multiple=setting.kind is dict,
        callback=parse_pairs if setting.kind is dict else None,
        metavar=setting.metavar,
        help=describe_field(name, default if shown is None else shown),
        **VALUE_ALONE.get(name, {}),
    )


def describe_field(name: str, default: Any = None) -> str:
    """The help of a field's flag; `default` is another one than the field's."""
    setting = SETTINGS[name]
    shown = setting.describe_default(default)
    repeatable = " Repeatable." if setting.kind is dict else ""
    return f"{setting.description}{repeatable}{f' Default: {shown}.' if shown else ''}"


def _choose_type(setting: Setting) -> Any:
    """As click takes it: a type, or a function of the text."""
    if setting.share:
        return percent
    if setting.name in FIELD_TYPES:
        return FIELD_TYPES[setting.name]
    if setting.choices:
        return click.Choice(setting.choices)
    if setting.kind not in (int, float):
        return {bool: click.BOOL, list: ValueList(click.INT)}.get(setting.kind, click.STRING)
    ranged: Any = click.IntRange if setting.kind is int else NumberRange
    bounds = setting.bounds
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    return ranged(low, high, "gt" in bounds, "lt" in bounds)


def field_options(
    names: Sequence[str],
    defaults: Optional[Mapping[str, Any]] = None,
    shown: Optional[Mapping[str, Any]] = None,
) -> Decorator:
    """Decorator: the flags of several fields, with arguments as those of `field_option`."""
    defaults, shown = defaults or {}, shown or {}
    return decorated(*(field_option(name, defaults.get(name), shown.get(name)) for name in names))


def decorated(*options: Decorator) -> Decorator:
    """Decorator: all of these options, in their order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_CONFIG = click.option(
    "--config", metavar="FILE", help="Recipe file in TOML or JSON. Flags override it."
)
_OUT = click.option("--out", metavar="DIR", help="Run folder to create. Default: results/<run-id>.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_TRAINED = [one.name for one in list_settings(Workload) if one.heading and one.name != "resume"]

# all flags of a run
run_options = decorated(
    _CONFIG,
    field_options([*_TRAINED, "resume", "device", "runtime", "blas", "block_steps", "timeout_s"]),
    field_options(["label", "log_every", "keep_checkpoints"]),
    _OUT,
    _JSON,
    *TRAINER_FLAGS,  # behind the fields' own flags, which errors name
)
step_argument = click.argument("step", required=False, metavar="[MODULE:STEP]")


def take_step(flags: Dict[str, Any]) -> None:
    """Put the `TrainingStep` of the command line, where one is given, in place of model and data.

    Raises InputError if a model or data are named too.
    """
    step = flags.pop("step")
    if step is None:
        return
    for name in ("model", "models", "data"):
        if flags.get(name) is not None:
            raise InputError(
                f"{flag_of(name)} was given beside the TrainingStep {step}, which has its own; "
                "leave one out"
            )
    flags.update(model=step, data=STEP_DATA)


SPEED_FLAGS = ("budget_s", "until", "replicates", "margin", "equivalence")
# the flags of a comparison, which has a speed phase unless it is turned off
speed_options = field_options(["parameter_difference", "speed", *SPEED_FLAGS], {"speed": True})
# the flags of a command that looks into one train step, and the defaults of its image job
STEP_DEFAULTS = {"model": "alexnet", "data": SYNTHETIC_DATA, "batch_size": 16}
step_options = decorated(
    field_options(
        ["model", "model_args", "data", "batch_size", "image_size", "num_classes"],
        shown=STEP_DEFAULTS,
    ),
    field_options(["runtime", "blas"]),
    click.option(
        "--top",
        type=click.IntRange(1),
        default=25,
        show_default=True,
        help="Layers shown in the table. The record has all.",
    ),
    field_option("timeout_s", SETTINGS["timeout_s"].default),
    click.option(
        "--out", metavar="DIR", help="Folder to create. Default: results/<command>-<model>-<time>."
    ),
    _JSON,
)
cluster_option = click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Run on the nodes of a Ray cluster: HOST:PORT of its head, or auto on one of its nodes.",
)


_BY_RAY = "is gone: several machines are a Ray cluster now; give --cluster (docs/distributed.md)"
# the flags of a run in several ranks; only eager, graph and compare have them
rank_options = decorated(
    field_option("ranks"),
    click.option(
        "--oversubscribe", is_flag=True, help="Allow more ranks than this machine has usable cores."
    ),
    cluster_option,
    click.option(
        "--placement",
        type=click.Choice(["spread", "pack"]),
        help="With --cluster: spread the ranks over its nodes, or pack them on few. "
        "Default: spread.",
    ),
    *(replaced_option(flag, _BY_RAY) for flag in ("--nodes", "--node-rank", "--master", "--token")),
)
weak_option = click.option(
    "--weak",
    is_flag=True,
    help="Measure weak scaling, speed only. One process takes the batch of one rank.",
)


def workload_options(
    help_texts: Mapping[str, str], shown: Optional[Mapping[str, Any]] = None
) -> Decorator:
    """Decorator: the flags that say what is trained and where the results go.

    `help_texts` replaces the help of flags. `shown` are the defaults that the command applies in
    place of the fields'.
    """

    def decorate(command: Command) -> Command:
        fields = field_options([*_TRAINED, "timeout_s"], shown=shown)
        command = decorated(_CONFIG, fields, _OUT, _JSON, *TRAINER_FLAGS)(command)
        for option in command.__click_params__:  # type: ignore[attr-defined]
            option.help = help_texts.get(option.name, option.help)
        return command

    return decorate


def find_given_flag(allowed: Sequence[str]) -> Optional[str]:
    """The first flag of this call's command line that is not among `allowed`, as it is typed."""
    names = [str(option.name) for option in click.get_current_context().command.params]
    return find_given([name for name in names if name not in allowed])


def find_given(names: Sequence[str]) -> Optional[str]:
    """The first flag of this call's command line that is among `names`, as it is typed."""
    context = click.get_current_context(silent=True)
    if context is None:  # called from Python
        return None
    for option in context.command.params:
        given = context.get_parameter_source(str(option.name))
        if (
            isinstance(option, click.Option)
            and option.name in names
            and given == click.core.ParameterSource.COMMANDLINE
        ):
            off = context.params[str(option.name)] is False and option.secondary_opts
            return (off or option.opts)[0]
    return None


def create_contenders(mode: str, flags: Dict[str, Any], environments: Any) -> List[Any]:
    """The contender of a mode, or of `both`, with the device, runtime and BLAS of the flags.

    Raises InputError for a runtime or a BLAS that cannot be used.
    """
    from ..plan.contenders import parse_contenders, read_side

    names = ("runtime", "blas", "device")
    side = read_side({name: flags[name] for name in names if flags[name] is not None})
    contenders = parse_contenders(["eager", "graph"] if mode == "both" else [mode], side)
    return [environments.complete(contender, contender.interpreter) for contender in contenders]
