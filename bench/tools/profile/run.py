"""Runs a layer profile: one worker, and a fresh one where OneFlow ended the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from ...config import Contender, Workload
from ...errors import WorkerError
from ...record.machine import describe_machine
from .document import ProfileDocument

# fresh workers for the layers as graphs: small ones now and then end their process
# (`oneflow_compat.create_padding_operator` says why; here one would be timed too)
MAX_RESTARTS = 12
MAX_FAILURES = 2  # of one layer, after which it is left without times as a graph

Observer = Callable[[str, int, int], None]


class _Profiler:
    def __init__(
        self,
        workload: Workload,
        dataset: Optional[Path],
        contender: Contender,
        launch: Callable[[Contender], Any],
        warmup: int,
        timeout_s: float,
    ) -> None:
        self._request = {
            "workload": workload.model_dump(),
            "contender": contender.model_dump(),
            "dataset": None if dataset is None else str(dataset),
            "warmup": warmup,
        }
        self._contender = contender
        self._launch = launch
        self._timeout_s = timeout_s
        self._worker: Any = None

    def ask(self, call: str, **arguments: Any) -> Dict[str, Any]:
        answer: Dict[str, Any] = self._worker.ask(
            call, self._timeout_s, **{**self._request, **arguments}
        )
        return answer

    def start(self) -> Dict[str, Any]:
        self.close()
        self._worker = self._launch(self._contender)
        return self.ask("setup")

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def run_profile(
    workload: Workload,
    dataset: Optional[Path],
    contender: Contender,
    launch: Callable[[Contender], Any],
    iterations: int,
    warmup: int,
    timeout_s: float,
    created: str,
    observe: Observer,
) -> ProfileDocument:
    """Profile a workload under one contender. Errors of the worker pass through."""
    profiler = _Profiler(workload, dataset, contender, launch, warmup, timeout_s)
    try:
        observe("start and build", 0, 0)
        environment = profiler.start()["environment"]
        observe("steps", 0, 0)
        parts = profiler.ask("parts", iterations=iterations)
        observe("layers", 0, 0)
        found = profiler.ask("layers", iterations=iterations)
        graph = None
        if contender.mode == "graph":
            _measure_graphs(profiler, found["layers"], observe)
            profiler.start()
            graph = profiler.ask("graph", iterations=iterations)
        profiler.ask("end")
    finally:
        profiler.close()
    return ProfileDocument(
        model=workload.model,
        mode=contender.mode,
        batch_size=workload.batch_size,
        image_size=workload.image_size,
        iterations=iterations,
        created=created,
        machine=describe_machine(),
        environment=environment,
        parts=parts,
        graph=graph,
        **found,
    )


def _measure_graphs(profiler: _Profiler, layers: List[Dict[str, Any]], observe: Observer) -> None:
    """Add each layer's times as a graph; a layer that ends its worker twice stays without."""
    number = failures = restarts = 0
    while number < len(layers):
        observe("layers as graphs", number, len(layers))
        try:
            layers[number].update(profiler.ask("layer_graph", number=number))
        except WorkerError:
            restarts += 1
            if restarts > MAX_RESTARTS:
                raise
            failures += 1
            profiler.start()
            profiler.ask("layers", iterations=1)
            if failures < MAX_FAILURES:
                continue
        number += 1
        failures = 0
