"""What a history needs of a run, and the memory of it.

Reading a run and judging its speed takes milliseconds, and a history reads every run each time. So
the cache folder keeps a summary of each run. Its name is a digest of all documents and samples in
the run's folder: a run of which a byte was changed is read again, in full and with all checks. The
summaries of another version of the suite are not used, since its rules may differ.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Optional, Union

from pydantic import BaseModel, ConfigDict

from ...errors import RecordError
from ...plan.modes import load_run
from ...record.checksum import format_document
from ...record.run import RunRecord, find_cache_folder, load_document, write_atomically
from ...report.comparison import compare_contenders, summarize_contender
from ...report.run_key import Key, create_series_key
from ...verdict.summary import judge_record_speed

Value = Union[float, str]
_SUITE = Path(__file__).resolve().parents[2]  # the folder bench, with all rules
_FILE_NAME = "history.json"


class Measured(BaseModel):
    """A run's value; `low` and `high` are the bounds of its 95 % interval within the run."""

    metric: str
    contender: str
    value: Value
    low: Optional[float] = None
    high: Optional[float] = None


class RunSummary(BaseModel):
    """What a history needs of a run."""

    run_id: str
    created: str
    status: str
    key: Key
    data: str  # the name of their folder
    git_commit: Optional[str]  # of the suite
    commit: Optional[str]  # of the folder that the run was started in
    continues: Optional[str] = None  # the run whose samples it holds too
    measured: List[Measured]  # empty for a run that is not complete


class _Stored(BaseModel):
    """The file in the cache folder."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    suite: str  # a digest of its code
    runs: Dict[str, RunSummary] = {}  # by the digest of the run


class Summaries:
    """The summaries of runs, each read or remembered."""

    def __init__(self) -> None:
        suite = _digest(path for path in _SUITE.rglob("*") if path.suffix in (".py", ".json"))
        self._known = _Stored(suite=suite)
        self._is_new = False
        folder = find_cache_folder()
        self._path = folder and folder / _FILE_NAME
        if self._path:
            try:
                self._known = load_document(
                    self._path, _Stored, [suite], "memory of runs", "", version_key="suite"
                )
            except RecordError:
                pass  # none yet, damaged, or of another version

    def read(self, folder: Path) -> RunSummary:
        """The summary of a run folder. Raises RecordError as `load_run`."""
        try:
            digest = digest_run(folder)
        except OSError:
            return summarize_run(load_run(folder))  # which says what cannot be read
        if digest in self._known.runs:
            return self._known.runs[digest]
        summary = summarize_run(load_run(folder))
        if summary.status != "running":
            self._known.runs[digest] = summary
            self._is_new = True
        return summary

    def save(self) -> None:
        """Keep what was read. Where that fails, the next history reads the runs again."""
        if self._path and self._is_new:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self._path, format_document(self._known))
            except OSError:
                pass


def summarize_run(record: RunRecord) -> RunSummary:
    document, machine = record.document, record.document.environment_start
    return RunSummary(
        run_id=document.run_id,
        created=document.created,
        status=document.status,
        key=create_series_key(record),
        data=Path(document.workload.data).name,
        git_commit=machine.get("git_commit"),
        commit=(machine.get("project") or {}).get("commit"),
        continues=machine.get("continues"),
        measured=list(_measure(record)) if document.status == "complete" else [],
    )


def _measure(record: RunRecord) -> Iterator[Measured]:
    """The metrics that the record holds."""

    def mark(metric: str, name: str, value: Value, *interval: Optional[float]) -> Measured:
        bounds = dict(zip(("low", "high"), interval))
        return Measured(metric=metric, contender=name, value=value, **bounds)

    first, *others = record.racing_names()
    comparisons = [
        compare_contenders(record, first, record, name, with_speed=False) for name in others
    ]
    summaries = {side.name: side for one in comparisons for side in (one.baseline, one.contender)}
    for name in record.contender_names():
        summary = summaries.get(name) or summarize_contender(record, name)
        step = summary.train_step_time_s
        if step is not None:
            yield mark("train_step_time_s", name, step.median, step.low, step.high)
        if summary.compile_s:  # eager compiles nothing
            yield mark("compile_s", name, summary.compile_s)
        if summary.peak_rss_bytes is not None:
            yield mark("peak_rss_bytes", name, float(summary.peak_rss_bytes))
        if summary.accuracy:
            yield mark("accuracy", name, summary.accuracy[-1])
    for name, comparison in zip(others, comparisons):
        judged = judge_record_speed(record, first, name)
        speedup = judged.speedup if judged else comparison.speedup
        if speedup is not None:
            yield mark("speedup", name, speedup.ratio, speedup.low, speedup.high)
        yield mark("parity", name, comparison.parity)


def digest_run(folder: Path) -> str:
    """A digest of the documents and samples of a run, without what lies in its folders."""
    return _digest(path for path in folder.glob("*.json*") if path.is_file())


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
