"""Is a OneFlow model's compiled graph faithful to eager mode, and is it worth it?"""

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from .bench.parity.assertion import assert_parity

__all__ = ["__version__", "assert_parity"]


def __getattr__(name: str) -> Any:
    # OneFlow is imported only when a function that needs it is asked for.
    if name == "assert_parity":
        from .bench.parity.assertion import assert_parity

        return assert_parity
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
