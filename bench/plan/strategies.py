"""How a strategy of several ranks is typed: one word that says the mode and how they share."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Sequence

from ..config import STRATEGIES, Contender
from ..errors import InputError


class Strategy(NamedTuple):
    """What a word stands for."""

    mode: str
    strategy: str


def _spell(mode: str, strategy: str) -> str:
    return strategy if strategy == "ddp" else f"{mode}-{strategy}"


WORDS: Dict[str, Strategy] = {
    _spell(mode, strategy): Strategy(mode, strategy)
    for mode, strategies in STRATEGIES.items()
    for strategy in strategies
}


def find_word(mode: str, strategy: Optional[str]) -> str:
    """The word of a strategy; of one process its mode."""
    return mode if strategy is None else _spell(mode, strategy)


def count_ranks(contenders: Sequence[Contender]) -> int:
    """The number that all contenders of several ranks have; 1 where there are none.

    Raises InputError for two numbers: a run's readers give one global batch to all its contenders.
    """
    numbers: List[int] = sorted({one.ranks for one in contenders if one.ranks > 1})
    if len(numbers) > 1:
        given = " and ".join(f"{number}" for number in numbers)
        raise InputError(
            f"contenders of {given} ranks were given and a run has one number, as its batches are "
            "read for that many; run bench compare once for each"
        )
    return numbers[0] if numbers else 1
