"""The difference of the weights of two contenders."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Dict

import numpy as np
from safetensors import safe_open

from .events import ParameterDifference, finite_or_none


def compare_weights(
    baseline: str,
    contender: str,
    baseline_path: Path,
    contender_path: Path,
    digests: Dict[str, str],
) -> ParameterDifference:
    """Compare the floating-point tensors of two safetensors files, in float64.

    `max_abs` and `mean_abs` are over all elements, `relative_l2` is
    ||contender - baseline|| / ||baseline|| (0 where both are zero). Integer buffers are left out:
    OneFlow 0.9.0 does not advance `num_batches_tracked` of batch norm in graph mode.
    """
    max_abs, largest_in = 0.0, ""
    sum_abs = sum_square = reference_square = 0.0
    count = 0
    with safe_open(str(baseline_path), framework="numpy") as left, safe_open(
        str(contender_path), framework="numpy"
    ) as right:
        for name in left.keys():  # noqa: SIM118
            reference = left.get_tensor(name)
            if not np.issubdtype(reference.dtype, np.floating) or reference.size == 0:
                continue
            reference = reference.astype(np.float64)
            difference = np.abs(right.get_tensor(name).astype(np.float64) - reference)
            largest = float(difference.max())
            if not largest_in or largest > max_abs or math.isnan(largest):
                max_abs, largest_in = largest, name
            sum_abs += float(difference.sum())
            sum_square += float((difference**2).sum())
            reference_square += float((reference**2).sum())
            count += reference.size
    relative = math.sqrt(sum_square / (reference_square or 1.0))
    return ParameterDifference(
        baseline=baseline,
        contender=contender,
        max_abs=finite_or_none(max_abs),
        mean_abs=finite_or_none(sum_abs / max(count, 1)),
        relative_l2=finite_or_none(relative),
        largest_in=largest_in,
        digests={name: digests[name] for name in (baseline, contender)},
    )
