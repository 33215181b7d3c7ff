"""The layer at which two modes begin to differ, its run in isolation, and a script that shows it.

The script is of the smallest part of the model that shows the difference by itself: the layer, a
module around it, the whole model, or its train steps. It is run before it is offered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Union

import numpy as np

from ..errors import BenchError
from . import result as levels
from .difference import measure_difference
from .judge import EAGER, GRAPH, REFERENCE, Comparison, Evidence
from .reproduction import (
    ReproducedLayer,
    confirm_difference,
    create_file_name,
    write_reproduction,
)
from .result import LevelResult, Origin, TensorDifference
from .tensors import (
    MODES,
    OUTPUT,
    STEPS,
    Entry,
    LayerCall,
    LayerRequest,
    Pair,
    Sides,
    split_name,
)

LAYER_LEVELS = (levels.EVAL_FORWARD, levels.FORWARD, levels.GRADIENTS)
_NO_LAYER = {
    levels.INITIAL_WEIGHTS: "no layer had run yet: the modes were given other weights",
    levels.BATCHES: "no layer had run yet: the modes were given other data",
    levels.LOSS: "every module's output agrees; look at the loss",
    levels.FIRST_UPDATE: "outputs, loss and gradients agree; look at the optimizer and its options",
    levels.LATER_FORWARD: "the first step agrees, and outputs of a later step do not; look at the "
    "state that the module, the loss and the optimizer keep between steps",
    levels.LOSS_CURVE: "the whole first step agrees; look at the state that a step leaves to the "
    "next: the optimizer's, the schedule, buffers, gradients that are not zeroed",
    levels.TRAINED: "the first step and the losses agree; look at the state that a step leaves to "
    "the next",
    levels.RESUMED: "the run agrees until it resumes from a checkpoint; look at the restored state",
    levels.VALIDATION: "the trained weights agree; look at the evaluation",
}


# the script takes weights and batches from eager mode, and runs without a checkpoint
NO_SCRIPT = (levels.INITIAL_WEIGHTS, levels.BATCHES, levels.RESUMED)


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
    sides: Sides = MODES


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
    else:
        origin.operator = describe_operators(layer, isolation.op_names)
        try:
            _run_layer(origin, layer, isolation)
        except BenchError as error:  # an error of the isolated run must not hide the difference
            origin.isolated_layer_reason = f"the layer could not be run in isolation: {error}"
    if origin.isolated_layer == "reproduced" or not passed_as_rounding:
        _find_script(origin, layer, isolation)
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


def _run_layer(origin: Origin, layer: str, isolation: Isolation) -> None:
    """Record the layer in an eager run, run it in both modes and in float64, and judge."""
    paths = {run: isolation.values_folder / f"{run}.npz" for run in (EAGER, GRAPH, REFERENCE)}
    request = _request_layer(layer, origin, isolation)
    for run, reference in ((EAGER, paths[REFERENCE]), (GRAPH, None)):
        wanted = request.model_copy(update={"output": paths[run], "reference": reference})
        refused = isolation.ask(run, wanted)["refused"]
        if refused:
            origin.isolated_layer_reason = refused
            return
    outputs = {run: dict(np.load(path, allow_pickle=False)) for run, path in paths.items()}
    call = LayerCall.load(request.recording)
    if origin.level != levels.GRADIENTS:
        origin.kind = call.kind
    reasons = {
        name: isolation.find_known_reason(levels.FIRST_UPDATE, f"{layer}.{name}")
        for name in outputs[EAGER]
    }
    known = {name: reason for name, reason in reasons.items() if reason is not None}
    different = _list_different(origin.level, outputs, known, isolation.sides)
    origin.isolated_layer = "reproduced" if different else "agrees"
    origin.isolated_layer_reason = (
        f"in isolation, on the same input, the modes differ in its {', '.join(different)}"
        if different
        else "in isolation, on the same input, both modes agree within rounding: its input "
        "differs, or the model's use of it"
    )


def _request_layer(name: str, origin: Origin, isolation: Isolation) -> LayerRequest:
    """To record a call in the pass that has the difference; each pass has a file of its own."""
    training = origin.level != levels.EVAL_FORWARD
    path = isolation.values_folder / f"{create_file_name(name)}-{'train' if training else 'eval'}"
    return LayerRequest(name=name, training=training, recording=path.with_name(f"{path.name}.npz"))


def list_parts(level: str, layer: Optional[str]) -> List[str]:
    """Parts of the model that may show a difference, from the smallest: layer to train steps."""
    if level in NO_SCRIPT:
        return []
    parts = [] if layer is None else [layer]
    path = OUTPUT if layer is None else split_name(layer)[0]
    while "." in path:
        path = path.rpartition(".")[0]
        parts.append(path)
    return list(dict.fromkeys([*parts, *[OUTPUT] * (layer is not None), STEPS]))


def _find_script(origin: Origin, layer: Optional[str], isolation: Isolation) -> None:
    """Offer the script of the smallest part that shows the difference, or say that none does."""
    refused = ""
    parts = list_parts(origin.level, layer)
    for part in parts:
        if part == layer and origin.isolated_layer == "agrees":
            continue  # the same call has just been run in both modes
        try:
            script = _write_script(part, origin, isolation)
        except (BenchError, ValueError) as error:
            refused = f" ({error})"
            continue
        if confirm_difference(script):
            origin.script, origin.script_confirms = script.name, True
            return
        for file in (script, script.with_suffix(".npz")):
            file.unlink()
    if parts:
        reasons = filter(None, [origin.isolated_layer_reason])
        none = f"no standalone script: none of {len(parts)} parts of the model shows it by itself"
        origin.isolated_layer_reason = "; ".join([*reasons, none + refused])


def _write_script(part: str, origin: Origin, isolation: Isolation) -> Path:
    """The script of a part, recorded in an eager run. Raises ValueError for one that cannot be."""
    request = _request_layer(part, origin, isolation)
    refused = None
    if not request.recording.is_file():
        refused = isolation.ask(EAGER, request)["refused"]
    call = None if refused else LayerCall.load(request.recording)
    if call is None or call.constructor is None:
        raise ValueError(refused or f"{part} has no constructor")
    path = split_name(part)[0]
    prefix = "" if path in (OUTPUT, STEPS) else f"{path}."
    known = {n: isolation.find_known_reason(levels.FIRST_UPDATE, prefix + n) for n in call.state}
    layer = ReproducedLayer(
        **vars(call),
        name=part,
        environment=isolation.environment,
        versions=isolation.versions,
        origin=f"level '{origin.level}', first different tensor {origin.name}",
        known={name: reason for name, reason in known.items() if reason is not None},
    )
    return write_reproduction(isolation.run_folder, layer)


def _list_different(
    level: str,
    outputs: Mapping[str, Mapping[str, np.ndarray]],
    known: Mapping[str, str],
    sides: Sides,
) -> List[str]:
    """Names of the tensors that rounding does not explain."""
    different = []
    for name, eager in outputs[EAGER].items():
        graph, reference = (outputs[run].get(name) for run in (GRAPH, REFERENCE))
        if name in known or (graph is not None and np.array_equal(eager, graph, equal_nan=True)):
            continue
        if graph is not None and graph.shape == eager.shape:
            entry = Entry(level=level, name=name, kind="", shape=list(eager.shape), digest="")
            found = measure_difference(entry, eager, graph, reference, sides=sides)
            if found.verdict != "different":
                continue
        different.append(name)
    return different
