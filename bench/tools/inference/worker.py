"""A worker that classifies pictures in one mode; it answers the controller turn by turn.

The pictures come as one .npy file, float32 (N, 3, S, S), preprocessed by the controller, so that
both modes see the same numbers.
"""

from __future__ import annotations

import time
from typing import Any, Dict, List

from ...config import Contender, Workload
from ...worker.protocol import main
from ...worker.session import check_device, describe_environment


class InferenceSession:
    """The state of one inference worker between requests."""

    def __init__(self) -> None:
        self._forward: Any = None
        self._batches: List[Any] = []
        self._count = 0

    def setup(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Import, build, load and compile; every part timed apart, in seconds."""
        workload = Workload.model_validate(request["workload"])
        contender = Contender.model_validate(request["contender"])
        start = time.perf_counter()
        import numpy as np
        import oneflow as flow

        imported = time.perf_counter()
        from ...training import clock as timing
        from ...training import modes
        from ...training.job import create_student, load_weights

        check_device(contender.device, flow.cuda.is_available())
        model = create_student(workload)
        timing.synchronize()  # initialisation runs on behind the call
        built = time.perf_counter()
        assert workload.load_checkpoint is not None
        load_weights(
            model, workload.load_checkpoint, "--load-checkpoint", trust=workload.trust_checkpoint
        )
        model = model.to(contender.device)
        timing.synchronize()
        loaded = time.perf_counter()
        images = np.load(request["images"], allow_pickle=False)
        self._count = len(images)
        self._batches = [
            flow.tensor(batch, device=contender.device)
            for batch in split_padded(images, workload.batch_size)
        ]
        self._forward, compile_s = modes.create_forward(
            contender.mode, model, self._batches[0], contender.graph_options
        )
        return {
            "import_s": imported - start,
            "init_s": built - imported,
            "load_s": loaded - built,
            "compile_s": compile_s,
            "environment": describe_environment(flow),
        }

    def time(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Seconds of `iterations` forward passes of the first batch, each synchronised."""
        from ...training import clock as timing

        return {
            "durations_s": [
                timing.measure_block(lambda: self._forward(self._batches[0]), 1).duration_s
                for _ in range(int(request["iterations"]))
            ]
        }

    def predict(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Write the logits (N, K) of all pictures to `path` as .npy."""
        import numpy as np

        logits = [np.array(self._forward(batch).numpy()) for batch in self._batches]
        np.save(request["path"], np.concatenate(logits)[: self._count], allow_pickle=False)
        return {}

    def end(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {}


def split_padded(images: Any, batch_size: int) -> List[Any]:
    """Batches of one size: a graph takes no other. The last one is filled with its last picture."""
    import numpy as np

    batches = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        missing = batch_size - len(batch)
        batches.append(np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]))
    return batches


if __name__ == "__main__":
    main(InferenceSession())
