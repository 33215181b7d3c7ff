"""The speed, memory and communication of several ranks, computed from a record alone.

An all-reduce of S bytes over N ranks makes each rank send 2 (N - 1) / N S bytes. That is the least
that any algorithm needs, and a ring reaches it: Patarasuk and Yuan, Bandwidth optimal all-reduce
algorithms for clusters of workstations, J. Parallel Distrib. Comput. 69, 2009.
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence

from pydantic import BaseModel

from ..config import Contender
from ..plan.contenders import workload_of
from ..plan.modes import spell_strategy
from ..record.events import RecordEvent, Steps
from ..record.run import RunRecord
from ..report.comparison import Comparison
from ..verdict.statistics import Ratio, Summary, summarize

BYTES_PER_PARAMETER = 4  # float32, which several ranks train in
# other strategies sum all gradients over the ranks once an update
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


def summarize_ranks(record: RunRecord, comparison: Comparison) -> Optional[RanksSummary]:
    """The summary of a contender of several ranks; None for one of a single process.

    Times and their ratio are the comparison's. Parity is not judged here.
    """
    sides = {one.name: one for one in record.document.contenders}
    name = comparison.contender.name
    left, right = sides[comparison.baseline.name], sides[name]
    if right.ranks == 1:
        return None
    ours, theirs = (workload_of(record.document.workload, side) for side in (left, right))
    speedup = _scale(comparison.speedup, theirs.batch_size / ours.batch_size)
    # of the first contender: a rank may hold only a part of the parameters
    counts = list_values(record, next(iter(sides)), "num_params")
    cores = list_values(record, name, "rank_cores")
    events = record.of_kind(Steps, name)
    timed = [one for one in events if getattr(one, "kind", None) in ("steady", "scored")]
    peaks = list_values(record, name, "rank_peak_rss_bytes")
    sender = right.model_copy(update={"accumulation_steps": theirs.accumulation_steps})
    return RanksSummary(
        strategy=spell_strategy(right.mode, right.strategy),
        ranks=right.ranks,
        accumulation_steps=theirs.accumulation_steps,
        weak=ours.batch_size != theirs.batch_size,
        baseline_mode=left.mode,
        batch_size=theirs.batch_size,
        baseline_batch_size=ours.batch_size,
        step_time_s=_find_step_time(comparison, "contender"),
        baseline_step_time_s=_find_step_time(comparison, "baseline"),
        speedup=speedup,
        efficiency=_scale(speedup, 1 / right.ranks) if left.ranks == 1 else None,
        communication=derive_communication(sender, next(iter(counts), None)),
        rank_peak_rss_bytes=[max(of_rank) for of_rank in zip(*peaks)] or None,
        rank_cores=next(iter(cores), None),
        spread=measure_spread([one.rank_durations_s for one in timed if one.rank_durations_s]),
    )


def sent_bytes(ranks: int, size_bytes: float) -> float:
    """Bytes that each rank sends in an all-reduce of `size_bytes`, in a ring and in a tree."""
    return 2 * (ranks - 1) / ranks * size_bytes


def derive_communication(contender: Contender, num_params: Optional[int]) -> Communication:
    """Bytes that each rank sends in an update, for strategies with one all-reduce of gradients.

    The gradients of all parameters count, as if none were frozen. DDP's broadcast of buffers, the
    losses and padding do not count.
    """
    reason = _NOT_DERIVED.get(contender.strategy or "")
    if reason is None and num_params is None:
        reason = "the record does not hold the parameters"
    elif contender.mode == "eager" and (contender.accumulation_steps or 1) > 1:
        reason = "whether eager ranks reduce after each part of a batch is not in the record"
    if reason is not None or num_params is None:
        return Communication(sent_bytes=None, basis=str(reason))
    size_bytes = BYTES_PER_PARAMETER * num_params
    basis = f"2 (N - 1) / N x {size_bytes} bytes of gradients, an all-reduce in a ring"
    return Communication(sent_bytes=sent_bytes(contender.ranks, size_bytes), basis=basis)


def _scale(ratio: Optional[Ratio], factor: float) -> Optional[Ratio]:
    if ratio is None:
        return None
    ends = ratio.model_dump(include={"ratio", "low", "high"}, exclude_none=True)
    return ratio.model_copy(update={name: end * factor for name, end in ends.items()})


def list_values(record: RunRecord, name: str, field: str) -> List[Any]:
    """A field of a contender's events, of those that hold it."""
    found = (getattr(event, field, None) for event in record.of_kind(RecordEvent, name))
    return [value for value in found if value is not None]


def _find_step_time(comparison: Comparison, role: str) -> Optional[float]:
    """The median of the speed phase, or of the training for a run without one."""
    found: Optional[Summary] = getattr(comparison, role).train_step_time_s
    if comparison.speed is not None:
        found = comparison.speed.roles[role].step_time_s
    return found.median if found else None


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
