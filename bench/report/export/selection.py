"""The contenders to export, and the facts about them that every format holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ...errors import InputError
from ...record.run import RunRecord
from ...record.side import Side
from ..comparison import ContenderSummary, summarize_contender

TRAIN_STEP = "train_step"
# settings of few contenders; a format leaves out those that a contender does not have
SETTINGS = ("ranks", "strategy", "accumulation_steps", "blas", "env", "graph_options")


class Scalar(NamedTuple):
    """One number of a contender; `low` and `high` are the bounds of its 95 % interval."""

    name: str
    value: float
    unit: str
    low: Optional[float] = None
    high: Optional[float] = None


@dataclass(frozen=True)
class Selected(Side):
    """One contender of one record.

    `run` tells several exported runs apart. `named` means that only this contender was asked for.
    The benchmark's name then leaves the contender out, so that tools which match benchmarks by
    name can compare the files of two contenders.
    """

    run: Optional[str] = None
    named: bool = False

    @cached_property
    def summary(self) -> ContenderSummary:
        return summarize_contender(self.record, self.name)

    def benchmark_name(self, metric: Optional[str] = None) -> str:
        contender = None if self.named else self.name
        parts = [self.run, self.record.document.workload.model, metric, contender]
        return "/".join(part for part in parts if part)

    def list_step_times(self) -> List[float]:
        """Seconds a step of each steady block. Raises InputError if there is none."""
        if not self.steady_blocks:
            raise InputError(
                f"run {self.record.document.run_id} has no steady blocks of {self.name}, "
                "so it has no step time to export; run it longer, or give --format csv"
            )
        return [block.step_time_s for block in self.steady_blocks]


def select_contenders(records: Sequence[RunRecord], contender: Optional[str]) -> List[Selected]:
    """The contenders to export: all of them, or the one of that name of every record.

    Raises InputError if a record has no such contender, or if a run was given twice.
    """
    selected = []
    for record, run in zip(records, _label_runs(records)):
        names = record.contender_names()
        if contender is not None and contender not in names:
            raise InputError(
                f"run {record.document.run_id} has no contender {contender}; "
                f"give --contender one of {', '.join(names)}"
            )
        selected += [
            Selected(record, name, run, contender is not None)
            for name in names
            if contender in (None, name)
        ]
    return selected


def _label_runs(records: Sequence[RunRecord]) -> List[Optional[str]]:
    """The names of the runs' folders, or their ids if names are not unique; None for one run."""
    if len(records) == 1:
        return [None]
    ids = [record.document.run_id for record in records]
    folders = [record.folder.resolve().name if record.folder else "" for record in records]
    for labels in (folders, ids):
        if all(labels) and len(set(labels)) == len(labels):
            return list(labels)
    repeated = next(label for label in ids if ids.count(label) > 1)
    raise InputError(f"run {repeated} was given more than once; give every run once")


def list_scalars(selected: Selected) -> List[Scalar]:
    """Times in seconds and memory in bytes, as far as the record has them; smaller is better.

    An error that is not finite is left out, since JSON has no such number.
    """
    summary = selected.summary
    scalars = []
    for name in ("train_step_time_s", "eval_step_time_s"):
        time = getattr(summary, name)
        if time is not None:
            scalars.append(Scalar(name, time.median, "s", time.low, time.high))
    units = {"compile_s": "s", "time_to_first_step_s": "s", "peak_rss_bytes": "bytes"}
    for name, unit in units.items():
        value = getattr(summary, name)
        if value is not None:
            scalars.append(Scalar(name, value, unit))
    for accuracy in summary.accuracy[-1:]:
        if accuracy is not None:
            scalars.append(Scalar("validation_error", 1 - accuracy, "fraction"))
    return scalars


def describe_machine_of(selected: Selected) -> Dict[str, Any]:
    """Facts about machine and software, as far as the record has them."""
    environment = selected.record.document.environment_start
    cpu = environment.get("cpu") or {}
    software = selected.environment
    facts = {
        "cpu_model_name": cpu.get("model"),
        "cpu_count": cpu.get("cores"),
        "memory_bytes": environment.get("memory_bytes"),
        "platform": environment.get("platform"),
        "python_version": software.get("python") or environment.get("python"),
        "oneflow_version": software.get("oneflow"),
        "blas_kernel": (environment.get("blas_kernel") or {}).get(selected.name),
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


def describe_job_of(selected: Selected) -> Dict[str, Any]:
    """The main fields of the workload and of the contender.

    SETTINGS that the contender does not have are left out. `env` and `graph_options` are NAME=VALUE
    words, sorted by name.
    """
    workload, contender = selected.record.document.workload, selected.contender
    settings = {
        "ranks": contender.ranks if contender.ranks > 1 else None,
        "strategy": contender.strategy,
        "accumulation_steps": contender.accumulation_steps,
        "blas": contender.blas,
        "env": _join(contender.env),
        "graph_options": _join(contender.graph_options),
    }
    return {
        "run_id": selected.record.document.run_id,
        "model": workload.model,
        "data": Path(workload.data).name,
        "feed": workload.feed,
        "batch_size": workload.batch_size,
        "image_size": workload.image_size,
        "seed": workload.seed,
        "contender": contender.name,
        "mode": contender.mode,
        "runtime": contender.runtime,
        "device": contender.device,
        **{name: value for name, value in settings.items() if value not in (None, "")},
    }


def _join(settings: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={settings[name]}" for name in sorted(settings))
