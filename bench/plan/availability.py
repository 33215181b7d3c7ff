"""Strategies that cannot be run here: known before anything is started, or told by a worker."""

from __future__ import annotations

from importlib import metadata
from typing import Dict, List, NamedTuple, Optional, Sequence

from ..config import Contender
from ..errors import InputError
from .strategies import find_word

# what a worker's InputError begins with where OneFlow has not what a strategy needs for this model
NOT_AVAILABLE = "not available: "

# the newest OneFlow that was seen to end all ranks at the first step of a graph with ZeRO, by
# device: "Check failed: separated_header_mem_ptr() == nullptr"; benchmarks/zero_probe.py tries it
_ZERO_ABORTS_UP_TO = {"cpu": (0, 9)}


class Availability(NamedTuple):
    """Contenders that can be run, and why the others cannot, by name."""

    contenders: List[Contender]
    unavailable: Dict[str, str]


def explain_zero(version: str, device: str) -> Optional[str]:
    """Why a graph with ZeRO would end the process with this OneFlow; None where it need not."""
    newest = _ZERO_ABORTS_UP_TO.get(device)
    number = tuple(int(part) for part in version.split(".")[:2])
    if newest is None or number > newest:
        return None
    return f"OneFlow {version} aborts the process of a graph with ZeRO on {device}"


def split_available(contenders: Sequence[Contender]) -> Availability:
    """Leave out what would end its process; raises InputError where nothing would be left.

    The first contender is the baseline, which cannot be left out. Another interpreter's OneFlow
    is left to its workers, which know its version.
    """
    found = {one.name: _explain(one) for one in contenders}
    reasons = {name: reason for name, reason in found.items() if reason is not None}
    left = [one for one in contenders if one.name not in reasons]
    if reasons and (contenders[0].name in reasons or len(left) < min(2, len(contenders))):
        name = next(iter(reasons))
        one = next(one for one in contenders if one.name == name)
        raise InputError(
            f"{find_word(one.mode, one.strategy)} is not available here: {reasons[name]}; "
            "use graph-dp"
        )
    return Availability(left, reasons)


def _explain(contender: Contender) -> Optional[str]:
    if contender.strategy != "zero" or contender.python is not None:
        return None
    try:
        version = metadata.version("oneflow")
    except metadata.PackageNotFoundError:  # the worker says that it is missing
        return None
    return explain_zero(version, contender.device)


def is_unavailable(contender: Contender, error: InputError) -> bool:
    """Whether a worker's error says that its strategy cannot be had, and nothing else is wrong."""
    return contender.strategy is not None and str(error).startswith(NOT_AVAILABLE)
