"""Bytes that each rank sends in a step, as far as they follow from the model and the strategy.

An all-reduce of S bytes over N ranks makes each rank send 2 (N - 1) / N S bytes. That is the least
that any algorithm needs, and a ring reaches it: Patarasuk and Yuan, Bandwidth optimal all-reduce
algorithms for clusters of workstations, J. Parallel Distrib. Comput. 69, 2009.
"""

from __future__ import annotations

from typing import Optional

from pydantic import BaseModel, ConfigDict

from ..config import Contender

BYTES_PER_PARAMETER = 4  # float32, which several ranks train in
_REDUCING = ("ddp", "global", "dp")  # all gradients are summed over the ranks once an update
_WHY_NOT = {
    "tp": "the sizes of the activations between the split layers are not in the record",
    "pp": "the sizes of the activations between the stages are not in the record",
    "zero": "it has not been run",
}


def sent_bytes(ranks: int, size_bytes: float) -> float:
    """Bytes that each rank sends in an all-reduce of `size_bytes`, in a ring and in a tree."""
    return 2 * (ranks - 1) / ranks * size_bytes


class Communication(BaseModel):
    """The bytes that each rank sends in a step; None, with the reason, if they do not follow."""

    model_config = ConfigDict(frozen=True)

    sent_bytes: Optional[float]
    basis: str  # the formula, or the reason why there is none


def derive_communication(contender: Contender, num_params: Optional[int]) -> Communication:
    """Bytes that each rank sends in an update, for strategies with one all-reduce of gradients.

    The gradients of all parameters count, as if none were frozen. DDP's broadcast of buffers, the
    losses and padding do not count.
    """
    strategy = contender.strategy or ""
    if strategy not in _REDUCING:
        return Communication(sent_bytes=None, basis=_WHY_NOT[strategy])
    if num_params is None:
        return Communication(sent_bytes=None, basis="the record does not hold the parameters")
    if contender.mode == "eager" and (contender.accumulation_steps or 1) > 1:
        return Communication(
            sent_bytes=None,
            basis="whether eager ranks reduce after each part of a batch is not in the record",
        )
    size_bytes = BYTES_PER_PARAMETER * num_params
    return Communication(
        sent_bytes=sent_bytes(contender.ranks, size_bytes),
        basis=f"2 (N - 1) / N x {size_bytes} bytes of gradients, an all-reduce in a ring",
    )
