"""The speed, memory and communication of several ranks, computed from a record alone.

An all-reduce of S bytes over N ranks makes each rank send 2 (N - 1) / N S bytes. That is the least
that any algorithm needs, and a ring reaches it: Patarasuk and Yuan, Bandwidth optimal all-reduce
algorithms for clusters of workstations, J. Parallel Distrib. Comput. 69, 2009.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Union

from pydantic import BaseModel

from ..config import Contender
from ..plan.contenders import workload_of
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

BYTES_PER_PARAMETER = 4  # float32, which several ranks train in
_REDUCING = ("ddp", "global", "dp")  # all gradients are summed over the ranks once an update
_NOT_DERIVED = {
    "tp": "the sizes of the activations between the split layers are not in the record",
    "pp": "the sizes of the activations between the stages are not in the record",
    "zero": "it has not been run",
}


class Communication(BaseModel, frozen=True):
    """The bytes that each rank sends in a step; None, with the reason, if they do not follow."""

    sent_bytes: Optional[float]
    basis: str  # the formula, or the reason why there is none


class RankSpread(BaseModel, frozen=True):
    """The ratio of the slowest rank's time to the fastest's, over blocks of steps."""

    blocks: int
    median: float
    worst: float
    slowest_rank: int  # that was the slowest most often
    slowest_share: float  # of the blocks


class ReferenceErrors(BaseModel, frozen=True):
    """The largest relative errors of the losses against float64, over the first steps."""

    steps: int
    contender: float
    baseline: float
    allowed: float


class Expected(BaseModel, frozen=True):
    """A known difference that the model and the strategy have, and its size in this run."""

    id: str
    reason: str
    link: str
    size: float  # largest relative difference of the losses from the baseline's


class RanksSummary(BaseModel, frozen=True):
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
    errors: Optional[ReferenceErrors] = None  # None without a reference
    expected: Optional[Expected] = None  # the known difference behind a parity of "different"


def summarize_ranks(
    record: RunRecord, baseline: str, contender: str, ratio: Optional[Ratio]
) -> Optional[RanksSummary]:
    """The summary of a contender of several ranks; None for one of a single process.

    `ratio` is that of the step times, baseline over contender. Parity is not judged here.
    """
    sides = {one.name: one for one in record.document.contenders}
    left, right = sides[baseline], sides[contender]
    if right.ranks == 1:
        return None
    workload = record.document.workload
    ours, theirs = (workload_of(workload, side).batch_size for side in (left, right))
    speedup = _scale(ratio, theirs / ours)
    accumulation_steps = right.accumulation_steps or workload.accumulation_steps
    setups = _list_setups(record, contender)
    # of the first contender: a rank may hold only a part of the parameters
    counts = [e.num_params for e in _list_setups(record, next(iter(sides)))]
    num_params = next((count for count in counts if count is not None), None)
    steady = [b for b in record.of_kind(BlockEvent, contender) if b.kind == "steady"]
    scored = [b for b in record.of_kind(SpeedBlockEvent, contender) if b.kind == "scored"]
    durations_s = [block.rank_durations_s for block in (*steady, *scored)]
    return RanksSummary(
        strategy=spell_strategy(right.mode, right.strategy),
        ranks=right.ranks,
        accumulation_steps=accumulation_steps,
        weak=ours != theirs,
        baseline_mode=left.mode,
        batch_size=theirs,
        baseline_batch_size=ours,
        step_time_s=_find_step_time(record, contender),
        baseline_step_time_s=_find_step_time(record, baseline),
        speedup=speedup,
        efficiency=_scale(speedup, 1 / right.ranks) if left.ranks == 1 else None,
        communication=derive_communication(
            right.model_copy(update={"accumulation_steps": accumulation_steps}),
            num_params,
        ),
        rank_peak_rss_bytes=_find_peaks(record, contender),
        rank_cores=next((e.rank_cores for e in setups if e.rank_cores), None),
        spread=measure_spread([of_ranks for of_ranks in durations_s if of_ranks]),
    )


def sent_bytes(ranks: int, size_bytes: float) -> float:
    """Bytes that each rank sends in an all-reduce of `size_bytes`, in a ring and in a tree."""
    return 2 * (ranks - 1) / ranks * size_bytes


def derive_communication(contender: Contender, num_params: Optional[int]) -> Communication:
    """Bytes that each rank sends in an update, for strategies with one all-reduce of gradients.

    The gradients of all parameters count, as if none were frozen. DDP's broadcast of buffers, the
    losses and padding do not count.
    """
    strategy = contender.strategy or ""
    if strategy not in _REDUCING:
        return Communication(sent_bytes=None, basis=_NOT_DERIVED[strategy])
    if num_params is None:
        return Communication(sent_bytes=None, basis="the record does not hold the parameters")
    if contender.mode == "eager" and (contender.accumulation_steps or 1) > 1:
        why = "whether eager ranks reduce after each part of a batch is not in the record"
        return Communication(sent_bytes=None, basis=why)
    size_bytes = BYTES_PER_PARAMETER * num_params
    return Communication(
        sent_bytes=sent_bytes(contender.ranks, size_bytes),
        basis=f"2 (N - 1) / N x {size_bytes} bytes of gradients, an all-reduce in a ring",
    )


def _scale(ratio: Optional[Ratio], factor: float) -> Optional[Ratio]:
    if ratio is None:
        return None
    ends = {"ratio": ratio.ratio, "low": ratio.low, "high": ratio.high}
    update = {name: None if end is None else end * factor for name, end in ends.items()}
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


def _list_setups(record: RunRecord, name: str) -> List[Union[SetupEvent, SpeedSetupEvent]]:
    return [*record.of_kind(SetupEvent, name), *record.of_kind(SpeedSetupEvent, name)]


def _find_peaks(record: RunRecord, name: str) -> Optional[List[int]]:
    """The peak of each rank in the training, or the largest in a speed phase alone."""
    for kind in (EndEvent, SpeedEndEvent):
        ends = record.of_kind(kind, name)
        peaks = [end.rank_peak_rss_bytes for end in ends if end.rank_peak_rss_bytes]
        if peaks:
            return [max(of_rank) for of_rank in zip(*peaks)]
    return None


def measure_spread(durations_s: Sequence[Sequence[float]]) -> Optional[RankSpread]:
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
