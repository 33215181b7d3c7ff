"""A worker that profiles one model in one mode and answers with what `profile.json` holds."""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, List

from ...config import Contender, Workload
from ...worker.protocol import main
from ...worker.session import check_device, describe_environment


class ProfileSession:
    """Builds the job eagerly, and for graph mode a second one that is compiled."""

    def __init__(self) -> None:
        self._job: Any = None
        self._profile: Any = None
        self._workload: Workload
        self._contender: Contender

    def setup(self, request: Dict[str, Any]) -> Dict[str, Any]:
        self._workload = Workload.model_validate(request["workload"])
        self._contender = Contender.model_validate(request["contender"])
        import oneflow as flow

        check_device(self._contender.device, flow.cuda.is_available())
        self._job = self._create_job(request)
        self._request = request
        return {"environment": describe_environment(flow)}

    def _create_job(self, request: Dict[str, Any]) -> Any:
        from pathlib import Path

        from ....data import load_dataset
        from ...training.job import create_job

        dataset = load_dataset(Path(request["dataset"])) if request.get("dataset") else None
        return create_job(self._workload, dataset, 1000, self._contender.device)

    def parts(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Times of whole steps and of their parts, with nothing wrapped."""
        from ...training import clock as timing
        from ...training.eager import STEP_PARTS, EagerMode, measure_step_parts

        mode = EagerMode(self._job)
        for _ in range(int(request["warmup"])):
            mode.train_step()
        iterations = int(request["iterations"])
        steps = [timing.measure_block(mode.train_step, 1).duration_s for _ in range(iterations)]
        parts: Dict[str, List[float]] = {name: [] for name in STEP_PARTS}
        for _ in range(iterations):
            for name, duration in measure_step_parts(self._job).items():
                parts[name].append(duration)
        return {"step_s": steps, **parts}

    def layers(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """The profile of the eager step."""
        from ...training import clock as timing
        from ...training.eager import EagerMode
        from .layers import profile_layers

        mode = EagerMode(self._job)
        steps: List[float] = []
        with profile_layers(self._job.model) as profile:
            for _ in range(int(request["iterations"])):
                steps.append(timing.measure_block(mode.train_step, 1).duration_s)
        self._profile = profile
        layers = [layer.model_dump() for layer in profile.layers]
        return {"layers": layers, "profiled_step_s": steps}

    def layer_graph(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """One layer of the profile compiled alone."""
        forward, both = self._profile.measure_graph(int(request["number"]))
        return {"graph_forward_s": forward, "graph_forward_backward_s": both}

    def graph(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Compile the train step of a fresh job and say what became of it."""
        from ...training import clock as timing
        from ...training.graph import GraphMode

        job, options = self._create_job(self._request), self._contender.graph_options
        mode = GraphMode(job, self._workload.image_size, False, options)
        compile_s = mode.compile_train()
        built, compiled = mode.list_ops()
        for _ in range(int(request["warmup"])):
            mode.train_step()
        return {
            "compile_s": compile_s,
            "ops_built": dict(Counter(built)),
            "ops_compiled": dict(Counter(compiled)),
            "step_s": [
                timing.measure_block(mode.train_step, 1).duration_s
                for _ in range(int(request["iterations"]))
            ],
        }

    def end(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {}


if __name__ == "__main__":
    main(ProfileSession())
