"""The runs that may be compared with each other, and the changes of their metrics over time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from pydantic import BaseModel

from ...errors import InputError, RecordError
from ...plan.modes import load_run
from ...record.run import DOCUMENT_NAME, RunRecord
from ...report.comparison import compare_contenders, summarize_contender
from ...report.run_key import Key, create_series_key, list_differences
from ...verdict.change_points import find_changes
from ...verdict.summary import judge_record_speed
from . import METRICS, VERDICTS, Metric

Value = Union[float, str]
Progress = Callable[[int, int], None]


class Point(BaseModel):
    """A run's value; `low` and `high` are the bounds of its 95 % interval within the run."""

    run_id: str
    created: str
    git_commit: Optional[str]  # of the suite
    commit: Optional[str] = None  # of the folder that the run was started in
    value: Value
    low: Optional[float] = None
    high: Optional[float] = None


class Change(BaseModel):
    """From `run_id` on the level is `after`; `relative` is after / before - 1."""

    index: int  # of the first point of the new level
    run_id: str
    before: Value
    after: Value
    relative: Optional[float] = None  # None for verdicts and where before is 0


class Curve(BaseModel):
    """One metric of one contender over the runs of a series, oldest first."""

    metric: str
    contender: str
    points: List[Point]
    changes: List[Change]


class Series(BaseModel):
    """Runs that may be compared with each other, and their differences from the series before."""

    key: Dict[str, str]
    data: str  # the newest name of their folder
    differences: List[str]  # from the series before this one; empty for the first
    runs: List[str]  # run ids, oldest first
    first: str  # creation of the oldest and of the newest run
    last: str
    curves: List[Curve]


class History(BaseModel):
    series: List[Series]
    left_out: List[str]  # runs that are no points, each with the reason
    skipped: List[str] = []  # records that could not be read, each with the reason


def find_runs(folders: Sequence[Path]) -> List[Path]:
    """Run folders: those given, and those directly in a folder given; each once, sorted by name.

    Raises InputError for a folder that is missing or holds no run.
    """
    found: Dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(
                f"{folder} is no folder; give a folder of runs, such as results, or run folders"
            )
        runs = sorted(path.parent for path in folder.glob(f"*/{DOCUMENT_NAME}"))
        if (folder / DOCUMENT_NAME).exists():
            runs = [folder]
        if not runs:
            raise InputError(
                f"{folder} holds no run (no {folder}/*/{DOCUMENT_NAME}); make one with "
                f"bench compare --out {folder / 'NAME'}, or give another folder"
            )
        found.update({run.resolve(): run for run in runs})
    return list(found.values())


def load_history(
    folders: Sequence[Path],
    metrics: Sequence[str],
    on_progress: Optional[Progress] = None,
    selected: Optional[Mapping[str, str]] = None,
) -> History:
    """Read the runs and build their history, of those whose key has what is `selected`.

    Raises InputError if no complete run is left.
    """
    runs = find_runs(folders)
    skipped: List[str] = []

    def read() -> Iterator[RunRecord]:
        for number, run in enumerate(runs, start=1):
            try:
                yield load_run(run)
            except RecordError as error:
                skipped.append(str(error))
            if on_progress:
                on_progress(number, len(runs))

    history = build_history(read(), metrics, selected)
    if not history.series:
        reasons = "; ".join([*skipped, *history.left_out])
        raise InputError(f"no complete run was found among {len(runs)}: {reasons}")
    history.skipped = skipped
    return history


class _Run(NamedTuple):
    """What a history needs of a record; sorted by time."""

    created: str
    run_id: str
    status: str
    key: Key
    data: str
    commits: Dict[str, Optional[str]]
    measured: List[Tuple[Any, ...]]


def _reduce(record: RunRecord) -> _Run:
    document, machine = record.document, record.document.environment_start
    commits = {
        "git_commit": machine.get("git_commit"),
        "commit": (machine.get("project") or {}).get("commit"),
    }
    complete = document.status == "complete"
    return _Run(
        created=document.created,
        run_id=document.run_id,
        status=document.status,
        key=create_series_key(record),
        data=Path(document.workload.data).name,
        commits=commits,
        measured=list(_measure(record)) if complete else [],
    )


def build_history(
    records: Iterable[RunRecord],
    metrics: Sequence[str],
    selected: Optional[Mapping[str, str]] = None,
) -> History:
    """Group complete runs by the fields that must match; series of like keys are neighbours."""
    groups: Dict[str, List[_Run]] = {}
    left_out = []
    seen = set()
    for run in sorted(map(_reduce, records), key=lambda run: run[:2]):
        others = [f"{k} {run.key[k]}" for k, v in (selected or {}).items() if run.key[k] != v]
        if run.status != "complete":
            left_out.append(f"{run.run_id}: it is {run.status}, not complete")
        elif others:
            left_out.append(f"{run.run_id}: {', '.join(others)}")
        elif run[:2] in seen:
            left_out.append(f"{run.run_id}: a copy of a run that is there already")
        else:
            seen.add(run[:2])
            groups.setdefault(json.dumps(run.key), []).append(run)
    series: List[Series] = []
    for text in sorted(groups):
        key, members = json.loads(text), groups[text]
        series.append(
            Series(
                key=key,
                data=members[-1].data,
                differences=list_differences(series[-1].key, key) if series else [],
                runs=[run.run_id for run in members],
                first=members[0].created,
                last=members[-1].created,
                curves=_build_curves(members, metrics),
            )
        )
    return History(series=series, left_out=left_out)


def _build_curves(runs: Sequence[_Run], metrics: Sequence[str]) -> List[Curve]:
    points: Dict[Tuple[str, str], List[Point]] = {}
    for run in runs:
        for metric, contender, *values in run.measured:
            named = dict(zip(("value", "low", "high"), values))
            point = Point(run_id=run.run_id, created=run.created, **run.commits, **named)
            points.setdefault((metric, contender), []).append(point)
    return [
        Curve(metric=metric, contender=name, points=found, changes=mark_changes(metric, found))
        for metric in metrics
        for (of, name), found in points.items()
        if of == metric
    ]


def _measure(record: RunRecord) -> Iterator[Tuple[Any, ...]]:
    """(metric, contender, value), or with low and high, for the metrics that the record holds."""
    first, *others = record.racing_names()
    comparisons = [
        compare_contenders(record, first, record, name, with_speed=False) for name in others
    ]
    summaries = {side.name: side for one in comparisons for side in (one.baseline, one.contender)}
    for name in record.contender_names():
        summary = summaries.get(name) or summarize_contender(record, name)
        step = summary.train_step_time_s
        if step is not None:
            yield "train_step_time_s", name, step.median, step.low, step.high
        if summary.compile_s:  # eager compiles nothing
            yield "compile_s", name, summary.compile_s
        if summary.peak_rss_bytes is not None:
            yield "peak_rss_bytes", name, float(summary.peak_rss_bytes)
        if summary.accuracy:
            yield "accuracy", name, summary.accuracy[-1]
    for name, comparison in zip(others, comparisons):
        judged = judge_record_speed(record, first, name)
        speedup = judged.speedup if judged else comparison.speedup
        if speedup is not None:
            yield "speedup", name, speedup.ratio, speedup.low, speedup.high
        yield "parity", name, comparison.parity


def find_worse(history: History) -> List[str]:
    """A sentence for each curve whose newest level, or verdict, is worse than the one before it."""
    worse = []
    for number, series in enumerate(history.series, start=1):
        for curve in series.curves:
            change = curve.changes[-1] if curve.changes else None
            if change and _is_worse(METRICS[curve.metric], change):
                heading = METRICS[curve.metric].title
                worse.append(
                    f"series {number}: {heading} of {curve.contender} is worse from "
                    f"{change.run_id} on"
                )
    return worse


def _is_worse(metric: Metric, change: Change) -> bool:
    if isinstance(change.before, str) or isinstance(change.after, str):
        return VERDICTS.index(str(change.after)) < VERDICTS.index(str(change.before))
    return (change.after > change.before) == metric.lower_is_better


def mark_changes(metric: str, points: Sequence[Point]) -> List[Change]:
    """Changes of level, or of the verdict, with the runs they begin at."""
    how = METRICS[metric]
    values: List[Any] = [point.value for point in points]
    if how.min_step is None:
        pairs = enumerate(zip(values, values[1:]), start=1)
        found = [(i, before, after) for i, (before, after) in pairs if before != after]
    else:
        changes = find_changes(values, how.min_step, how.relative)
        found = [(change.index, change.before, change.after) for change in changes]
    return [
        Change(
            index=index,
            run_id=points[index].run_id,
            before=before,
            after=after,
            relative=after / before - 1 if how.min_step and before else None,
        )
        for index, before, after in found
    ]
