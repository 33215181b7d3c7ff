"""A worker that predicts with a `TrainingStep` in one mode, at one or more batch sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional

from pydantic import BaseModel

from ...config import Contender, Workload
from ...worker.messages import Request
from ...worker.protocol import explained_refusal, main, schedule_as_batch
from ...worker.session import check_device

if TYPE_CHECKING:
    from ...training.modes import Forward


class StepSetup(Request):
    """The request `setup`. Without `batch_sizes` the batch is as the step gives it."""

    workload: Workload
    contender: Contender
    batch_sizes: List[int] = []


class PreparedBatch(BaseModel):
    """A batch size that is ready: its inputs in words, and the seconds that compiling took."""

    batch_size: int
    inputs: str
    compile_s: float


class PreparedBatches(BaseModel):
    """The answer to `setup`."""

    batches: List[PreparedBatch]


class PassesRequest(Request):
    """`passes` forward passes of the batch `number`, each synchronised."""

    number: int
    passes: int = 1


class OutputsRequest(Request):
    """Write the outputs of the batch `number` to `path` as .npz."""

    number: int
    path: str


class StepInferenceSession:
    """Each batch size has its own forward: a graph takes no other."""

    def setup(self, request: StepSetup) -> PreparedBatches:
        import oneflow as flow

        from ...training.job import load_weights
        from ...training.modes import create_forward
        from ...training.nest import flatten
        from ...training.steps.batches import describe_layout, read_layout
        from ...training.steps.own import OwnStep, Predictor

        work, contender = request.workload, request.contender
        check_device(contender.device, flow.cuda.is_available())
        flow.manual_seed(work.seed)
        step = OwnStep(work)
        model = step.create_model()
        if work.load_checkpoint:
            load_weights(
                model, work.load_checkpoint, "--load-checkpoint", trust=work.trust_checkpoint
            )
        model = model.to(contender.device)
        self._name, self._mode = work.model, contender.mode
        self._forwards: List[Forward] = []
        self._inputs: List[Any] = []
        self._layouts: List[str] = []
        found: List[PreparedBatch] = []
        sizes: List[Optional[int]] = [*request.batch_sizes] or [None]
        for size in sizes:
            batch, rows = step.create_batch(contender.device, size)
            step.check_call(model, batch)
            tensors, rebuild = flatten(batch)
            self._layouts.append(describe_layout(read_layout(batch)))
            # a bound method would be bound to the graph's stand-in for the module
            predictor = Predictor(model, lambda *given: step.predict(*given), rebuild)
            with self._explain(len(found)):
                forward, compile_s = create_forward(
                    contender.mode, predictor, tuple(tensors), contender.graph_options
                )
            self._forwards.append(forward)
            self._inputs.append(tensors)
            found.append(
                PreparedBatch(batch_size=rows, inputs=self._layouts[-1], compile_s=compile_s)
            )
        return PreparedBatches(batches=found)

    def _explain(self, number: int) -> Any:
        return explained_refusal(self._name, self._mode, lambda: self._layouts[number])

    def time(self, request: PassesRequest) -> Dict[str, Any]:
        """Seconds of each pass."""
        from ...training.clock import measure_block

        forward, inputs = self._forwards[request.number], self._inputs[request.number]
        with self._explain(request.number):
            blocks = [measure_block(lambda: forward(*inputs), 1) for _ in range(request.passes)]
        return {"durations_s": [block.duration_s for block in blocks]}

    def predict(self, request: OutputsRequest) -> Dict[str, Any]:
        """The outputs, named by their place."""
        import numpy as np

        from ...training.hooks import list_tensors

        with self._explain(request.number):
            outputs = self._forwards[request.number](*self._inputs[request.number])
        np.savez(
            request.path,
            **{f"output{place}": tensor.numpy() for place, tensor in list_tensors(outputs)},
        )
        return {}


if __name__ == "__main__":
    main(StepInferenceSession(), prepare=schedule_as_batch)
