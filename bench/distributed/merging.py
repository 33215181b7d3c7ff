"""Merges the answers of all ranks into one answer, of the shape that a single process gives.

A group is as slow as its slowest rank, because the others wait for it. The ranks use resources
together, so these are summed. The loss is that of the whole batch. Under DDP it is the mean of the
ranks' losses, which are means over equal shares. With global tensors each rank knows it already.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence

from ..errors import WorkerError
from ..training.identity import join_digests

Answer = Dict[str, Any]
Rule = Callable[[List[Any]], Any]  # of the ranks' values of a field
CALLS = ["setup", "prepare", "compile", "train", "measure", "eval", "save", "probe", "end"]
OWN_LOSSES = "ddp"  # the strategy in which a rank knows only the loss of its own share
EQUAL = ("initial_digest", "teacher_digest", "first_step")  # of ranks that train one model
SUMMED_COUNTERS = (
    "minor_faults",
    "major_faults",
    "voluntary_switches",
    "involuntary_switches",
    "instructions",
)


def _sum(values: List[Any]) -> Any:
    """None if a rank could not read its value."""
    return None if None in values else sum(values)


def _mean(values: Sequence[Any], weights: Sequence[int]) -> Optional[float]:
    """In float64; None if a rank's value is not finite."""
    if None in values:
        return None
    return float(sum(value * weight for value, weight in zip(values, weights)) / sum(weights))


def _join(digests: List[Any]) -> Optional[str]:
    return None if None in digests else join_digests(digests)


_SLOWEST = ("import_s", "build_s", "compile_train_s", "compile_eval_s", "duration_s", "sync_s")
# the fields that are merged; the others, such as energy, are those of rank 0
_RULES: Dict[str, Rule] = {
    **dict.fromkeys((*_SLOWEST, "loader_step_time_s"), max),
    **dict.fromkeys((*SUMMED_COUNTERS, "cpu_s", "correct", "samples", "peak_rss_bytes"), _sum),
    **dict.fromkeys(("labels_digest", "images_digest"), _join),
}


def merge_answers(
    call: str,
    answers: Sequence[Answer],
    strategy: Optional[str] = None,
    cores: Sequence[Sequence[int]] = (),
    hosts: Sequence[str] = (),
) -> Answer:
    """The answer of a group to `call`.

    `answers`, `cores` and `hosts` are ordered by rank; without `hosts` all are on one. Raises
    WorkerError if the ranks contradict each other.
    """
    if call not in CALLS:
        raise WorkerError(f"the call {call} cannot be asked of a group of ranks")
    for name in EQUAL:
        _check_equal(answers, name)
    merged = dict(answers[0])
    for name in [name for name in merged if name in _RULES]:
        merged[name] = _RULES[name]([answer[name] for answer in answers])
    if call in ("prepare", "setup"):
        merged["rank_cores"] = [list(part) for part in cores]
    elif call in ("train", "measure"):
        merged["rank_durations_s"] = [answer["duration_s"] for answer in answers]
    elif call == "eval":
        samples = [answer["samples"] for answer in answers]
        merged["loss"] = _mean([answer["loss"] for answer in answers], samples)
    elif call == "end":
        merged["rank_peak_rss_bytes"] = [answer["peak_rss_bytes"] for answer in answers]
    if call == "train" and strategy == OWN_LOSSES:
        steps = zip(*(answer["losses"] for answer in answers))
        merged["losses"] = [_mean(losses, [1] * len(losses)) for losses in steps]
    if "machine_busy_s" in merged and _have_own_cores(cores, hosts):
        merged["machine_busy_s"] = _sum([answer["machine_busy_s"] for answer in answers])
    return merged


def _check_equal(answers: Sequence[Answer], name: str) -> None:
    """Raise WorkerError if a rank has another value than rank 0."""
    values = [answer.get(name) for answer in answers]
    for rank, value in enumerate(values):
        if value != values[0]:
            raise WorkerError(
                f"rank {rank} begins with another {name} ({value}) than rank 0 ({values[0]}), so "
                "the ranks would not train one model; give them the same weights and seed"
            )


def _have_own_cores(cores: Sequence[Sequence[int]], hosts: Sequence[str]) -> bool:
    """True if no two ranks of a host share a core, so that each reads how busy its own were."""
    placed = zip(hosts or [""] * len(cores), cores)
    used = [(host, core) for host, own in placed for core in own]
    return len(set(used)) == len(used)
