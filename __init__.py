"""Is a OneFlow model's compiled graph faithful to eager mode, and is it worth it?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from .bench.cli.api import check, compare, load_run
    from .bench.parity.own.assertion import ParityError, assert_parity
    from .bench.parity.own.loop import Loop, assert_loop_parity
    from .bench.training_step import TrainingStep

__all__ = [
    "Loop",
    "ParityError",
    "TrainingStep",
    "__version__",
    "assert_loop_parity",
    "assert_parity",
    "check",
    "compare",
    "load_run",
]

_OWN = ".bench.parity.own"
_MODULES = {
    "assert_parity": f"{_OWN}.assertion",
    "ParityError": f"{_OWN}.assertion",
    "assert_loop_parity": f"{_OWN}.loop",
    "Loop": f"{_OWN}.loop",
    "TrainingStep": ".bench.training_step",
    **dict.fromkeys(("check", "compare", "load_run"), ".bench.cli.api"),
}


def __getattr__(name: str) -> Any:
    # OneFlow is imported only when a function that needs it is asked for.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
