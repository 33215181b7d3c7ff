"""A worker that also says what its step does, measures ceilings, and hands over its start."""

from __future__ import annotations

from typing import Any, Dict, List

from ...worker.protocol import main
from ...worker.session import Session
from .rates import matmul_flops, measure_copy, measure_numpy_matmul, repeat_timed


class LimitsSession(Session):
    """`Session` with calls for the floor, the ceilings and PyTorch's witness."""

    def trace(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """The leaves of a train step with their shapes; only where nothing is compiled later."""
        from .tracing import trace_layers

        images, _ = self._job.train_feed.next_batch()
        layers = trace_layers(self._job.model, images)
        return {"layers": [layer.model_dump() for layer in layers]}

    def measure_numpy(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Products and copies on `threads` threads, without OneFlow in the process."""
        return {
            "matmul": [[size, measure_numpy_matmul(size)] for size in request["sizes"]],
            "copy": [
                [size, measure_copy(size, int(request["threads"]))]
                for size in request["buffer_bytes"]
            ],
        }

    def measure_oneflow(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Products by OneFlow, in the runtime that this process was started in."""
        return {"matmul": [[size, _measure_oneflow_matmul(size)] for size in request["sizes"]]}

    def disable_dropout(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Let dropout drop nothing: its random numbers are another library's elsewhere."""
        from oneflow import nn

        active = [m for m in self._job.model.modules() if isinstance(m, nn.Dropout) and m.p > 0]
        for module in active:
            module.p = 0.0
        return {"layers": len(active)}

    def export(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Write weights and the first `batches` batches as `.npz`; the feed goes on behind them."""
        import numpy as np

        from ...training.job import copy_state

        np.savez(request["weights"], **copy_state(self._job.model))
        batches: Dict[str, Any] = {}
        for number in range(int(request["batches"])):
            images, labels = self._job.train_feed.next_batch()
            batches[f"images_{number}"] = images.numpy()
            batches[f"labels_{number}"] = labels.numpy()
        np.savez(request["inputs"], **batches)
        return {"aux_weights": list(getattr(self._job.model, "aux_weights", ()))}


def _measure_oneflow_matmul(size: int) -> List[float]:
    import oneflow as flow

    from ...training.clock import synchronize

    left, right = flow.randn(size, size), flow.randn(size, size)

    def run() -> None:
        product = flow.matmul(left, right)
        synchronize()
        del product

    synchronize()
    return [matmul_flops(size) / duration for duration in repeat_timed(run)]


if __name__ == "__main__":
    main(LimitsSession())
