"""A script of its own that runs one layer in both modes, for a bug report and as a confirmation.

`reproduction.template` is the script; here it gets its layer and its data. What is written runs
with OneFlow and NumPy alone. Imports no OneFlow.
"""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Dict, List, Mapping, Optional, Sequence

import numpy as np

from ..errors import InputError
from ..record.run import replace_atomically, write_atomically

TIMEOUT_S = 600.0
_TEMPLATE = Path(__file__).with_name("reproduction.template")
_LONGEST_NAME = 100  # of a file; systems allow 255 bytes

# exit statuses of the script
_AGREE, _DIFFER = 0, 1


@dataclass(frozen=True)
class LayerCase:
    """A layer at the moment it was recorded.

    `constructor` is an expression over `nn` (`find_constructor`), None where there is none.
    `state` has parameters and buffers as they were before the forward, by the layer's own names.
    With an `output_gradient` the backward is run too. `environment` has the variables to set before
    OneFlow is imported, `versions` what it was recorded with, `origin` a phrase saying where.
    `known` maps tensors that are expected to differ (named as by `LayerRun.tensors`) to the reason.
    """

    name: str
    constructor: Optional[str]
    training: bool
    inputs: Sequence[np.ndarray]
    state: Mapping[str, np.ndarray]
    output_gradient: Optional[np.ndarray]
    environment: Mapping[str, str]
    versions: Mapping[str, str]
    origin: str
    known: Mapping[str, str]
    device: str = "cpu"


@dataclass(frozen=True)
class ReproductionRun:
    """`confirms`: the script found that the modes differ; None where it could not tell."""

    confirms: Optional[bool]
    output: str


def write_reproduction(folder: Path, layer: LayerCase) -> Path:
    """Write `reproduce-<layer>.py` and, before it, the `.npz` of its data; return the script.

    Raises ValueError for a layer without a constructor expression or with arrays of objects, and
    InputError where the folder cannot be written.
    """
    constructor = _check(layer)
    stem = f"reproduce-{_create_file_name(layer.name)}"
    arrays = _collect_arrays(layer)
    script = folder / f"{stem}.py"
    data = folder / f"{stem}.npz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replace_atomically(data) as stream:
            np.savez(stream, **arrays)
        write_atomically(script, _render(layer, constructor, script.name, data.name))
    except OSError as error:
        raise InputError(
            f"cannot write {script} ({error.strerror}); give --out a folder you may write to"
        ) from None
    return script


def run_reproduction(
    script: Path,
    python: str = sys.executable,
    environment: Optional[Mapping[str, str]] = None,
    tolerance: Optional[float] = None,
    timeout_s: float = TIMEOUT_S,
) -> ReproductionRun:
    """Run a script of `write_reproduction` in a process of its own, with the given environment.

    A process that a signal ended is started once more: OneFlow 0.9.0 now and then aborts one.
    `tolerance` is the largest relative root mean square that passes; without it every bit counts.
    """
    command = [python, str(script)]
    if tolerance is not None:
        command += ["--tolerance", repr(float(tolerance))]
    try:
        for _ in range(2):
            done = subprocess.run(
                command,
                env=None if environment is None else dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
            )
            if done.returncode >= 0:
                break
    except subprocess.TimeoutExpired:
        return ReproductionRun(None, f"{script.name} did not end within {timeout_s:g} s")
    except OSError as error:
        return ReproductionRun(None, f"{python} cannot be run ({error.strerror})")
    output = done.stdout.decode("utf-8", "replace")
    return ReproductionRun({_AGREE: False, _DIFFER: True}.get(done.returncode), output)


def _check(layer: LayerCase) -> str:
    """The constructor expression, if all of the case can be written."""
    if layer.constructor is None:
        raise ValueError(
            f"layer {layer.name!r} has no constructor expression, and a script that stands alone "
            "builds its layer by one; run the layer alone inside the suite instead"
        )
    constructor = layer.constructor.strip()
    try:
        ast.parse(constructor, mode="eval")
    except (SyntaxError, ValueError):
        raise ValueError(
            f"layer {layer.name!r} was given the constructor {layer.constructor!r}, which is not "
            "one Python expression; give one over nn, such as nn.ReLU()"
        ) from None
    for name, array in _collect_arrays(layer).items():
        if array.dtype.hasobject:
            raise ValueError(
                f"layer {layer.name!r} was given {name} as an array of Python objects; give numbers"
            )
    return constructor


def _collect_arrays(layer: LayerCase) -> Dict[str, np.ndarray]:
    """The arrays of the `.npz` by the names the script reads."""
    arrays = {f"input_{number}": np.asarray(value) for number, value in enumerate(layer.inputs)}
    arrays.update((f"state/{name}", np.asarray(value)) for name, value in layer.state.items())
    if layer.output_gradient is not None:
        arrays["output_gradient"] = np.asarray(layer.output_gradient)
    return arrays


def _render(layer: LayerCase, constructor: str, script: str, data: str) -> str:
    """The script. What comes from outside gets in as a literal or as a one-line comment."""
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        name=_comment(layer.name),
        origin=_comment(layer.origin),
        versions=_comment(", ".join(f"{name} {text}" for name, text in layer.versions.items())),
        script=script,
        data=data,
        environment=_render_environment(layer.environment),
        name_literal=ascii(layer.name),
        data_literal=ascii(data),
        dtype=ascii(_find_dtype(layer)),
        device=ascii(layer.device),
        training=repr(bool(layer.training)),
        has_backward=repr(layer.output_gradient is not None),
        known=ascii({str(name): str(reason) for name, reason in layer.known.items()}),
        constructor=constructor,
    )


def _render_environment(environment: Mapping[str, str]) -> str:
    if not environment:
        return ""
    lines = ["", "# read when OneFlow and NumPy are imported; what is set already stays"]
    lines += [
        f"os.environ.setdefault({ascii(str(name))}, {ascii(str(value))})"
        for name, value in sorted(environment.items())
    ]
    return "\n".join([*lines, ""])


def _find_dtype(layer: LayerCase) -> str:
    """The floating type the layer was recorded in; float32 where nothing is of a floating type."""
    floating: List[np.ndarray] = [
        array
        for array in _collect_arrays(layer).values()
        if np.issubdtype(array.dtype, np.floating)
    ]
    return str(floating[0].dtype) if floating else "float32"


def _comment(text: str) -> str:
    """One printable line."""
    line = " ".join(text.split())
    return "".join(character if character.isprintable() else "?" for character in line)


def _create_file_name(name: str) -> str:
    """A name for files that says which layer; no two layers of a model share one.

    Letters, digits, dots, hyphens and underscores stay. Where anything else had to go, a digest of
    the whole name is put behind.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:_LONGEST_NAME].strip("-") or "layer"
    if safe == name:
        return safe
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe}-{digest}"
