"""Training in several processes: ranks, how they share the work, and several machines.

Importing this package registers its strategies as modes and its part of a report. No room below
knows of it, and the code of ranks is loaded when it is needed. A contender that gives a mode and a
number of ranks alone takes the first strategy of its mode.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from ..plan.modes import ModeSpec, find_mode, register_mode, spell_strategy
from ..report.comparison import EXTENSIONS, Extension

_CLASSES = {
    ("eager", "ddp"): "DistributedEager",
    ("eager", "global"): "GlobalEager",
    ("graph", "dp"): "SharedGraph",
    ("graph", "tp"): "TensorParallelGraph",
    ("graph", "pp"): "PipelineGraph",
    ("graph", "zero"): "ZeroGraph",
}


class _Report:
    """The functions of `report.py`, which is loaded when one is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(f"{__package__}.report"), name)


for (mode, strategy), name in _CLASSES.items():
    where, compiled = f"{__package__}.strategies:{name}", find_mode(mode).is_compiled
    spelled = spell_strategy(mode, strategy)
    register_mode(ModeSpec(spelled, where, compiled, strategy=strategy, shared_mode=mode))
EXTENSIONS.append(cast(Extension, _Report()))
