"""From a strategy's name to the mode that executes it."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from ..errors import InputError
from ..plan.graph_options import OptionValue
from ..training.job import Job
from .sharing import Sharing, refuse
from .strategy_eager import DistributedEager, GlobalEager
from .strategy_graph import PipelineGraph, SharedGraph, TensorParallelGraph, ZeroGraph

_EAGER = {"ddp": DistributedEager, "global": GlobalEager}
_GRAPH = {"dp": SharedGraph, "tp": TensorParallelGraph, "pp": PipelineGraph, "zero": ZeroGraph}


def create_shared_mode(
    mode: str,
    job: Job,
    image_size: int,
    feed: str,
    graph_options: Optional[Mapping[str, OptionValue]],
    sharing: Sharing,
) -> Any:
    """This rank's part of a job that several execute; the model of `job` is spread over them.

    All ranks must do so at once. Raises InputError for what the strategy does not allow.
    """
    parts, share = job.accumulation_steps, job.train_feed.batch_size
    if share % parts:
        raise InputError(
            f"each of {sharing.ranks} ranks has {share} samples of a batch, which do not divide "
            f"into {parts} parts for one update; give a --batch-size that is a multiple of "
            f"{sharing.ranks * parts}"
        )
    if mode == "eager":
        return _EAGER[sharing.strategy](job, sharing)
    if feed == "graph":
        raise refuse(
            sharing,
            "a loader inside the graph would read the same samples on each rank; use --feed loader",
        )
    return _GRAPH[sharing.strategy](job, image_size, sharing, graph_options)
