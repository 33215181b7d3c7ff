"""Merges the answers of all ranks into one answer, of the shape that a single process gives.

A group is as slow as its slowest rank, because the others wait for it. The ranks use resources
together, so these are summed. The loss is that of the whole batch. Under DDP it is the mean of the
ranks' losses, which are means over equal shares. With global tensors each rank knows it already.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence

from ..errors import WorkerError
from ..training.identity import join_digests
from .placement import are_disjoint

Answer = Dict[str, Any]
Rule = Callable[[List[Any]], Any]  # of the ranks' values of a field
OWN_LOSSES = "ddp"  # the strategy in which a rank knows only the loss of its own share
EQUAL = ("initial_digest", "teacher_digest", "first_step")  # of ranks that begin to train


def _sum(values: List[Any]) -> Any:
    """None if a rank could not read its value."""
    return None if None in values else sum(values)


def _mean(values: Sequence[Optional[float]]) -> Optional[float]:
    """In float64; None if a rank's value is not finite."""
    known: List[float] = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _join(digests: List[Any]) -> Optional[str]:
    return None if None in digests else join_digests(digests)


_START: Dict[str, Rule] = dict.fromkeys(
    ("import_s", "build_s", "compile_train_s", "compile_eval_s"), max
)
_STEPS: Dict[str, Rule] = {"duration_s": max, "cpu_s": _sum}
_COUNTERS: Dict[str, Rule] = dict.fromkeys(
    (
        "minor_faults",
        "major_faults",
        "voluntary_switches",
        "involuntary_switches",
        "instructions",
    ),
    _sum,
)
# the fields of each call that are merged; the others, such as energy, are those of rank 0
_RULES: Dict[str, Dict[str, Rule]] = {
    "setup": _START,
    "prepare": _START,
    "compile": _START,
    "train": {**_STEPS, "labels_digest": _join, "images_digest": _join},
    "measure": {**_STEPS, **_COUNTERS},
    "eval": {"duration_s": max, "correct": _sum, "samples": sum},
    "save": {},
    "probe": {"sync_s": max, "loader_step_time_s": max, "peak_rss_bytes": _sum},
    "end": {"peak_rss_bytes": sum},
}


def merge_answers(
    call: str,
    answers: Sequence[Answer],
    strategy: Optional[str] = None,
    cores: Sequence[Sequence[int]] = (),
    nodes: int = 1,
) -> Answer:
    """The answer of a group to `call`.

    `answers` and `cores` are ordered by rank. Each of the `nodes` has the same number of ranks.
    Raises WorkerError if the ranks contradict each other.
    """
    if call not in _RULES:
        raise WorkerError(f"the call {call} cannot be asked of a group of ranks")
    merged = dict(answers[0])
    for name, rule in _RULES[call].items():
        if name in merged:
            merged[name] = rule([answer[name] for answer in answers])
    if _RULES[call] is _START:
        for name in EQUAL:
            _check_equal(answers, name)
    if call in ("prepare", "setup"):
        merged["rank_cores"] = [list(part) for part in cores]
    elif call == "measure" and _have_own_cores(cores, nodes) and "machine_busy_s" in merged:
        merged["machine_busy_s"] = _sum([answer["machine_busy_s"] for answer in answers])
    return {**merged, **_list_more(call, answers, strategy)}


def _list_more(call: str, answers: Sequence[Answer], strategy: Optional[str]) -> Answer:
    """Fields that follow from more than the ranks' values of the same field."""
    more: Answer = {}
    if call in ("train", "measure"):
        more["rank_durations_s"] = [answer["duration_s"] for answer in answers]
    elif call == "eval":
        more["loss"] = _weigh_losses(answers)
    elif call == "end":
        more["rank_peak_rss_bytes"] = [answer["peak_rss_bytes"] for answer in answers]
    if call == "train" and strategy == OWN_LOSSES:
        more["losses"] = [_mean(step) for step in zip(*(answer["losses"] for answer in answers))]
    return more


def _check_equal(answers: Sequence[Answer], name: str) -> None:
    """Raise WorkerError if a rank begins with another value than rank 0."""
    values = [answer.get(name) for answer in answers]
    for rank, value in enumerate(values):
        if value != values[0]:
            raise WorkerError(
                f"rank {rank} begins with another {name} ({value}) than rank 0 ({values[0]}), so "
                "the ranks would not train one model; give them the same weights and seed"
            )


def _weigh_losses(answers: Sequence[Answer]) -> Optional[float]:
    """The mean loss over all samples; None if a rank's loss is not finite."""
    if any(answer["loss"] is None for answer in answers):
        return None
    total: float = sum(answer["loss"] * answer["samples"] for answer in answers)
    samples: int = sum(answer["samples"] for answer in answers)
    return total / samples


def _have_own_cores(cores: Sequence[Sequence[int]], nodes: int) -> bool:
    """True if no two ranks of a machine share a core, so that each reads how busy its own were."""
    each = len(cores) // nodes
    return all(are_disjoint(cores[n * each : (n + 1) * each]) for n in range(nodes))
