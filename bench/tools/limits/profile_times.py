"""Joins a layer profile with the floors of the same step: the share of its limit of each layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Sequence

from ...config import Workload
from ...errors import InputError
from ...plan.checks import flag_of
from ...record.run import load_document
from ..profile.document import SCHEMA_VERSION, ProfileDocument, layer_rows
from .document import LayerTime, LimitsDocument
from .floor import create_roofs, layer_floors
from .work import LayerWork


def load_profile(path: Path) -> ProfileDocument:
    """Read a profile: a `.json` file, or `profile.json` of a folder.

    Raises RecordError where it cannot be used.
    """
    document: ProfileDocument = load_document(
        path if path.suffix == ".json" else path / "profile.json",
        ProfileDocument,
        [SCHEMA_VERSION],
        "profile",
        "give the folder of a `bench profile`",
    )
    return document


def check_profile(profile: ProfileDocument, workload: Workload, modes: Sequence[str]) -> None:
    """Raise InputError for a profile of another step than that of `workload` in one of `modes`."""
    _check_same("--profile", profile, workload, ("model", "batch_size", "image_size"))
    if profile.mode not in modes:
        raise InputError(
            f"--profile is of --mode {profile.mode}, which this run does not time; give that mode "
            "or both"
        )


def check_limits(limits: LimitsDocument, workload: Workload) -> None:
    """Raise InputError for limits of another step than that of `workload`."""
    fields = ("model", "model_args", "batch_size", "image_size", "num_classes")
    _check_same("--limits", limits.workload, workload, fields)


def _check_same(flag: str, given: Any, workload: Workload, fields: Sequence[str]) -> None:
    for field in fields:
        has, wanted = getattr(given, field), getattr(workload, field)
        if has != wanted:
            raise InputError(
                f"{flag} is of {flag_of(field)} {has} and this run has {wanted}; give one of the "
                f"same step, or leave {flag} out"
            )


def read_layer_times(profile: ProfileDocument, layers: Sequence[LayerWork]) -> List[LayerTime]:
    """A profile's layer times. Raises InputError where it has other layers than `layers`."""
    params = {layer.name: layer.num_params for layer in layers}
    if any(params.get(layer.name) != layer.num_params for layer in profile.layers):
        raise InputError(
            "the profile and the limits have other layers or parameters; make both with the same "
            "--num-classes and --model-arg"
        )
    return [
        LayerTime(
            name=row.layer.name,
            forward_s=row.forward.median,
            backward_s=None if row.backward is None else row.backward.median,
        )
        for row in layer_rows(profile)
    ]


def limit_shares(profile: ProfileDocument, limits: LimitsDocument) -> Dict[str, float]:
    """Floor over measured time of each layer by name, on all cores; errors as `read_layer_times`'.

    The floor is of what the profile measured: forward, and backward where it is there.
    """
    times = read_layer_times(profile, limits.layers)
    floors = layer_floors(limits.layers, create_roofs(limits)[-1], times)
    return {floor.layer.name: floor.share for floor in floors if floor.share is not None}
