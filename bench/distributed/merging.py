"""One answer of a group out of its ranks' answers, of the shape that a single process gives.

A group is as slow as its slowest rank: the others wait for it. What was used is used by all
together. The loss is that of the whole batch: under DDP the mean of the ranks' losses, which are
means over equal shares; with global tensors each rank knows it already.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence

from ..errors import WorkerError
from ..training.identity import join_digests
from .placement import are_disjoint

Answer = Dict[str, Any]
OWN_LOSSES = "ddp"  # the strategy in which a rank knows only the loss of its own share
TIMES = ("import_s", "build_s", "compile_train_s", "compile_eval_s")
SUMMED_COUNTERS = (
    "minor_faults",
    "major_faults",
    "voluntary_switches",
    "involuntary_switches",
    "instructions",
)


def merge_answers(
    call: str,
    answers: Sequence[Answer],
    strategy: Optional[str] = None,
    cores: Sequence[Sequence[int]] = (),
    nodes: int = 1,
) -> Answer:
    """The group's answer to `call`; `answers` and `cores` by rank, as many on each of `nodes`.

    Raises WorkerError where the ranks contradict each other.
    """
    if call in _OF_STEPS:
        each = len(cores) // nodes
        disjoint = all(are_disjoint(cores[n * each : (n + 1) * each]) for n in range(nodes))
        return _OF_STEPS[call](answers, strategy, disjoint)
    merge = _OF_CALL.get(call)
    if merge is None:
        raise WorkerError(f"the call {call} cannot be asked of a group of ranks")
    merged = merge(answers)
    if call in ("prepare", "setup"):
        merged["rank_cores"] = [list(part) for part in cores]
    return merged


def _merge_start(answers: Sequence[Answer]) -> Answer:
    """Of `prepare`, `compile` and both together, `setup`."""
    merged = dict(answers[0])
    for name in TIMES:
        if name in merged:
            merged[name] = _slowest(answers, name)
    for name in ("initial_digest", "teacher_digest", "first_step"):
        _check_equal(answers, name)
    return merged


def _check_equal(answers: Sequence[Answer], name: str) -> None:
    """Raise WorkerError where a rank begins from something else than rank 0."""
    values = [answer.get(name) for answer in answers]
    for rank, value in enumerate(values):
        if value != values[0]:
            raise WorkerError(
                f"rank {rank} begins with another {name} ({value}) than rank 0 ({values[0]}), so "
                "the ranks would not train one model; give them the same weights and seed"
            )


def _merge_train(answers: Sequence[Answer], strategy: Optional[str], disjoint: bool) -> Answer:
    merged = {
        **answers[0],
        **_merge_times(answers),
        "labels_digest": _join(answers, "labels_digest"),
        "images_digest": _join(answers, "images_digest"),
    }
    if strategy == OWN_LOSSES:
        by_step = zip(*(answer["losses"] for answer in answers))
        merged["losses"] = [_mean(losses) for losses in by_step]
    return merged


def _merge_measure(answers: Sequence[Answer], strategy: Optional[str], disjoint: bool) -> Answer:
    """Each rank reads how busy its own cores were, which no other has where they are `disjoint`.

    Energy cannot be divided and is rank 0's.
    """
    merged = {**answers[0], **_merge_times(answers)}
    summed = SUMMED_COUNTERS + (("machine_busy_s",) if disjoint else ())
    for name in summed:
        if name in merged:
            merged[name] = _sum(answers, name)
    return merged


def _merge_times(answers: Sequence[Answer]) -> Answer:
    return {
        "duration_s": _slowest(answers, "duration_s"),
        "cpu_s": _sum(answers, "cpu_s"),
        "rank_durations_s": [answer["duration_s"] for answer in answers],
    }


def _merge_eval(answers: Sequence[Answer]) -> Answer:
    losses = [answer["loss"] for answer in answers]
    samples = [answer["samples"] for answer in answers]
    weighted: Optional[float] = None
    if None not in losses:
        weighted = sum(loss * count for loss, count in zip(losses, samples)) / sum(samples)
    return {
        **answers[0],
        "duration_s": _slowest(answers, "duration_s"),
        "correct": _sum(answers, "correct"),
        "samples": sum(samples),
        "loss": weighted,
    }


def _merge_probe(answers: Sequence[Answer]) -> Answer:
    merged = dict(answers[0])
    for name in ("sync_s", "loader_step_time_s"):
        merged[name] = _slowest(answers, name)
    merged["peak_rss_bytes"] = _sum(answers, "peak_rss_bytes")
    return merged


def _merge_end(answers: Sequence[Answer]) -> Answer:
    peaks = [answer["peak_rss_bytes"] for answer in answers]
    return {**answers[0], "peak_rss_bytes": sum(peaks), "rank_peak_rss_bytes": peaks}


def _take_rank_0(answers: Sequence[Answer]) -> Answer:
    return dict(answers[0])


def _slowest(answers: Sequence[Answer], name: str) -> Any:
    return max(answer[name] for answer in answers)


def _sum(answers: Sequence[Answer], name: str) -> Any:
    """None where a rank could not read it."""
    values = [answer[name] for answer in answers]
    return None if None in values else sum(values)


def _mean(values: Sequence[Optional[float]]) -> Optional[float]:
    """In float64; None where a rank's is not finite."""
    known: List[float] = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _join(answers: Sequence[Answer], name: str) -> Optional[str]:
    digests = [answer[name] for answer in answers]
    return None if None in digests else join_digests(digests)


_OF_STEPS: Dict[str, Callable[..., Answer]] = {"train": _merge_train, "measure": _merge_measure}
_OF_CALL: Dict[str, Callable[[Sequence[Answer]], Answer]] = {
    "setup": _merge_start,
    "prepare": _merge_start,
    "compile": _merge_start,
    "eval": _merge_eval,
    "save": _take_rank_0,
    "probe": _merge_probe,
    "end": _merge_end,
}
