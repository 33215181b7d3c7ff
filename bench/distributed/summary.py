"""The speed, memory and communication of several ranks, computed from a record alone."""

from __future__ import annotations

from typing import List, Optional, Sequence

from pydantic import BaseModel, ConfigDict

from ..config import Contender, workload_of
from ..plan.modes import spell_strategy
from ..record.events import (
    BlockEvent,
    EndEvent,
    SetupEvent,
    SpeedBlockEvent,
    SpeedEndEvent,
    SpeedSetupEvent,
)
from ..record.run import RunRecord
from ..verdict.statistics import Ratio, summarize
from .communication import Communication, derive_communication


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class RankSpread(_Part):
    """The ratio of the slowest rank's time to the fastest's, over blocks of steps."""

    blocks: int
    median: float
    worst: float
    slowest_rank: int  # that was the slowest most often
    slowest_share: float  # of the blocks


class RanksSummary(_Part):
    """A contender of several ranks, beside one process. Seconds and bytes.

    speedup is images a second over the baseline's. efficiency is speedup over ranks; it is None if
    the baseline has several ranks itself.
    """

    strategy: str  # its name, such as graph-dp
    ranks: int
    accumulation_steps: int
    weak: bool  # the baseline takes the batch of one rank
    baseline_mode: str
    batch_size: int  # of all ranks together
    baseline_batch_size: int
    step_time_s: Optional[float]
    baseline_step_time_s: Optional[float]
    speedup: Optional[Ratio]
    efficiency: Optional[Ratio]
    communication: Communication
    rank_peak_rss_bytes: Optional[List[int]]
    rank_cores: Optional[List[List[int]]]
    spread: Optional[RankSpread]


def summarize_ranks(
    record: RunRecord, baseline: str, contender: str, ratio: Optional[Ratio]
) -> Optional[RanksSummary]:
    """The summary of a contender of several ranks; None for one of a single process.

    `ratio` is that of the step times, baseline over contender.
    """
    sides = {one.name: one for one in record.document.contenders}
    left, right = sides[baseline], sides[contender]
    if right.ranks == 1:
        return None
    workload = record.document.workload
    ours, theirs = (workload_of(workload, side).batch_size for side in (left, right))
    speedup = _scale(ratio, theirs / ours)
    return RanksSummary(
        strategy=spell_strategy(right.mode, right.strategy),
        ranks=right.ranks,
        accumulation_steps=right.accumulation_steps or workload.accumulation_steps,
        weak=ours != theirs,
        baseline_mode=left.mode,
        batch_size=theirs,
        baseline_batch_size=ours,
        step_time_s=_find_step_time(record, contender),
        baseline_step_time_s=_find_step_time(record, baseline),
        speedup=speedup,
        efficiency=_scale(speedup, 1 / right.ranks) if left.ranks == 1 else None,
        communication=derive_communication(_with_accumulation(right, record), _count(record)),
        rank_peak_rss_bytes=_find_peaks(record, contender),
        rank_cores=_find_cores(record, contender),
        spread=measure_spread(_list_rank_durations(record, contender)),
    )


def _with_accumulation(contender: Contender, record: RunRecord) -> Contender:
    steps = contender.accumulation_steps or record.document.workload.accumulation_steps
    return contender.model_copy(update={"accumulation_steps": steps})


def _scale(ratio: Optional[Ratio], factor: float) -> Optional[Ratio]:
    if ratio is None:
        return None
    low, high = (None if end is None else end * factor for end in (ratio.low, ratio.high))
    update = {"ratio": ratio.ratio * factor, "low": low, "high": high}
    return ratio.model_copy(update=update)


def _find_step_time(record: RunRecord, name: str) -> Optional[float]:
    """The median of the speed phase, or of the training for a run without one."""
    scored = [
        block.step_time_s
        for block in record.of_kind(SpeedBlockEvent, name)
        if block.kind == "scored" and block.role != "control"
    ]
    blocks = [b for b in record.of_kind(BlockEvent, name) if b.kind == "steady"]
    times = scored or [block.duration_s / block.steps for block in blocks]
    return summarize(times).median if times else None


def _count(record: RunRecord) -> Optional[int]:
    """Parameters of the baseline's model: a rank may hold only a part of them."""
    name = record.document.contenders[0].name
    events = [*record.of_kind(SetupEvent, name), *record.of_kind(SpeedSetupEvent, name)]
    counts = [event.num_params for event in events if event.num_params is not None]
    return counts[0] if counts else None


def _find_peaks(record: RunRecord, name: str) -> Optional[List[int]]:
    """The peak of each rank in the training, or the largest in a speed phase alone."""
    for kind in (EndEvent, SpeedEndEvent):
        ends = record.of_kind(kind, name)
        peaks = [end.rank_peak_rss_bytes for end in ends if end.rank_peak_rss_bytes]
        if peaks:
            return [max(of_rank) for of_rank in zip(*peaks)]
    return None


def _find_cores(record: RunRecord, name: str) -> Optional[List[List[int]]]:
    events = [*record.of_kind(SetupEvent, name), *record.of_kind(SpeedSetupEvent, name)]
    known: List[List[List[int]]] = [event.rank_cores for event in events if event.rank_cores]
    return known[0] if known else None


def _list_rank_durations(record: RunRecord, name: str) -> List[List[float]]:
    """The ranks' times of each settled block, of the training and of the speed phase."""
    blocks = [b for b in record.of_kind(BlockEvent, name) if b.kind == "steady"]
    blocks += [b for b in record.of_kind(SpeedBlockEvent, name) if b.kind == "scored"]
    return [block.rank_durations_s for block in blocks if block.rank_durations_s]


def measure_spread(durations_s: Sequence[Sequence[float]]) -> Optional[RankSpread]:
    """From the ranks' times of each block; None without blocks."""
    if not durations_s:
        return None
    ratios = [max(block) / min(block) for block in durations_s]
    slowest = [max(range(len(block)), key=block.__getitem__) for block in durations_s]
    often = max(sorted(set(slowest)), key=slowest.count)
    return RankSpread(
        blocks=len(ratios),
        median=summarize(ratios).median,
        worst=max(ratios),
        slowest_rank=often,
        slowest_share=slowest.count(often) / len(slowest),
    )
