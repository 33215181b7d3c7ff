"""A layer profile as a Chrome trace (the Trace Event Format), for chrome://tracing or Perfetto."""

from __future__ import annotations

from typing import Any, Dict, List

from .document import ProfileDocument, layer_rows

_PROCESS = 1
_THREADS = {1: "forward, as it ran in the step", 2: "backward, each layer alone, in reverse order"}
_MICROSECONDS = 1e6


def create_trace(document: ProfileDocument) -> Dict[str, Any]:
    """Complete events ("ph": "X"), times in microseconds from the start of the step.

    Forward calls stand where they ran in the last profiled iteration. Backward times were measured
    one layer at a time, so they are laid end to end behind it.
    """
    rows = layer_rows(document)
    begin = min((s for row in rows for s in row.layer.starts_s), default=0.0)
    events: List[Dict[str, Any]] = [
        {
            "name": "thread_name",
            "ph": "M",
            "pid": _PROCESS,
            "tid": thread,
            "args": {"name": f"{document.model}: {name}"},
        }
        for thread, name in _THREADS.items()
    ]
    end = begin
    for row in rows:
        for start, span in zip(row.layer.starts_s, row.layer.spans_s):
            events.append(_event(row.layer, "forward", 1, start - begin, span))
            end = max(end, start + span)
    position = end - begin
    for row in reversed(rows):
        if row.backward is not None:
            events.append(_event(row.layer, "backward", 2, position, row.backward.median))
            position += row.backward.median
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _event(layer: Any, category: str, thread: int, start_s: float, span_s: float) -> Dict[str, Any]:
    return {
        "name": layer.name,
        "cat": category,
        "ph": "X",
        "ts": start_s * _MICROSECONDS,
        "dur": span_s * _MICROSECONDS,
        "pid": _PROCESS,
        "tid": thread,
        "args": {
            "kind": layer.kind,
            "output_shape": layer.output_shape,
            "num_params": layer.num_params,
        },
    }
