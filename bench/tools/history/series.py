"""The runs that may be compared with each other, and the changes of their metrics over time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from pydantic import BaseModel

from ...errors import InputError, RecordError
from ...record.run import DOCUMENT_NAME, RunRecord
from ...report.run_key import list_differences
from ...verdict.change_points import find_changes
from . import METRICS, VERDICTS, Metric
from .summaries import Progress, RunSummary, Summaries, Value, summarize_run


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
    not_finite: List[str] = []  # metrics of the newest run, each with its contender


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
                f"{folder} is no folder; make a run with bench compare, or give another folder"
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
    summaries = Summaries()
    read = summaries.read(runs, on_progress or (lambda done, total: None))
    summaries.save()
    skipped = [str(one) for one in read if isinstance(one, RecordError)]
    found = [one for one in read if isinstance(one, RunSummary)]
    history = _join(found, metrics, selected)
    if not history.series:
        reasons = "; ".join([*skipped, *history.left_out])
        raise InputError(f"no complete run was found among {len(runs)}: {reasons}")
    history.skipped = skipped
    return history


def build_history(
    records: Iterable[RunRecord],
    metrics: Sequence[str],
    selected: Optional[Mapping[str, str]] = None,
) -> History:
    """The history of records that were read; of those whose key has what is `selected`."""
    return _join(map(summarize_run, records), metrics, selected)


def _join(
    runs: Iterable[RunSummary], metrics: Sequence[str], selected: Optional[Mapping[str, str]]
) -> History:
    """Group complete runs by the fields that must match; series of like keys are neighbours."""
    groups: Dict[str, List[RunSummary]] = {}
    left_out = []
    seen = set()
    ordered = sorted(runs, key=_order)

    def find_others(run: RunSummary) -> List[str]:
        return [f"{k} {run.key[k]}" for k, v in (selected or {}).items() if run.key[k] != v]

    taken = [run for run in ordered if run.status == "complete" and not find_others(run)]
    later = {run.continues: run.run_id for run in taken}
    for run in ordered:
        others = find_others(run)
        if run.status != "complete":
            left_out.append(f"{run.run_id}: it is {run.status}, not complete")
        elif run.run_id in later:
            left_out.append(f"{run.run_id}: {later[run.run_id]} continues it, with its samples")
        elif others:
            left_out.append(f"{run.run_id}: {', '.join(others)}")
        elif _order(run) in seen:
            left_out.append(f"{run.run_id}: a copy of a run that is there already")
        else:
            seen.add(_order(run))
            left_out += [f"{run.run_id}: {name} is not finite" for name in _list_infinite(run)]
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
                not_finite=_list_infinite(members[-1]),
            )
        )
    return History(series=series, left_out=left_out)


def _list_infinite(run: RunSummary) -> List[str]:
    return [
        f"{METRICS[one.metric].title} of {one.contender}"
        for one in run.measured
        if one.value is None
    ]


def _order(run: RunSummary) -> Tuple[str, str]:
    """By time. Two runs that are equal in it are one run and its copy."""
    return run.created, run.run_id


def _build_curves(runs: Sequence[RunSummary], metrics: Sequence[str]) -> List[Curve]:
    points: Dict[Tuple[str, str], List[Point]] = {}
    for run in runs:
        for one in run.measured:
            if one.value is None:
                continue
            points.setdefault((one.metric, one.contender), []).append(
                Point(
                    run_id=run.run_id,
                    created=run.created,
                    git_commit=run.git_commit,
                    commit=run.commit,
                    value=one.value,
                    low=one.low,
                    high=one.high,
                )
            )
    return [
        Curve(metric=metric, contender=name, points=found, changes=mark_changes(metric, found))
        for metric in metrics
        for (of, name), found in points.items()
        if of == metric
    ]


def find_worse(history: History) -> List[str]:
    """A sentence for each curve whose newest level, or verdict, is worse than the one before it.

    And for each value of the newest run that is not finite.
    """
    worse = []
    for number, series in enumerate(history.series, start=1):
        newest = f"not finite in {series.runs[-1]}"
        worse += [f"series {number}: {name} is {newest}" for name in series.not_finite]
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
