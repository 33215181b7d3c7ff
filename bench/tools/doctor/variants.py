"""What a change of the environment is worth, from rounds of turns; pure."""

from __future__ import annotations

from statistics import median
from typing import List, NamedTuple, Optional, Sequence

from . import thresholds
from .readings import CONTROL, Round


class Gain(NamedTuple):
    """Step time of the environment examined over that of a variant: above 1, the variant wins."""

    factor: float  # median over rounds
    lowest: float
    highest: float
    rounds: int
    material: bool  # large enough, sure enough, and beyond what the control differs

    @property
    def unsure(self) -> bool:
        """Large enough to matter, and not sure enough to be told."""
        return self.factor > thresholds.MATERIAL_FACTOR and not self.material

    def describe(self) -> str:
        return f"{self.factor:.2f} ({self.lowest:.2f} to {self.highest:.2f})"


def summarize_gain(rounds: Sequence[Round], variant: str) -> Optional[Gain]:
    """The gain of a variant; None where it had too few turns to tell."""
    ratios = list_ratios(rounds, variant)
    if len(ratios) < thresholds.LEAST_ROUNDS:
        return None
    control = list_ratios(rounds, CONTROL)
    deviation = abs(median(control) - 1) if control else 0.0
    factor = median(ratios)
    least = max(thresholds.MATERIAL_FACTOR, 1 + thresholds.CONTROL_MULTIPLE * deviation)
    return Gain(
        factor=factor,
        lowest=min(ratios),
        highest=max(ratios),
        rounds=len(ratios),
        material=bool(control) and min(ratios) > 1 and factor > least,
    )


def list_ratios(rounds: Sequence[Round], variant: str) -> List[float]:
    """Step time examined over step time of the variant, a value a round."""
    return [
        round_.examined.step_s / round_.variants[variant].step_s
        for round_ in rounds
        if variant in round_.variants
    ]
