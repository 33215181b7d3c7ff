"""Registers the strategies: the modes that several ranks execute together.

The first of a mode is taken where a contender says how many ranks and not how they share the work.
"""

from __future__ import annotations

from ..plan.modes import ModeSpec, find_mode, register_mode, spell_strategy

_CLASSES = {
    ("eager", "ddp"): "strategy_eager:DistributedEager",
    ("eager", "global"): "strategy_eager:GlobalEager",
    ("graph", "dp"): "strategy_graph:SharedGraph",
    ("graph", "tp"): "strategy_graph:TensorParallelGraph",
    ("graph", "pp"): "strategy_graph:PipelineGraph",
    ("graph", "zero"): "strategy_graph:ZeroGraph",
}


def register_strategies() -> None:
    for (mode, strategy), name in _CLASSES.items():
        register_mode(
            ModeSpec(
                spell_strategy(mode, strategy),
                f"{__package__}.{name}",
                is_compiled=find_mode(mode).is_compiled,
                strategy=strategy,
                shared_mode=mode,
            )
        )
