"""The executions of one job: eager and compiled as `nn.Graph`, alone or shared among ranks.

All offer the same calls, so that nothing above this module asks which one it holds.
"""

from __future__ import annotations

import time
from typing import Any, Dict, Mapping, Optional, Tuple

import oneflow as flow
from oneflow import nn

from ..distributed.creation import create_shared_mode
from ..distributed.sharing import Sharing
from ..plan.graph_options import OptionValue, apply_graph_options
from .clock import synchronize
from .eager import EagerMode
from .graph import GraphMode, compile_graph
from .job import Job
from .layer_graph import ForwardGraph


def create_forward(
    mode: str,
    model: nn.Module,
    example: flow.Tensor,
    graph_options: Optional[Mapping[str, OptionValue]] = None,
) -> Tuple[Any, float]:
    """A callable from images (N, 3, H, W) to logits (N, K) in eval mode, and compile seconds.

    As a graph it takes images of the shape and type of `example` alone.
    """
    model.eval()
    if mode == "graph":
        graph = ForwardGraph(model)
        apply_graph_options(graph, graph_options)
        return graph, compile_graph(graph, (example,))

    def forward(images: flow.Tensor) -> flow.Tensor:
        with flow.no_grad():
            return model(images)

    return forward, 0.0


STEP_PARTS = ("forward_s", "loss_s", "backward_s", "update_s")


def measure_step_parts(job: Job) -> Dict[str, float]:
    """Seconds of the parts of one eager step, each between two full synchronisations."""
    job.model.train()
    images, labels = job.train_feed.next_batch()
    job.optimizer.zero_grad(set_to_none=True)
    marks = [_mark()]
    outputs = job.model(images)
    marks.append(_mark())
    loss = job.criterion(outputs, labels)
    marks.append(_mark())
    loss.backward()
    marks.append(_mark())
    job.optimizer.step()
    marks.append(_mark())
    return {name: end - start for name, start, end in zip(STEP_PARTS, marks, marks[1:])}


def _mark() -> float:
    synchronize()
    return time.perf_counter()


def create_mode(
    mode: str,
    job: Job,
    image_size: int,
    feed: str,
    graph_options: Optional[Mapping[str, OptionValue]] = None,
    sharing: Optional[Sharing] = None,
) -> Any:
    """`EagerMode` or `GraphMode`; eager takes the loader outside whatever the feed.

    With `sharing` it is this rank's part of one that several processes execute together, and the
    job's model is spread over them. Raises InputError for graph options that this OneFlow does not
    have, and for a strategy that the model, the feed or this OneFlow does not allow.
    """
    if sharing is not None:
        return create_shared_mode(mode, job, image_size, feed, graph_options, sharing)
    if mode == "eager":
        return EagerMode(job)
    return GraphMode(job, image_size, feed == "graph", graph_options)
