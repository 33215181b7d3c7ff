"""Where OneFlow's ZeRO can be used. `benchmarks/zero_probe.py` finds it out anew."""

from __future__ import annotations

from oneflow_bench.strategies.sharing import Sharing, refuse

# the newest OneFlow that was seen to end all ranks there, at its first step:
# "Check failed: separated_header_mem_ptr() == nullptr" (register.cpp)
_ABORTS_UP_TO = {"cpu": (0, 9)}


def aborts(version: str, device: str) -> bool:
    """Whether this OneFlow is known to end the process when a graph with ZeRO runs there."""
    newest = _ABORTS_UP_TO.get(device)
    number = tuple(int(part) for part in version.split(".")[:2])
    return newest is not None and number <= newest


def check_zero(sharing: Sharing, version: str, device: str) -> None:
    """Raise InputError where a graph with ZeRO would end the process."""
    if aborts(version, device):
        raise refuse(
            sharing,
            f"OneFlow {version} ends the process when a graph with ZeRO runs on {device}; "
            "use graph-dp",
        )
