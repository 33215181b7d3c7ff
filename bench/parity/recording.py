"""What one module is given in an eager run, kept so that it can be run alone in either mode."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from ..training.job import Job, copy_state
from ..training.layer_graph import replace_forwards
from .alone import run_alone
from .constructor import find_constructor
from .observation import OUTPUT
from .tensors import load_recording, save_recording

_CALL = re.compile(r"^(?P<module>.*?)(?: \(call (?P<call>\d+)\))?(?:\[.*\])?$")


def find_module(job: Job, name: str) -> Tuple[nn.Module, int]:
    """The module behind a tapped output's name, and which of its calls it was, from 1."""
    found = _CALL.match(name)
    assert found is not None
    path = found["module"]
    if path == OUTPUT:
        path = "model"
    elif path.split(".")[0] != "teacher":
        path = f"model.{path}"
    return dict(job.objective.named_modules())[path], int(found["call"] or 1)


@dataclass
class Recording:
    """A module's inputs, its state before the call, and the gradient that came back."""

    kind: str
    constructor: Optional[str]
    training: bool
    inputs: List[np.ndarray]
    state: Dict[str, np.ndarray]
    output_gradient: Optional[np.ndarray]

    def save(self, path: Path) -> Dict[str, Any]:
        """Write the arrays as .npz; the rest as JSON values."""
        save_recording(path, self.inputs, self.state, self.output_gradient)
        return {"kind": self.kind, "constructor": self.constructor, "training": self.training}


def record_module(job: Job, name: str, training: bool) -> Recording:
    """Run the job's first batch eagerly, forward and if `training` backward, and keep one call.

    Raises ValueError for a call whose inputs are not all tensors, or that did not happen.
    """
    module, wanted = find_module(job, name)
    kept: Dict[str, Any] = {}
    calls = 0
    original = module.forward

    def forward(*inputs: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != wanted:
            return original(*inputs, **named)
        if named or not all(isinstance(value, flow.Tensor) for value in inputs):
            raise ValueError(f"{name} takes more than tensors, and cannot be run alone")
        kept["inputs"] = [np.array(value.numpy()) for value in inputs]
        kept["state"] = copy_state(module)
        output = original(*inputs)
        if isinstance(output, flow.Tensor) and output.requires_grad:
            output.register_hook(lambda gradient: kept.update(gradient=np.array(gradient.numpy())))
        return output

    with replace_forwards() as replace:
        replace(module, forward)
        _run_once(job, training)
    if "inputs" not in kept:
        raise ValueError(f"{name} was not called")
    return Recording(
        kind=type(module).__name__,
        constructor=find_constructor(module),
        training=module.training,
        inputs=kept["inputs"],
        state=kept["state"],
        output_gradient=kept.get("gradient"),
    )


def _run_once(job: Job, training: bool) -> None:
    if training:
        job.model.train()
        job.objective(*job.train_feed.next_batch()).backward()
        return
    job.model.eval()
    with flow.no_grad():
        job.model(job.eval_feed.next_batch()[0])


def run_recorded(job: Job, name: str, path: Path, training: bool, mode: str, dtype: str) -> Any:
    """Arrays by name of the module run alone on a recording, in `dtype`."""
    inputs, state, gradient = load_recording(path)
    module, _ = find_module(job, name)
    return run_alone(module, inputs, gradient, training, mode, state=state, dtype=dtype).tensors()
