"""Where two modes begin to differ, and whether that layer alone does so too."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Union

import numpy as np

from ..errors import BenchError
from .difference import measure_difference
from .pairs import Pair
from .reproduction import LayerCase, run_reproduction, write_reproduction
from .result import (
    BATCHES,
    EVAL_FORWARD,
    FIRST_UPDATE,
    FORWARD,
    GRADIENTS,
    INITIAL_WEIGHTS,
    LOSS,
    LOSS_CURVE,
    RESUMED,
    TRAINED,
    VALIDATION,
    LevelResult,
    Origin,
    TensorDifference,
)
from .tensors import Entry, load_recording

LAYER_LEVELS = (EVAL_FORWARD, FORWARD, GRADIENTS)
_NO_LAYER = {
    INITIAL_WEIGHTS: "no layer had run yet: the modes were given other weights",
    BATCHES: "no layer had run yet: the modes were given other data",
    LOSS: "every module's output agrees; look at the loss",
    FIRST_UPDATE: "outputs, loss and gradients agree; look at the optimizer and its options",
    LOSS_CURVE: "the whole first step agrees; look at what a step leaves to the next: the "
    "optimizer's state, the schedule, buffers, gradients that are not zeroed",
    TRAINED: "the first step and the losses agree; look at what a step leaves to the next",
    RESUMED: "the run agrees until it goes on from a checkpoint; look at what was restored",
    VALIDATION: "what was trained agrees; look at the evaluation",
}
# the last sentence of a reproduction's refusal, when the layer's class is not OneFlow's own
_NOT_ALONE = "its class is not one of OneFlow's own leaves, so no script stands alone"


@dataclass(frozen=True)
class Alone:
    """Runs turns of a fresh worker; where recordings and scripts go."""

    ask: Callable[[str, str, Sequence[Dict[str, Any]]], List[Dict[str, Any]]]
    run_folder: Path
    values_folder: Path
    environment: Mapping[str, str]  # of the graph's worker
    versions: Mapping[str, str]
    known: Callable[[str, str], Optional[str]]  # level, name of a tensor -> a known reason


def find_origin(
    levels: Sequence[LevelResult], op_names: Sequence[str], alone: Optional[Alone]
) -> Optional[Origin]:
    """The first tensor of the first level that differs; its layer run alone where it has one."""
    first = next((level for level in levels if level.verdict == "different"), None)
    if first is None or first.first_different is None:
        return None
    return examine(first.first_different, op_names, alone)


def find_suspect(pairs: Sequence[Pair], levels: Sequence[LevelResult]) -> Optional[Entry]:
    """The first tensor of all with a bit that differs, if it is a layer's and passed as rounding.

    Everything before it is bitwise equal, so its layer was given the same: run alone, what rounding
    explains is that of one layer, and a smaller fault can be told from it.
    """
    first = next((level for level in levels if level.first_inexact is not None), None)
    if first is None or first.level not in LAYER_LEVELS:
        return None
    if first.first_different is not None and first.first_different.name == first.first_inexact:
        return None
    key = (first.level, first.first_inexact)
    return next((pair.entry for pair in pairs if pair.entry.key == key), None)


def examine(
    found: Union[Entry, TensorDifference],
    op_names: Sequence[str],
    alone: Optional[Alone],
    is_suspect: bool = False,
) -> Origin:
    """Run one tensor's layer alone; that of a mere suspect gets a script only if it differs."""
    origin = Origin(level=found.level, name=found.name, kind=found.kind, shape=found.shape)
    layer = find_layer(found.level, found.name, found.kind)
    if layer is None:
        origin.alone_reason = _NO_LAYER.get(found.level, "")
        return origin
    origin.operator = describe_operators(layer, op_names)
    if alone is not None:
        try:
            _run_layer(origin, layer, alone, is_suspect)
        except BenchError as error:  # the layer's own trouble must not hide the difference
            origin.alone_reason = f"the layer could not be run alone: {error}"
    return origin


def find_layer(level: str, name: str, kind: str) -> Optional[str]:
    """The module that a tensor belongs to, by its tapped name; None where there is none."""
    if level == GRADIENTS or (level == FIRST_UPDATE and kind == "buffer"):
        return name.rpartition(".")[0] or "output"
    return name if level in LAYER_LEVELS else None


def describe_operators(layer: str, op_names: Sequence[str]) -> Optional[str]:
    """Operators of the compiled graph that carry the layer's name; a fused layer has none."""
    path = re.sub(r"( \(call \d+\))?(\[.*\])?$", "", layer)
    kinds = [
        re.sub(r"-\d+$", "", name[len(path) + 1 :])
        for name in op_names
        if name.startswith(f"{path}-")
    ]
    if not kinds:
        return None
    return ", ".join(dict.fromkeys(kinds))


def _run_layer(origin: Origin, layer: str, alone: Alone, is_suspect: bool) -> None:
    """Record the layer in an eager run, run it alone in both modes and in float64, and judge."""
    training = origin.level != EVAL_FORWARD
    recording = alone.values_folder / "recording.npz"
    request = {"name": layer, "training": training, "path": str(recording)}
    outputs = {side: alone.values_folder / f"alone-{side}.npz" for side in
               ("eager", "graph", "float64")}  # fmt: skip

    def run(side: str) -> Dict[str, Any]:
        return {"call": "run_alone", **request, "output": str(outputs[side])}

    recorded, ran = alone.ask("eager", "float32", [{"call": "record", **request}, run("eager")])
    refused = recorded["refused"] or ran["refused"]
    if not refused:
        (ran,) = alone.ask("graph", "float32", [run("graph")])
        refused = ran["refused"]
    if not refused:
        (ran,) = alone.ask("eager", "float64", [run("float64")])
        refused = ran["refused"]
    if refused:
        origin.alone_reason = refused
        return
    origin.kind = recorded["kind"] if origin.level != GRADIENTS else origin.kind
    known = _find_known(alone, layer, outputs["eager"])
    different = _compare_alone(origin.level, outputs, known)
    origin.alone = "reproduced" if different else "agrees"
    origin.alone_reason = (
        f"alone, on the same input, the modes differ in its {', '.join(different)}"
        if different
        else "alone, on the same input, both modes agree within rounding: what differs is what it "
        "is given, or how the model uses it"
    )
    if different or not is_suspect:
        _write_script(origin, layer, recorded, recording, known, alone)


def _find_known(alone: Alone, layer: str, output: Path) -> Dict[str, str]:
    with np.load(output, allow_pickle=False) as stored:
        names = list(stored.files)
    reasons = {name: alone.known(FIRST_UPDATE, f"{layer}.{name}") for name in names}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _compare_alone(level: str, outputs: Mapping[str, Path], known: Mapping[str, str]) -> List[str]:
    """Names of the tensors that rounding does not explain."""
    loaded = {side: dict(np.load(path, allow_pickle=False)) for side, path in outputs.items()}
    different = []
    for name, eager in loaded["eager"].items():
        graph = loaded["graph"].get(name)
        if name in known or (graph is not None and np.array_equal(eager, graph, equal_nan=True)):
            continue
        entry = Entry(level=level, name=name, kind="", shape=list(eager.shape), digest="")
        if (
            graph is None
            or graph.shape != eager.shape
            or (
                measure_difference(entry, eager, graph, loaded["float64"].get(name)).verdict
                == "different"
            )
        ):
            different.append(name)
    return different


def _write_script(
    origin: Origin,
    layer: str,
    recorded: Mapping[str, Any],
    recording: Path,
    known: Mapping[str, str],
    alone: Alone,
) -> None:
    """The standalone reproduction, and what it says when it is run here."""
    if recorded["constructor"] is None:
        origin.alone_reason += f"; {_NOT_ALONE}"
        return
    inputs, state, gradient = load_recording(recording)
    case = LayerCase(
        name=layer,
        constructor=recorded["constructor"],
        training=bool(recorded["training"]),
        inputs=inputs,
        state=state,
        output_gradient=gradient,
        environment=alone.environment,
        versions=alone.versions,
        origin=f"level '{origin.level}', first different tensor {origin.name}",
        known=known,
    )
    script = write_reproduction(alone.run_folder, case)
    origin.script = script.name
    # a bit that differs within rounding is not what was found
    origin.script_confirms = run_reproduction(script, sys.executable, tolerance=1e-6).confirms
