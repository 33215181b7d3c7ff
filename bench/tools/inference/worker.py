"""A worker that classifies pictures in one mode; it answers the controller turn by turn.

The pictures come as one .npy file, float32 (N, 3, S, S), preprocessed by the controller, so that
both modes see the same numbers.
"""

from __future__ import annotations

import time
from typing import Any, Dict, List

from pydantic import BaseModel

from ...config import Contender, Workload
from ...worker.protocol import main, schedule_as_batch
from ...worker.session import check_device


class Setup(BaseModel):
    """The request `setup`; `images` is the path of the pictures."""

    workload: Workload
    contender: Contender
    images: str


class SetupTimes(BaseModel):
    """Its answer: the seconds of each part."""

    import_s: float
    init_s: float
    load_s: float
    compile_s: float


class InferenceSession:
    def setup(self, request: Setup) -> SetupTimes:
        workload, contender = request.workload, request.contender
        start = time.perf_counter()
        import numpy as np
        import oneflow as flow

        imported = time.perf_counter()
        from ...training import clock, modes
        from ...training.job import load_weights
        from ...training.steps.image import create_student

        check_device(contender.device, flow.cuda.is_available())
        model = create_student(workload)
        clock.synchronize()  # initialisation runs on behind the call
        built = time.perf_counter()
        assert workload.load_checkpoint is not None
        load_weights(
            model, workload.load_checkpoint, "--load-checkpoint", trust=workload.trust_checkpoint
        )
        model = model.to(contender.device)
        clock.synchronize()
        loaded = time.perf_counter()
        images = np.load(request.images, allow_pickle=False)
        self._count, self._clock = len(images), clock
        self._batches = [
            flow.tensor(batch, device=contender.device)
            for batch in split_padded(images, workload.batch_size)
        ]
        self._forward, compile_s = modes.create_forward(
            contender.mode, model, self._batches[0], contender.graph_options
        )
        return SetupTimes(
            import_s=imported - start,
            init_s=built - imported,
            load_s=loaded - built,
            compile_s=compile_s,
        )

    def time(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Seconds of `iterations` forward passes of the first batch, each synchronised."""
        blocks = [
            self._clock.measure_block(lambda: self._forward(self._batches[0]), 1)
            for _ in range(int(request["iterations"]))
        ]
        return {"durations_s": [block.duration_s for block in blocks]}

    def predict(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Write the logits (N, K) of all pictures to `path` as .npy."""
        import numpy as np

        logits = [np.array(self._forward(batch).numpy()) for batch in self._batches]
        np.save(request["path"], np.concatenate(logits)[: self._count], allow_pickle=False)
        return {}


def split_padded(images: Any, batch_size: int) -> List[Any]:
    """Batches of one size: a graph takes no other. The last one is filled with its last picture."""
    import numpy as np

    batches = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
    filling = np.repeat(images[-1:], batch_size - len(batches[-1]), axis=0)
    return [*batches[:-1], np.concatenate([batches[-1], filling])]


if __name__ == "__main__":
    main(InferenceSession(), prepare=schedule_as_batch)
