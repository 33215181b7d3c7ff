"""PyTorch as a witness: losses of the same steps from the same weights, beside OneFlow's."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from .document import Witness
from .steps import ONEFLOW, Fleet, Participant

WITNESS_BATCHES = 8  # the synthetic feed's whole cycle


class WitnessResult:
    """Losses of all, what PyTorch starts from, and the dropout layers that were switched off."""

    def __init__(self, start: Dict[str, Any], dropout_layers: int) -> None:
        self.start, self.dropout_layers = start, dropout_layers
        self.losses: List[Witness] = []


def run_witness(fleet: Fleet, steps: int, weights: str, inputs: str) -> WitnessResult:
    """The same steps from the same weights by OneFlow eager, its other mode, and PyTorch.

    OneFlow's eager process writes its weights and batches to the two files. Nobody has dropout, all
    have float32; OneFlow's eager mode comes in float64 too, to show what rounding alone does.
    """
    eager = next((c for c in fleet.contenders if c.mode == "eager"), None)
    first = eager or fleet.contenders[0].model_copy(update={"name": "eager", "mode": "eager"})
    reference = fleet.start_oneflow(first, "witness")
    try:
        layers = reference.ask("disable_dropout")["layers"]
        exported = reference.ask("export", weights=weights, inputs=inputs, batches=WITNESS_BATCHES)
        start = {"weights": weights, "inputs": inputs, "aux_weights": exported["aux_weights"]}
        result = WitnessResult(start, layers)
        result.losses.append(_train(reference, steps, None))
    finally:
        reference.close()
    wide = first.model_copy(update={"name": "eager float64", "dtype": "float64"})
    for contender in [wide, *(c for c in fleet.contenders if c.mode != "eager")]:
        participant = fleet.start_oneflow(contender, "witness")
        result.losses.append(_follow(participant, steps, result.losses[0]))
    for mode in ("eager", "compiled"):
        participant = fleet.start_torch(mode, "witness", start)
        result.losses.append(_follow(participant, steps, result.losses[0]))
    return result


def _follow(participant: Participant, steps: int, reference: Witness) -> Witness:
    try:
        if participant.library == ONEFLOW:
            participant.ask("disable_dropout")
        return _train(participant, steps, reference)
    finally:
        participant.close()


def _train(participant: Participant, steps: int, reference: Optional[Witness]) -> Witness:
    participant.compile()
    losses = participant.ask("train", steps=steps).get("losses", [])
    participant.ask("end")
    return Witness(
        name=participant.name,
        losses=losses,
        max_relative_difference=(
            None if reference is None else largest_difference(reference.losses, losses)
        ),
        error=participant.error,
    )


def relative_differences(
    reference: Sequence[Optional[float]], losses: Sequence[Optional[float]]
) -> List[Optional[float]]:
    """|loss - reference| / |reference| step by step; None where one is not finite.

    None too where a reference of 0 is missed. Empty for unequal numbers of steps.
    """
    if len(losses) != len(reference):
        return []
    return [_relative_difference(expected, loss) for expected, loss in zip(reference, losses)]


def _relative_difference(expected: Optional[float], loss: Optional[float]) -> Optional[float]:
    if expected is None or loss is None:
        return None
    if loss == expected:
        return 0.0
    return abs(loss - expected) / abs(expected) if expected else None


def largest_difference(
    reference: Sequence[Optional[float]], losses: Sequence[Optional[float]]
) -> Optional[float]:
    """The largest of `relative_differences`; None where one of them is None or there is none."""
    found = [each for each in relative_differences(reference, losses) if each is not None]
    return max(found) if found and len(found) == len(losses) else None
