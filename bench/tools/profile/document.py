"""What a layer profile is as data: `profile.json`. Seconds throughout."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

from pydantic import BaseModel, ConfigDict

from ...record.documents import load_document
from ...verdict.statistics import Summary, summarize

SCHEMA_VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class LayerProfile(_Part):
    """One leaf. Lists have a value for each iteration or repeat; empty where there is none."""

    name: str
    kind: str
    calls: int  # in one iteration
    output_shape: List[int]  # of the first call
    num_params: int
    param_sizes: Optional[List[int]] = None  # of each that is trained; None in older profiles
    forward_s: List[float]  # in the step
    backward_s: List[float]  # alone, on the step's input and output gradient
    graph_forward_s: List[float] = []  # compiled alone
    graph_forward_backward_s: List[float] = []
    starts_s: List[float] = []  # of the last iteration's calls, since the profile began
    spans_s: List[float] = []


class GraphFacts(_Part):
    """What OneFlow tells of the compiled train step."""

    compile_s: float
    ops_built: Dict[str, int]  # operators by type, as traced with backward and update
    ops_compiled: Dict[str, int]  # after OneFlow's passes
    step_s: List[float]

    def added_types(self) -> Dict[str, int]:
        """Types that only the passes brought in: fused operators, transfers and the like."""
        return {
            kind: count for kind, count in self.ops_compiled.items() if kind not in self.ops_built
        }


class StepParts(_Part):
    """Parts of one eager step with nothing wrapped, each synchronised; a value an iteration."""

    step_s: List[float]  # without synchronisations between the parts
    forward_s: List[float]
    loss_s: List[float]
    backward_s: List[float]
    update_s: List[float]


class ProfileDocument(_Part):
    """`profile.json`."""

    schema_version: int = SCHEMA_VERSION
    model: str
    mode: str
    batch_size: int
    image_size: int
    iterations: int
    created: str
    machine: Dict[str, Any]
    environment: Dict[str, Any]
    layers: List[LayerProfile]
    parts: StepParts
    profiled_step_s: List[float]
    graph: Optional[GraphFacts] = None


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


class LayerRow(_Part):
    """A layer as it is shown. In graph mode the times are those of the layer compiled alone."""

    layer: LayerProfile
    forward: Summary
    backward: Optional[Summary]
    total_s: float
    share: float  # of the sum over all layers


def layer_rows(document: ProfileDocument) -> List[LayerRow]:
    """Rows in the order of the layers' first calls."""
    is_graph = document.mode == "graph"
    found = []
    for layer in document.layers:
        forward = layer.graph_forward_s if is_graph and layer.graph_forward_s else layer.forward_s
        backward = layer.backward_s
        if is_graph and layer.graph_forward_backward_s:
            base = summarize(forward).median
            backward = [max(0.0, both - base) for both in layer.graph_forward_backward_s]
        summaries = summarize(forward), summarize(backward) if backward else None
        total = summaries[0].median + (summaries[1].median if summaries[1] else 0.0)
        found.append((layer, summaries, total))
    whole = sum(total for _, _, total in found) or 1.0
    return [
        LayerRow(
            layer=layer, forward=forward, backward=backward, total_s=total, share=total / whole
        )
        for layer, (forward, backward), total in found
    ]


def remainder_rows(document: ProfileDocument) -> List[tuple]:
    """(what, seconds) that no layer accounts for, in the eager step; may be below 0.

    Layers are timed one at a time, which costs a synchronisation each and gains a warm cache; what
    does not add up is shown and not spread over the layers.
    """
    rows = layer_rows(document)
    parts = document.parts
    medians = {
        name: summarize(getattr(parts, name)).median
        for name in ("step_s", "forward_s", "loss_s", "backward_s", "update_s")
    }
    if document.graph is not None:
        step = summarize(document.graph.step_s).median
        layers = sum(row.total_s for row in rows)
        return [("layers alone, sum", layers), ("the rest of the step", step - layers)]
    forward = sum(row.forward.median for row in rows)
    backward = sum(row.backward.median for row in rows if row.backward)
    return [
        ("forward outside the layers", medians["forward_s"] - forward),
        ("loss", medians["loss_s"]),
        ("backward outside the layers", medians["backward_s"] - backward),
        ("optimizer", medians["update_s"]),
        (
            "overlap (negative: time gained)",
            medians["step_s"]
            - sum(medians[k] for k in ("forward_s", "loss_s", "backward_s", "update_s")),
        ),
    ]
