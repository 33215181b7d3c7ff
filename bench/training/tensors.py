"""Global tensors as arrays, and arrays as global tensors. Local tensors go the same way.

A global tensor is gathered by all ranks of the group together: each must ask, in the same order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import oneflow as flow


def place_on_all(device: str) -> Any:
    """The placement of every rank of the group; `device` is cpu or cuda."""
    return flow.placement(device, list(range(flow.env.get_world_size())))


def gather(tensor: flow.Tensor) -> np.ndarray:
    """An array of its own with the whole of a tensor, on each rank."""
    if tensor.is_global:
        everywhere = place_on_all(tensor.placement.type)
        tensor = tensor.to_global(placement=everywhere, sbp=flow.sbp.broadcast).to_local()
    return np.array(tensor.numpy())


def place_like(array: np.ndarray, like: flow.Tensor) -> flow.Tensor:
    """`array` as a tensor that is spread over the ranks as `like` is."""
    tensor = flow.tensor(array)
    if not like.is_global:
        return tensor
    return tensor.to_global(placement=like.placement, sbp=flow.sbp.broadcast).to_global(
        sbp=like.sbp
    )


def place_everywhere(array: np.ndarray, like: flow.Tensor) -> flow.Tensor:
    """`array` as a tensor that every rank holds, global where `like` is."""
    tensor = flow.tensor(array)
    if not like.is_global:
        return tensor
    return tensor.to_global(placement=place_on_all(like.placement.type), sbp=flow.sbp.broadcast)
