"""The commands as functions of Python: `compare`, `check`, `train`, `profile` and `infer`.

    import oneflow_bench as ob
    result = ob.compare(step, budget_s=60)
    result.verdict, result.speedup, result.parity

They plan, run and report as the commands do, in processes of their own. OneFlow is not imported
here.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Sequence, Union

import click
import cloudpickle

from .. import distributed  # noqa: F401 - registers the strategies of several ranks
from ..config import STEP_DATA
from ..errors import InputError, WorkerError, describe_type
from ..plan.modes import load_run as load_record
from ..report.before_after import compare_record
from ..training_step import TrainingStep
from . import check as check_command
from . import compare as compare_command
from . import infer as infer_command
from . import profile as profile_command
from . import train as train_command
from .results import CheckResult, InferenceResult, ProfileResult, RunResult, TrainResult
from .run import execute_specs

_MODULE = """import pathlib
import cloudpickle
step = cloudpickle.loads(pathlib.Path(__file__).with_suffix(".pickle").read_bytes())
"""


def compare(
    what: Union[TrainingStep, str],
    contenders: Sequence[str] = ("graph",),
    baseline: str = "eager",
    **settings: Any,
) -> RunResult:
    """Compare contenders with a baseline, as `bench compare` does.

    `what` is a `TrainingStep`, `module:step`, or the name of a model. `settings` are the flags of
    the command by the names of their fields, such as `epochs`, `optimizer`, `lr` or `budget_s`.
    Raises InputError for what cannot be run, and WorkerError for a process that failed.
    """
    with _name_step(what) as named:
        stored = dict.fromkeys(("runs", "gate", "continue_run"))  # of stored runs alone
        flags = _create_flags(compare_command.compare, {**named, **stored}, settings)
        compare_command.take_quick(flags)
        for name in (*stored, "baseline", "contenders"):
            flags.pop(name)
        flags["speed"] = settings.get("speed", True)
        record = execute_specs("compare", [baseline, *contenders], flags)
    result = RunResult(record, compare_record(record))
    result.save(result.folder)
    return result


def check(what: Union[TrainingStep, str], **settings: Any) -> CheckResult:
    """Check the parity of eager and graph mode, level by level, as `bench check` does.

    The arguments are those of `compare`. Raises InputError, and WorkerError for a failed process.
    """
    with _name_step(what) as named:
        flags = _create_flags(check_command.check, named, settings)
        del flags["health"]
        _, run = check_command.prepare_check(flags, (), list)
        document, folder = run()
    found = document.checks[0]
    if found.error is not None:
        raise (InputError if found.unusable else WorkerError)(found.error)
    assert folder is not None
    return CheckResult(document, folder)


def train(what: Union[TrainingStep, str], mode: str = "graph", **settings: Any) -> TrainResult:
    """Train in one mode, as `bench eager` and `bench graph` do. The arguments are as `compare`'s.

    The run's folder keeps the best and the last checkpoint.
    """
    if mode not in ("eager", "graph"):
        raise InputError(f"mode={mode!r} was given and 'eager' or 'graph' is expected")
    command = train_command.eager if mode == "eager" else train_command.graph
    with _name_step(what) as named:
        flags = _create_flags(command, named, settings)
        record = train_command.train(mode, flags)
    result = TrainResult(record)
    result.save(result.folder)
    return result


def profile(what: Union[TrainingStep, str], **settings: Any) -> ProfileResult:
    """Time each layer, as `bench profile` does, such as with mode="graph" or iterations=5."""
    with _name_step(what) as named:
        flags = _create_flags(profile_command.profile, named, settings)
        document, stored, folder = profile_command.profile_step(flags)
        profile_command.write_profile(document, stored, folder)
    return ProfileResult(document, folder)


def infer(
    what: Union[TrainingStep, str],
    batch_sizes: Sequence[int] = (),
    mode: str = "both",
    **settings: Any,
) -> InferenceResult:
    """Time the forward by batch size, as `bench infer` does, of a `TrainingStep` or its name.

    Without `batch_sizes` the batch is the step's own.
    """
    with _name_step(what) as named:
        if named.get("data") != STEP_DATA:
            raise InputError(
                f"{what!r} was given and a TrainingStep or 'module:step' is expected; bench infer "
                "classifies pictures with a model of the suite"
            )
        if not isinstance(batch_sizes, (tuple, list)):
            raise InputError(
                f"batch_sizes={batch_sizes!r} was given and a tuple is expected, such as (1, 8)"
            )
        step = {"model": named["model"]}
        flags = {**_create_flags(infer_command.infer, step, settings), "mode": mode}
        return InferenceResult(infer_command.time_step(named["model"], batch_sizes, flags))


def load_run(folder: Union[str, Path]) -> Union[RunResult, TrainResult]:
    """A stored run: a `RunResult` of `bench compare`, a `TrainResult` of `bench eager` or `graph`.

    Raises RecordError for a folder without a readable run.
    """
    record = load_record(Path(folder))
    if len(record.racing_names()) < 2:
        return TrainResult(record)
    return RunResult(record, compare_record(record))


def _create_flags(
    command: click.Command, named: Dict[str, Any], settings: Dict[str, Any]
) -> Dict[str, Any]:
    """The flags of a command as it would get them. Raises InputError for an unknown setting."""
    usual = command.make_context(command.name, [], resilient_parsing=True).params
    names = list(usual)
    for name in settings:
        if name not in names or name in named:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]}?" if close else "see bench compare --help"
            raise InputError(f"{name}={settings[name]!r} was given and is no setting; {hint}")
    usual.pop("step", None)  # which `named` has
    return {**usual, **named, **settings}


@contextmanager
def _name_step(what: Union[TrainingStep, str]) -> Iterator[Dict[str, Any]]:
    """The model and data of a run; a `TrainingStep` is sent to its processes as a pickle.

    Raises InputError for an object that cannot be sent.
    """
    if isinstance(what, str):
        yield {"model": what, "data": STEP_DATA} if ":" in what else {"model": what}
        return
    if not isinstance(what, TrainingStep):
        raise InputError(
            f"{describe_type(what)} was given and a TrainingStep, 'module:step' or the name of a "
            "model is expected"
        )
    try:
        data = cloudpickle.dumps(what)
    except Exception as error:  # whatever an object of the user's raises
        raise InputError(
            f"the TrainingStep at {what.place} cannot be sent to another process "
            f"({type(error).__name__}: {error}); make such an object inside its functions"
        ) from None
    name = re.sub(r"\W", "_", getattr(what.create_module, "__name__", "own")).lower()
    before = os.environ.get("PYTHONPATH")
    with tempfile.TemporaryDirectory() as temporary:
        module = Path(temporary) / f"python_{name}.py"
        module.write_text(_MODULE, encoding="utf-8")
        module.with_suffix(".pickle").write_bytes(data)
        paths = [temporary, *(os.path.abspath(entry) for entry in sys.path)]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        try:
            yield {"model": f"{module.stem}:step", "data": STEP_DATA}
        finally:
            os.environ.pop("PYTHONPATH")
            if before is not None:
                os.environ["PYTHONPATH"] = before
