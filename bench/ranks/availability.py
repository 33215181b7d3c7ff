"""Strategies that cannot be run here: known before anything is started, or told by a worker."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Sequence

from oneflow_bench.config import Contender
from oneflow_bench.errors import InputError
from oneflow_bench.ranks.words import find_word

# what a worker's InputError begins with where OneFlow has not what a strategy needs for this model
NOT_AVAILABLE = "not available: "

# strategy -> why; several ranks run on CPUs only
_ABORTING = {"zero": "OneFlow 0.9.0 aborts the process of a graph with ZeRO on a CPU"}


class Availability(NamedTuple):
    """Contenders that can be run, and why the others cannot, by name."""

    contenders: List[Contender]
    unavailable: Dict[str, str]


def split_available(contenders: Sequence[Contender]) -> Availability:
    """Leave out what would end its process; raises InputError where nothing would be left.

    The first contender is the baseline, which cannot be left out.
    """
    reasons = {one.name: _ABORTING[one.strategy] for one in contenders if one.strategy in _ABORTING}
    left = [one for one in contenders if one.name not in reasons]
    if reasons and (contenders[0].name in reasons or len(left) < min(2, len(contenders))):
        name = next(iter(reasons))
        one = next(one for one in contenders if one.name == name)
        raise InputError(
            f"{find_word(one.mode, one.strategy)} is not available here: {reasons[name]}; "
            "use graph-dp"
        )
    return Availability(left, reasons)


def is_unavailable(contender: Contender, error: InputError) -> bool:
    """Whether a worker's error says that its strategy cannot be had, and nothing else is wrong."""
    return contender.strategy is not None and str(error).startswith(NOT_AVAILABLE)
