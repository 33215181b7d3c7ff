"""The JSON of github-action-benchmark's `customSmallerIsBetter`.

Its alert compares a point with the one before, and smaller is always better. So accuracy goes
out as validation error.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Sequence

from ...errors import InputError
from .selection import Scalar, Selected, describe_machine_of, list_scalars


def render(selected: Sequence[Selected]) -> str:
    """One entry for each number of each contender. Raises InputError where there is none."""
    entries = [_create_entry(one, scalar) for one in selected for scalar in list_scalars(one)]
    if not entries:
        raise InputError(
            f"run {selected[0].record.document.run_id} ended before anything was measured, "
            "so there is nothing to export; run it again"
        )
    return json.dumps(entries, indent=1) + "\n"


def _create_entry(selected: Selected, scalar: Scalar) -> Dict[str, Any]:
    facts = {"run": selected.record.document.run_id, **describe_machine_of(selected)}
    entry = {
        "name": selected.benchmark_name(scalar.name),
        "unit": scalar.unit,
        "value": scalar.value,
        "extra": "\n".join(f"{name}: {value}" for name, value in facts.items()),
    }
    if scalar.low is not None and scalar.high is not None:
        entry["range"] = f"{scalar.low:.6g} to {scalar.high:.6g}"
    return entry
