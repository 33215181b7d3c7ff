"""Where two modes begin to differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from oneflow_bench.parity.result import LevelResult, ModelCheck, Origin

# mode, calls -> the answers of a fresh worker of that mode
AskAlone = Callable[[str, Sequence[Tuple[str, Dict[str, Any]]]], List[Any]]


def find_origin(check: ModelCheck, ask: AskAlone, folder: Path) -> Optional[Origin]:
    """The first tensor of the first level that differs."""
    first = first_level(check.levels)
    if first is None or first.first_different is None:
        return None
    found = first.first_different
    return Origin(level=first.level, name=found.name, kind=found.kind, shape=found.shape)


def first_level(levels: Sequence[LevelResult]) -> Optional[LevelResult]:
    return next((level for level in levels if level.verdict == "different"), None)
