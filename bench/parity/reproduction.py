"""Writes a standalone script from `reproduction.template`, and runs it.

It needs OneFlow and NumPy, and the file of the user's model if it runs a part of that.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Mapping, Optional

import numpy as np

from ..errors import InputError
from ..record.run import replace_atomically, write_atomically
from .tensors import LayerCall

TIMEOUT_S = 600.0
TOLERANCE = 1e-6  # relative; a bit that differs within rounding does not confirm a difference
_TEMPLATE = Path(__file__).with_name("reproduction.template")
_LONGEST_NAME = 100  # of a file; systems allow 255 bytes


@dataclass(frozen=True)
class ReproducedLayer(LayerCall):
    """A recorded call, with a constructor, and all else that its script tells.

    With an `output_gradient` the backward is run too. `environment` has the variables to set before
    OneFlow is imported, `versions` those of the recording, `origin` a phrase that names the place.
    `known` maps tensors that are expected to differ (by the names of `run_isolated`) to the reason.
    """

    name: str = "layer"
    environment: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""
    known: Mapping[str, str] = field(default_factory=dict)


def write_reproduction(folder: Path, layer: ReproducedLayer) -> Path:
    """Write `reproduce-<layer>.py` and, before it, the `.npz` of its data; return the script.

    Raises InputError if the folder cannot be written.
    """
    script = folder / f"reproduce-{create_file_name(layer.name)}.py"
    data = script.with_name(f"{script.name[:-3]}.npz")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replace_atomically(data) as stream:
            np.savez(stream, **layer.arrays())
        write_atomically(script, _render(layer, script.name, data.name))
    except OSError as error:
        raise InputError(
            f"cannot write {script} ({error.strerror}); give --out a folder you may write to"
        ) from None
    return script


def confirm_difference(script: Path, timeout_s: float = TIMEOUT_S) -> Optional[bool]:
    """Run a script of `write_reproduction`: True if it finds that the modes differ by TOLERANCE.

    None if it could not tell. A process that a signal ended is started once more: OneFlow 0.9.0 now
    and then aborts one.
    """
    command = [sys.executable, str(script), "--tolerance", repr(TOLERANCE)]
    for _ in range(2):
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s
            )
        except subprocess.TimeoutExpired:
            return None
        if done.returncode >= 0:
            break
    return {0: False, 1: True}.get(done.returncode)


def _render(layer: ReproducedLayer, script: str, data: str) -> str:
    """The script. Names and other texts enter it as ASCII literals, which have one line."""
    floating = [a for a in layer.arrays().values() if np.issubdtype(a.dtype, np.floating)]
    described = {"seed": 0, "folders": [], **layer.described}
    sections = {"model": "model" in described, "steps": "loss" in described}
    sections["call"] = not sections["steps"]
    template = re.sub(
        r"^# \[(\w+)\]\n(.*?)^# \[end\]\n",
        lambda found: found[2] * sections[found[1]],
        _TEMPLATE.read_text(encoding="utf-8"),
        flags=re.DOTALL | re.MULTILINE,
    )
    return Template(template).substitute(
        described,
        needs=" It imports the file of the model too." * sections["model"],
        name=ascii(layer.name),
        origin=ascii(layer.origin),
        versions=ascii(dict(layer.versions)),
        script=script,
        data=data,
        environment=ascii(dict(layer.environment)),
        dtype=ascii(str(floating[0].dtype) if floating else "float32"),
        training=layer.training,
        has_backward=layer.output_gradient is not None,
        known=ascii(dict(layer.known)),
        constructor=layer.constructor,
    )


def create_file_name(name: str) -> str:
    """A file name for a layer; no two layers of a model share one.

    Letters, digits, dots, hyphens and underscores stay. If anything else was removed, a digest of
    the whole name follows.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:_LONGEST_NAME].strip("-") or "layer"
    if safe == name:
        return safe
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe}-{digest}"
