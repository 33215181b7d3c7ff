"""The commands as functions of Python: `compare`, `check` and `load_run`.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Union

import click
import cloudpickle

from .. import distributed  # noqa: F401 - registers the strategies of several ranks
from ..config import STEP_DATA
from ..errors import InputError, WorkerError
from ..measure.parity_phase import list_losses
from ..parity.gate import judge_checks
from ..parity.result import CheckDocument, ModelCheck
from ..plan.modes import load_run as load_record
from ..record.events import BlockEvent
from ..record.run import RunRecord
from ..report.before_after import compare_records
from ..report.blocks import format_markdown
from ..report.check import report_check
from ..report.compare import build_report, conclude
from ..report.comparison import Comparison
from ..training_step import TrainingStep
from ..verdict.statistics import Ratio
from . import check as check_command
from . import compare as compare_command
from .run import execute_specs, write_report

Losses = Dict[str, List[Optional[float]]]  # by contender, one a step; None where not finite

_MODULE = """import pathlib
import cloudpickle
step = cloudpickle.loads(pathlib.Path(__file__).with_suffix(".pickle").read_bytes())
"""


@dataclass(frozen=True)
class RunResult:
    """A run of two or more contenders, as its record says it.

    `comparisons` has one for each contender but the baseline; the attributes are of the first.
    """

    record: RunRecord
    comparisons: List[Comparison]

    @property
    def folder(self) -> Path:
        """Where the record, the report and the pictures are."""
        assert self.record.folder is not None
        return self.record.folder

    @property
    def verdict(self) -> str:
        """Of the speed: faster, slower, equivalent or inconclusive."""
        return self.comparisons[0].speed_verdict

    @property
    def speedup(self) -> Optional[Ratio]:
        """The baseline's step time over the contender's, with its 95 % interval."""
        return self.comparisons[0].speedup

    @property
    def parity(self) -> str:
        """Identical, equal within rounding, different, inconclusive or not judged."""
        return self.comparisons[0].parity

    @property
    def losses(self) -> Losses:
        """The loss of every step."""
        names = self.record.contender_names()
        return {name: list_losses(self.record.of_kind(BlockEvent, name)) for name in names}

    def save(self, folder: Union[str, Path]) -> Path:
        """Write the report, the comparison as JSON and the pictures to a folder; its path."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        write_report(self.comparisons, [self.record], place)
        return place

    def __str__(self) -> str:
        return "\n".join(line for one in self.comparisons for line in conclude(one))

    def _repr_markdown_(self) -> str:
        return format_markdown(build_report(self.comparisons, self.record.document.unavailable))


@dataclass(frozen=True)
class CheckResult:
    """A parity check of eager and graph mode."""

    document: CheckDocument
    folder: Path

    @property
    def check(self) -> ModelCheck:
        """All levels, the first difference and its cause."""
        return self.document.checks[0]

    @property
    def parity(self) -> str:
        """Identical, equal within rounding, different or inconclusive."""
        return self.check.verdict

    @property
    def losses(self) -> Losses:
        """The loss of every step."""
        sides = {"eager": self.check.eager, "graph": self.check.graph}
        return {name: list(side.losses) for name, side in sides.items() if side is not None}

    def __str__(self) -> str:
        return f"Parity: {self.parity}. {self.check.reason}."

    def _repr_markdown_(self) -> str:
        return format_markdown(report_check(self.document, judge_checks(self.document, [])))


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
    result = RunResult(record, compare_records(record, record))
    result.save(result.folder)
    return result


def check(what: Union[TrainingStep, str], **settings: Any) -> CheckResult:
    """Check the parity of eager and graph mode, level by level, as `bench check` does.

    The arguments are those of `compare`. Raises InputError, and WorkerError for a failed process.
    """
    with _name_step(what) as named:
        flags = _create_flags(check_command.check, named, settings)
        del flags["step"]
        _, run = check_command.prepare_check(flags, (), list)
        document, folder = run()
    found = document.checks[0]
    if found.error is not None:
        raise (InputError if found.unusable else WorkerError)(found.error)
    assert folder is not None
    return CheckResult(document, folder)


def load_run(folder: Union[str, Path]) -> RunResult:
    """A stored run of `bench compare`. Raises RecordError for a folder without a readable one."""
    record = load_record(Path(folder))
    if len(record.racing_names()) < 2:
        raise InputError(
            f"{folder} has one contender, {record.racing_names()[0]}, and nothing to compare it "
            "with; give a run of bench compare"
        )
    return RunResult(record, compare_records(record, record))


def _create_flags(
    command: click.Command, named: Dict[str, Any], settings: Dict[str, Any]
) -> Dict[str, Any]:
    """The flags of a command as it would get them. Raises InputError for an unknown setting."""
    names = [str(option.name) for option in command.params if option.expose_value]
    for name in settings:
        if name not in names or name in named:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]}?" if close else "see bench compare --help"
            raise InputError(f"{name}={settings[name]!r} was given and is no setting; {hint}")
    off = {name: False for name in ("weak", "oversubscribe", "quick") if name in names}
    return {**dict.fromkeys(names), **off, **named, **settings}


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
            f"a {type(what).__name__} was given and a TrainingStep, 'module:step' or the name of a "
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
