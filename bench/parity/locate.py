"""The layer at which two modes begin to differ, its run in isolation, and its script.

`reproduction.template` is the standalone script, for a bug report and as a confirmation. It needs
OneFlow and NumPy alone.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Union

import numpy as np

from ..errors import BenchError, InputError
from ..record.run import replace_atomically, write_atomically
from . import result as levels
from .difference import measure_difference
from .judge import EAGER, GRAPH, REFERENCE, Comparison, Evidence
from .result import LevelResult, Origin, TensorDifference
from .tensors import OUTPUT, Entry, LayerCall, LayerRequest, Pair, split_name

TIMEOUT_S = 600.0
TOLERANCE = 1e-6  # relative; a bit that differs within rounding does not confirm a difference
_TEMPLATE = Path(__file__).with_name("reproduction.template")
_LONGEST_NAME = 100  # of a file; systems allow 255 bytes
LAYER_LEVELS = (levels.EVAL_FORWARD, levels.FORWARD, levels.GRADIENTS)
_NO_LAYER = {
    levels.INITIAL_WEIGHTS: "no layer had run yet: the modes were given other weights",
    levels.BATCHES: "no layer had run yet: the modes were given other data",
    levels.LOSS: "every module's output agrees; look at the loss",
    levels.FIRST_UPDATE: "outputs, loss and gradients agree; look at the optimizer and its options",
    levels.LATER_FORWARD: "the first step agrees, and outputs of a later step do not; look at the "
    "state that the module keeps between steps",
    levels.LOSS_CURVE: "the whole first step agrees; look at the state that a step leaves to the "
    "next: the optimizer's, the schedule, buffers, gradients that are not zeroed",
    levels.TRAINED: "the first step and the losses agree; look at the state that a step leaves to "
    "the next",
    levels.RESUMED: "the run agrees until it resumes from a checkpoint; look at the restored state",
    levels.VALIDATION: "the trained weights agree; look at the evaluation",
}


@dataclass(frozen=True)
class Isolation:
    """Runs a layer in fresh workers, and has the facts that its script tells."""

    ask: Callable[[str, LayerRequest], Dict[str, Any]]  # of a run: eager, graph, reference
    run_folder: Path
    values_folder: Path
    environment: Mapping[str, str]  # of the graph's worker
    versions: Mapping[str, str]
    op_names: Sequence[str]  # of the compiled graph
    find_known_reason: Callable[[str, str], Optional[str]]  # level, name of a tensor
    name_layer: Callable[[str, str], Optional[str]] = lambda name, kind: None  # of a gradient


def locate_difference(
    comparison: Comparison, evidence: Evidence, isolation: Isolation
) -> Optional[Origin]:
    """The tensor at which the modes begin to differ; None if rounding explains everything.

    First the layer of the first mismatch is run in isolation. If it differs there, `comparison` is
    judged again with that tensor flagged as different.
    """
    mismatch = find_first_mismatch(comparison.pairs, comparison.levels)
    if mismatch is not None:
        origin = examine(mismatch, isolation, passed_as_rounding=True)
        if origin.isolated_layer == "reproduced":
            comparison.judge(evidence, {mismatch.key: origin.isolated_layer_reason})
            return origin
    first = comparison.first_different
    return None if first is None else examine(first, isolation)


def find_first_mismatch(pairs: Sequence[Pair], found: Sequence[LevelResult]) -> Optional[Entry]:
    """The first tensor of all with a differing bit, if it is a layer's and passed as rounding.

    Everything before it is bitwise equal, so its layer had the same inputs in both modes. In
    isolation the rounding is that of one layer, and a smaller fault can be told from it.
    """
    first = next((level for level in found if level.first_inexact is not None), None)
    if first is None or first.level not in LAYER_LEVELS:
        return None
    different = first.first_different
    if different is not None and different.name == first.first_inexact:
        return None
    key = (first.level, first.first_inexact)
    return next((pair.eager for pair in pairs if pair.eager.key == key), None)


def examine(
    found: Union[Entry, TensorDifference], isolation: Isolation, passed_as_rounding: bool = False
) -> Origin:
    """Run the layer of one tensor in isolation.

    A layer whose tensor `passed_as_rounding` gets a script only if it differs in isolation.
    """
    origin = Origin(level=found.level, name=found.name, kind=found.kind, shape=found.shape)
    layer = isolation.name_layer(found.name, found.kind)
    if layer is None:
        layer = find_layer(found.level, found.name, found.kind)
    else:
        origin.name = layer
    if layer is None:
        origin.isolated_layer_reason = _NO_LAYER.get(found.level, "")
        return origin
    origin.operator = describe_operators(layer, isolation.op_names)
    try:
        _run_layer(origin, layer, isolation, passed_as_rounding)
    except BenchError as error:  # an error of the isolated run must not hide the difference
        origin.isolated_layer_reason = f"the layer could not be run in isolation: {error}"
    return origin


def find_layer(level: str, name: str, kind: str) -> Optional[str]:
    """The module that a tensor belongs to, by its hooked name; None if there is none."""
    if level == levels.GRADIENTS or (level == levels.FIRST_UPDATE and kind == "buffer"):
        return name.rpartition(".")[0] or OUTPUT
    return name if level in LAYER_LEVELS else None


def describe_operators(layer: str, op_names: Sequence[str]) -> Optional[str]:
    """Operators of the compiled graph that carry the layer's name; a fused layer has none."""
    path = split_name(layer)[0] + "-"
    kinds = [re.sub(r"-\d+$", "", op[len(path) :]) for op in op_names if op.startswith(path)]
    return ", ".join(dict.fromkeys(kinds)) or None


def _run_layer(origin: Origin, layer: str, isolation: Isolation, passed_as_rounding: bool) -> None:
    """Record the layer in an eager run, run it in both modes and in float64, and judge."""
    training = origin.level != levels.EVAL_FORWARD
    recording = isolation.values_folder / "recording.npz"
    outputs: Dict[str, Dict[str, np.ndarray]] = {}
    for run in (EAGER, GRAPH, REFERENCE):
        path = isolation.values_folder / f"{run}.npz"
        request = LayerRequest(name=layer, training=training, recording=recording, output=path)
        refused = isolation.ask(run, request)["refused"]
        if refused:
            origin.isolated_layer_reason = refused
            return
        outputs[run] = dict(np.load(path, allow_pickle=False))
    call = LayerCall.load(recording)
    if origin.level != levels.GRADIENTS:
        origin.kind = call.kind
    reasons = {
        name: isolation.find_known_reason(levels.FIRST_UPDATE, f"{layer}.{name}")
        for name in outputs[EAGER]
    }
    known = {name: reason for name, reason in reasons.items() if reason is not None}
    different = _list_different(origin.level, outputs, known)
    origin.isolated_layer = "reproduced" if different else "agrees"
    origin.isolated_layer_reason = (
        f"in isolation, on the same input, the modes differ in its {', '.join(different)}"
        if different
        else "in isolation, on the same input, both modes agree within rounding: its input "
        "differs, or the model's use of it"
    )
    if passed_as_rounding and not different:
        return
    if call.constructor is None:
        origin.isolated_layer_reason += (
            "; its class is not a leaf of OneFlow's own, so there is no standalone script"
        )
        return
    reproduced = ReproducedLayer(
        **vars(call),
        name=layer,
        environment=isolation.environment,
        versions=isolation.versions,
        origin=f"level '{origin.level}', first different tensor {origin.name}",
        known=known,
    )
    script = write_reproduction(isolation.run_folder, reproduced)
    origin.script = script.name
    origin.script_confirms = confirm_difference(script)


def _list_different(
    level: str, outputs: Mapping[str, Mapping[str, np.ndarray]], known: Mapping[str, str]
) -> List[str]:
    """Names of the tensors that rounding does not explain."""
    different = []
    for name, eager in outputs[EAGER].items():
        graph, reference = (outputs[run].get(name) for run in (GRAPH, REFERENCE))
        if name in known or (graph is not None and np.array_equal(eager, graph, equal_nan=True)):
            continue
        if graph is not None and graph.shape == eager.shape:
            entry = Entry(level=level, name=name, kind="", shape=list(eager.shape), digest="")
            found = measure_difference(entry, eager, graph, reference)
            if found.verdict != "different":
                continue
        different.append(name)
    return different


@dataclass(frozen=True)
class ReproducedLayer(LayerCall):
    """A recorded call, with a constructor, and all else that its script tells.

    With an `output_gradient` the backward is run too. `environment` has the variables to set before
    OneFlow is imported, `versions` those of the recording, `origin` a phrase that names the place.
    `known` maps tensors that are expected to differ (by the names of `run_isolated`) to the reason.
    """

    name: str
    environment: Mapping[str, str]
    versions: Mapping[str, str]
    origin: str
    known: Mapping[str, str]


def write_reproduction(folder: Path, layer: ReproducedLayer) -> Path:
    """Write `reproduce-<layer>.py` and, before it, the `.npz` of its data; return the script.

    Raises InputError if the folder cannot be written.
    """
    script = folder / f"reproduce-{_create_file_name(layer.name)}.py"
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
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
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


def _create_file_name(name: str) -> str:
    """A file name for a layer; no two layers of a model share one.

    Letters, digits, dots, hyphens and underscores stay. If anything else was removed, a digest of
    the whole name follows.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:_LONGEST_NAME].strip("-") or "layer"
    if safe == name:
        return safe
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe}-{digest}"
