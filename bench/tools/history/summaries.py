"""What a history needs of a run, and the memory of it.

Reading a run and judging its speed takes milliseconds, and a history reads every run each time. So
the cache folder keeps a summary of each run. Its name is a digest of all documents and samples in
the run's folder: a run of which a byte was changed is read again, in full and with all checks. The
summaries of another version of the suite are not used, since its rules may differ.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Union

from pydantic import BaseModel, ConfigDict

from ...errors import RecordError
from ...plan.modes import load_run
from ...record.checksum import format_document
from ...record.run import RunRecord, find_cache_folder, load_document, write_atomically
from ...report.comparison import compare_contenders, summarize_contender
from ...report.run_key import Key, create_series_key
from ...verdict.summary import judge_record_speed

Value = Union[float, str]
Progress = Callable[[int, int], None]
_SUITE = Path(__file__).resolve().parents[2]  # the folder bench, with all rules
_FILE_NAME = "history.json"
_CHUNK = 25  # runs that a process reads for one request


class Measured(BaseModel):
    """A run's value; `low` and `high` are the bounds of its 95 % interval within the run."""

    metric: str
    contender: str
    value: Optional[Value]  # None where not finite
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


Result = Union[RunSummary, RecordError]


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
        self._new: Dict[str, RunSummary] = {}
        folder = find_cache_folder()
        self._path = folder and folder / _FILE_NAME
        if self._path:
            try:
                self._known = load_document(
                    self._path, _Stored, [suite], "memory of runs", "", version_key="suite"
                )
            except RecordError:
                pass  # none yet, damaged, or of another version

    def read(self, folders: Sequence[Path], on_progress: Progress) -> List[Result]:
        """The summaries of run folders in their order; an error for one that cannot be read.

        `on_progress` is told how many are done, and of how many.
        """
        digests = [_digest_run(folder) for folder in folders]
        known = self._known.runs
        new = [place for place, digest in enumerate(digests) if digest not in known]
        there = len(folders) - len(new)
        summaries = _summarize_all(
            [folders[place] for place in new], lambda done: on_progress(there + done, len(folders))
        )
        read = dict(zip(new, summaries))
        for place, summary in read.items():
            if digests[place] and isinstance(summary, RunSummary) and summary.status != "running":
                self._new[digests[place]] = summary
        return [read[i] if i in read else known[digest] for i, digest in enumerate(digests)]

    def save(self) -> None:
        """Keep what was read. Where that fails, the next history reads the runs again."""
        if self._path and self._new:
            self._known.runs.update(self._new)
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self._path, format_document(self._known))
            except OSError:
                pass


def _summarize_all(folders: Sequence[Path], on_done: Callable[[int], None]) -> List[Result]:
    """The summaries in the order of the folders. Many are read in a process for each core."""
    summaries: List[Result] = []
    cores = len(os.sched_getaffinity(0))
    if cores > 1 and len(folders) > cores * _CHUNK:
        from ....data.processes import end_with_parent  # all of `data` takes long to import

        fork = multiprocessing.get_context("fork")  # the controller has no threads
        try:
            with ProcessPoolExecutor(cores, fork, end_with_parent, (os.getpid(),)) as pool:
                chunks = range(0, len(folders), _CHUNK)
                pending = [pool.submit(_summarize, folders[i : i + _CHUNK]) for i in chunks]
                try:
                    for one in pending:
                        summaries += one.result()
                        on_done(len(summaries))
                finally:
                    for one in pending:
                        one.cancel()
        except BrokenProcessPool:
            pass  # one was killed, and this process reads the rest
    for place in range(len(summaries), len(folders)):
        summaries += _summarize(folders[place : place + 1])
        on_done(len(summaries))
    return summaries


def _summarize(folders: Sequence[Path]) -> List[Result]:
    summaries: List[Result] = []
    for folder in folders:
        try:
            summaries.append(summarize_run(load_run(folder)))
        except RecordError as error:
            summaries.append(error)
    return summaries


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

    def mark(
        metric: str, name: str, value: Optional[Value], *interval: Optional[float]
    ) -> Measured:
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
        for accuracy in summary.accuracy[-1:]:
            yield mark("accuracy", name, accuracy)
    for name, comparison in zip(others, comparisons):
        judged = judge_record_speed(record, first, name)
        speedup = judged.speedup if judged else comparison.speedup
        if speedup is not None:
            yield mark("speedup", name, speedup.ratio, speedup.low, speedup.high)
        yield mark("parity", name, comparison.parity)


def _digest_run(folder: Path) -> str:
    """A digest of the documents and samples of a run, without what lies in its folders.

    It is empty where one cannot be read. The reader of the run says why.
    """
    try:
        return _digest(path for path in folder.glob("*.json*") if path.is_file())
    except OSError:
        return ""


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
