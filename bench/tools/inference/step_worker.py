"""A worker that predicts with a `TrainingStep` in one mode, at one or more batch sizes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Tuple

from pydantic import BaseModel

from ...config import Contender, Workload
from ...errors import InputError
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
    resized: List[str] = []  # places of the tensors whose rows were repeated or cut
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

    _run_unresized: Callable[[], None]

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
        self._resized: List[List[str]] = []
        self._forwards: List[Forward] = []
        self._inputs: List[Any] = []
        self._layouts: List[str] = []
        found: List[PreparedBatch] = []
        sizes: List[Optional[int]] = [*request.batch_sizes] or [None]

        def prepare(batch: Any) -> Tuple[Forward, float, List[Any]]:
            tensors, rebuild = flatten(batch)
            # a bound method would be bound to the graph's stand-in for the module
            predictor = Predictor(model, lambda *given: step.predict(*given), rebuild)
            mode, options = contender.mode, contender.graph_options
            return (*create_forward(mode, predictor, tuple(tensors), options), tensors)

        def run_unresized() -> None:
            forward, _, tensors = prepare(step.create_batch(contender.device, None)[0])
            forward(*tensors)

        self._run_unresized = run_unresized
        for size in sizes:
            batch, rows, resized = step.create_batch(contender.device, size)
            step.check_call(model, batch)
            self._resized.append(resized)
            self._layouts.append(describe_layout(read_layout(batch)))
            with self._explain(len(found)):
                forward, compile_s, tensors = prepare(batch)
            self._forwards.append(forward)
            self._inputs.append(tensors)
            found.append(
                PreparedBatch(
                    batch_size=rows, inputs=self._layouts[-1], resized=resized, compile_s=compile_s
                )
            )
        return PreparedBatches(batches=found)

    @contextmanager
    def _explain(self, number: int) -> Iterator[None]:
        """Raise InputError for an error of the model's, with the resize where that is its cause."""
        try:
            with explained_refusal(self._name, self._mode, lambda: self._layouts[number]):
                yield
        except InputError as error:
            if not self._resized[number]:
                raise
            try:
                self._run_unresized()
            except Exception:  # so the resize is not the cause
                raise error from None
            raise InputError(
                f"{error}. The batch as it is runs, so the cause is --batch-size, which resized "
                f"{', '.join(self._resized[number])}; make a tensor without rows a buffer of the "
                "module, or leave --batch-size out"
            ) from None

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
