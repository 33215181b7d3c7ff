"""The flags of a run, shared by the commands that train: eager, graph, compare, check, baseline.

None means "not given": defaults are those of `Workload`, so that a recipe file can stand between.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import click

from ..plan.graph_options import parse_option

Command = Callable[..., Any]


def _parse_milestones(
    context: click.Context, parameter: click.Parameter, value: Optional[str]
) -> Optional[List[int]]:
    if value is None:
        return None
    try:
        return [int(part) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{value} is no list of epochs; give whole numbers such as 60,120,160"
        ) from None


def parse_model_arguments(
    context: click.Context, parameter: click.Parameter, values: Tuple[str, ...]
) -> Optional[Dict[str, Any]]:
    """KEY=VALUE pairs; the value is a number, true or false where it looks like one."""
    arguments: Dict[str, Any] = {}
    for pair in values:
        key, separator, text = pair.partition("=")
        if not separator or not key.isidentifier():
            raise click.BadParameter(f"{pair} is not KEY=VALUE, such as depth=40")
        arguments[key] = parse_option(text)
    return arguments or None


class Share(click.ParamType):
    """A share above 0 and below 1, given as 3% or 0.03."""

    name = "percent"

    def convert(
        self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]
    ) -> float:
        text = str(value).strip()
        try:
            share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            share = -1.0
        if not 0 < share < 1:
            self.fail(
                f"{value} is no share between 0 and 1; give one such as 3% or 0.03", param, ctx
            )
        return share


runtime_option = click.option(
    "--runtime",
    default=None,
    metavar="tuned|stock|FILE",
    help="Environment variables set for speed (default), left untouched, or taken from a runtime "
    "profile.",
)


def create_contenders(modes: Sequence[str], flags: Dict[str, Any], environments: Any) -> List[Any]:
    """A contender for each mode with the flags' device and runtime, as `environments` has it.

    Raises InputError for a runtime that cannot be used.
    """
    from ..plan.contenders import parse_contenders, read_runtime

    runtime = flags["runtime"] or "tuned"
    runtime = read_runtime(runtime, f"--runtime {runtime}")
    contenders = parse_contenders(modes, {"runtime": runtime, "device": flags["device"]})
    return [environments.complete(contender, contender.interpreter) for contender in contenders]


_SPEED_OPTIONS = [
    click.option("--speed/--no-speed", default=True,
                 help="Measure fresh processes for a speed verdict after training (default)."),
    click.option("--budget", "budget_s", type=click.FloatRange(0, min_open=True), default=None,
                 metavar="SECONDS", help="Most the speed verdict may take, start of its processes "
                 "included. Default: 60."),
    click.option("--until", type=Share(), default=None,
                 help="Effect that must be resolvable, such as 3%: stop there even without a "
                 "verdict."),
    click.option("--replicates", type=click.IntRange(1), default=None,
                 help="Most fresh processes of each side. Default: 24."),
    click.option("--margin", type=Share(), default=None,
                 help="faster and slower are beyond it. Default: 1%."),
    click.option("--equivalence", type=Share(), default=None,
                 help="equivalent is within it. Default: 2%."),
]  # fmt: skip

_WORKLOAD_OPTIONS = [
    click.option("--config", default=None, metavar="FILE",
                 help="Recipe file, TOML or JSON; flags override it."),
    click.option("--model", default=None, help="A name of `bench models`, or "
                 "package.module:factory. Default: alexnet_cifar."),
    click.option("--model-arg", "model_args", multiple=True, callback=parse_model_arguments,
                 metavar="KEY=VALUE", help="Argument of the model, such as depth=40. Repeatable."),
    click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), default=None,
                 help="Default: the model's own."),
    click.option("--data", default=None,
                 help="Dataset folder, or 'synthetic'. Default: the embedded digits."),
    click.option("--feed", type=click.Choice(["loader", "graph", "memory"]), default=None,
                 help="Loader outside the graph (default), inside it, or preloaded tensors."),
    click.option("--subset-percent", type=click.FloatRange(0, 100, min_open=True), default=None,
                 help="Train on that share of each class. Default: 100."),
    click.option("--augmentation/--no-augmentation", default=None,
                 help="Crops and flips as the dataset asks for them (default), or none."),
    click.option("--epochs", type=click.IntRange(1), default=None, help="Default: 5."),
    click.option("--steps-per-epoch", type=click.IntRange(1), default=None,
                 help="Default: as many whole batches as the data give."),
    click.option("--batch-size", type=click.IntRange(1), default=None, help="Default: 32."),
    click.option("--val-batch-size", type=click.IntRange(1), default=None,
                 help="Default: 120, or the whole split where that is smaller."),
    click.option("--accumulation-steps", type=click.IntRange(1), default=None,
                 help="Parts a batch is split in for one update. Default: 1."),
    click.option("--image-size", type=click.IntRange(1), default=None,
                 help="Pixels. Default: the model's own."),
    click.option("--num-classes", type=click.IntRange(2), default=None,
                 help="Default: as many as the data have."),
    click.option("--loss", default=None,
                 help="cross_entropy (default), label_smoothing, distillation, self_distillation, "
                 "teacher_free, binary_cross_entropy, or package.module:function."),
    click.option("--label-smoothing", type=click.FloatRange(0, 1, max_open=True), default=None,
                 help="Of --loss label_smoothing. Default: 0.1."),
    click.option("--alpha", type=click.FloatRange(0, 1), default=None,
                 help="Weight of the teacher's term in distillation."),
    click.option("--temperature", type=click.FloatRange(0, min_open=True), default=None,
                 help="Softening in distillation."),
    click.option("--multiplier", type=click.FloatRange(0, min_open=True), default=None,
                 help="Factor of the soft term (self_distillation, teacher_free)."),
    click.option("--reg-alpha", type=click.FloatRange(0, 1), default=None,
                 help="Weight of the virtual teacher's term in teacher_free."),
    click.option("--reg-temperature", type=click.FloatRange(0, min_open=True), default=None,
                 help="Softening of the virtual teacher."),
    click.option("--teacher", default=None, metavar="MODEL", help="Teacher of a distillation."),
    click.option("--teacher-checkpoint", default=None, metavar="PATH",
                 help="Its weights: a checkpoint or a run folder."),
    click.option("--optimizer", type=click.Choice(["sgd", "adam", "adamw"]), default=None,
                 help="Default: sgd."),
    click.option("--lr", type=click.FloatRange(0, min_open=True), default=None,
                 help="Learning rate. Default: 0.02."),
    click.option("--scale-lr/--no-scale-lr", default=None,
                 help="Multiply it by batch size / 128."),
    click.option("--momentum", type=click.FloatRange(0, 1, max_open=True), default=None,
                 help="Default: 0.9."),
    click.option("--nesterov/--no-nesterov", default=None, help="Nesterov's momentum."),
    click.option("--beta1", type=click.FloatRange(0, 1, max_open=True), default=None,
                 help="Of Adam and AdamW. Default: 0.9."),
    click.option("--beta2", type=click.FloatRange(0, 1, max_open=True), default=None,
                 help="Of Adam and AdamW. Default: 0.999."),
    click.option("--weight-decay", type=click.FloatRange(0), default=None, help="Default: 0.0005."),
    click.option("--clip-norm", type=click.FloatRange(0, min_open=True), default=None,
                 help="Scale the gradients down to this norm. Default: no clipping."),
    click.option("--schedule", type=click.Choice(["constant", "step", "multistep", "cosine"]),
                 default=None, help="Of the learning rate. Default: step."),
    click.option("--lr-step", type=click.IntRange(1), default=None,
                 help="Epochs between two decays of --schedule step. Default: 3."),
    click.option("--lr-milestones", default=None, callback=_parse_milestones, metavar="E1,E2,...",
                 help="Epochs after which --schedule multistep decays."),
    click.option("--lr-gamma", type=click.FloatRange(0, 1, min_open=True), default=None,
                 help="Factor of a decay. Default: 0.1."),
    click.option("--warmup-epochs", type=click.FloatRange(0), default=None,
                 help="Epochs over which the rate rises from 0, step by step. Default: 0."),
    click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=None, help="Default: 0."),
    click.option("--load-checkpoint", default=None, metavar="PATH",
                 help="Weights to start from: .safetensors, .npz, a folder of oneflow.save, or a "
                 "run folder."),
    click.option("--drop-head", is_flag=True, default=None,
                 help="Leave out the checkpoint's last layer where the classes differ."),
    click.option("--trust-checkpoint", is_flag=True, default=None,
                 help="Let OneFlow load a folder of oneflow.save, executing what it holds."),
]  # fmt: skip

_RUN_OPTIONS = [
    click.option("--resume", default=None, metavar="PATH",
                 help="Go on with a run: its folder or one of its checkpoints."),
    click.option("--device", type=click.Choice(["cpu", "cuda"]), default=None,
                 help="Default: cpu. CUDA has not been run."),
    runtime_option,
    click.option("--block-steps", type=click.IntRange(1), default=None,
                 help="Steps timed together. Default: about a second's worth."),
]  # fmt: skip

_COMMON_OPTIONS = [
    click.option("--timeout", "timeout_s", type=click.FloatRange(0, min_open=True), default=None,
                 metavar="SECONDS", help="Longest wait for one turn of a worker. Default: 600."),
    click.option("--out", default=None, metavar="DIR",
                 help="Run folder to create. Default: results/<run-id>."),
    click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON."),
]  # fmt: skip

_STEP_OPTIONS = [
    click.option("--model", default="alexnet", show_default=True),
    click.option("--model-arg", "model_args", multiple=True, callback=parse_model_arguments,
                 metavar="KEY=VALUE", help="Argument of the model. Repeatable."),
    click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True),
    click.option("--image-size", type=click.IntRange(1), default=None,
                 help="Pixels. Default: the model's own."),
    click.option("--num-classes", type=click.IntRange(2), default=None,
                 help="Default: as many as the data have."),
    runtime_option,
    click.option("--top", type=click.IntRange(1), default=25, show_default=True,
                 help="Layers shown in the table; the record has all."),
    click.option("--timeout", "timeout_s", type=click.FloatRange(0, min_open=True), default=600.0,
                 metavar="SECONDS", help="Longest wait for an answer of a worker. Default: 600."),
    click.option("--out", default=None, metavar="DIR",
                 help="Folder to create. Default: results/<command>-<model>-<time>."),
    click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON."),
]  # fmt: skip


def step_options(command: Command) -> Command:
    """Decorator: the flags of a command that looks into one train step of a model."""
    return decorated(command, _STEP_OPTIONS)


def run_options(command: Command) -> Command:
    """Decorator: all flags of a run."""
    return decorated(command, [*_WORKLOAD_OPTIONS, *_RUN_OPTIONS, *_COMMON_OPTIONS])


def speed_options(command: Command) -> Command:
    """Decorator: the flags of the speed phase."""
    return decorated(command, _SPEED_OPTIONS)


def workload_options(help_texts: Dict[str, str]) -> Callable[[Command], Command]:
    """Decorator: the flags that say what is trained, and where a run goes.

    `help_texts` replaces the help of flags whose default is another here.
    """

    def decorate(command: Command) -> Command:
        command = decorated(command, [*_WORKLOAD_OPTIONS, *_COMMON_OPTIONS])
        for option in command.__click_params__:  # type: ignore[attr-defined]
            option.help = help_texts.get(option.name, option.help)
        return command

    return decorate


def decorated(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    """The command with all of the options, in their order."""
    for option in reversed(options):
        command = option(command)
    return command


def find_given_flag(allowed: Sequence[str]) -> Optional[str]:
    """The first flag of this call's command line that is not among `allowed`, as it is typed."""
    context = click.get_current_context()
    for option in context.command.params:
        given = context.get_parameter_source(str(option.name))
        if (
            isinstance(option, click.Option)
            and option.name not in allowed
            and given == click.core.ParameterSource.COMMANDLINE
        ):
            off = context.params[str(option.name)] is False and option.secondary_opts
            return (off or option.opts)[0]
    return None
