"""A worker that runs the forward of one mode turn by turn: on pictures, or of a `TrainingStep`.

Pictures come as one .npy file, float32 (N, 3, S, S), preprocessed by the controller, so that both
modes see the same numbers.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Tuple

from pydantic import BaseModel

from ...config import Contender, Workload
from ...errors import InputError
from ...worker.messages import Request
from ...worker.protocol import explained_refusal, main, schedule_as_batch
from ...worker.session import check_device

if TYPE_CHECKING:
    pass


class Setup(Request):
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


class StepSetup(Request):
    """The request `setup_step`. Without `batch_sizes` the batch is as the step gives it."""

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
    """The answer to `setup_step`."""

    batches: List[PreparedBatch]


class PassesRequest(Request):
    """`passes` forward passes of the batch `number`, each synchronised."""

    number: int
    passes: int = 1


class OutputsRequest(Request):
    """Write the outputs of the batch `number` to `path` as .npz."""

    number: int
    path: str


class InferenceSession:
    """Each batch size has its own forward: a graph takes no other.

    `setup` and `classify` are of pictures, `setup_step` and `predict` of a `TrainingStep`.
    """

    _run_unresized: Callable[[], None]

    def __init__(self) -> None:
        self._runs: List[Callable[[], Any]] = []  # of each batch size, as are
        self._layouts: List[str] = []
        self._resized: List[List[str]] = []

    def setup(self, request: Setup) -> SetupTimes:
        workload, contender = request.workload, request.contender
        start = time.perf_counter()
        import numpy as np
        import oneflow as flow

        imported = time.perf_counter()
        from ...training.clock import synchronize
        from ...training.job import load_weights
        from ...training.modes import create_forward
        from ...training.steps.image import create_student

        check_device(contender.device, flow.cuda.is_available())
        model = create_student(workload)
        synchronize()  # initialisation runs on behind the call
        built = time.perf_counter()
        assert workload.load_checkpoint is not None
        load_weights(
            model, workload.load_checkpoint, "--load-checkpoint", trust=workload.trust_checkpoint
        )
        model = model.to(contender.device)
        synchronize()
        loaded = time.perf_counter()
        images = np.load(request.images, allow_pickle=False)
        batches = [
            flow.tensor(batch, device=contender.device)
            for batch in split_padded(images, workload.batch_size)
        ]
        self._name, self._mode = workload.model, contender.mode
        self._layouts, self._resized = [f"images {tuple(batches[0].shape)}"], [[]]
        with self._explain(0):
            forward, compile_s = create_forward(
                contender.mode, model, batches[0], contender.graph_options
            )
        self._count, self._batches, self._forward = len(images), batches, forward
        self._runs = [lambda: forward(batches[0])]
        return SetupTimes(
            import_s=imported - start,
            init_s=built - imported,
            load_s=loaded - built,
            compile_s=compile_s,
        )

    def classify(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Write the logits (N, K) of all pictures to `path` as .npy."""
        import numpy as np

        logits = [np.array(self._forward(batch).numpy()) for batch in self._batches]
        np.save(request["path"], np.concatenate(logits)[: self._count], allow_pickle=False)
        return {}

    def setup_step(self, request: StepSetup) -> PreparedBatches:
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
        found: List[PreparedBatch] = []
        sizes: List[Optional[int]] = [*request.batch_sizes] or [None]

        def prepare(batch: Any) -> Tuple[Callable[[], Any], float]:
            tensors, rebuild = flatten(batch)
            # a bound method would be bound to the graph's stand-in for the module
            predictor = Predictor(model, lambda *given: step.predict(*given), rebuild)
            mode, options = contender.mode, contender.graph_options
            forward, compile_s = create_forward(mode, predictor, tuple(tensors), options)
            return lambda: forward(*tensors), compile_s

        self._run_unresized = lambda: prepare(step.create_batch(contender.device, None)[0])[0]()
        for size in sizes:
            batch, rows, resized = step.create_batch(contender.device, size)
            step.check_call(model, batch)
            self._resized.append(resized)
            self._layouts.append(describe_layout(read_layout(batch)))
            with self._explain(len(found)):
                run, compile_s = prepare(batch)
            self._runs.append(run)
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

        with self._explain(request.number):
            blocks = [measure_block(self._runs[request.number], 1) for _ in range(request.passes)]
        return {"durations_s": [block.duration_s for block in blocks]}

    def predict(self, request: OutputsRequest) -> Dict[str, Any]:
        """The outputs, named by their place."""
        import numpy as np

        from ...training.hooks import list_tensors

        with self._explain(request.number):
            outputs = self._runs[request.number]()
        np.savez(
            request.path,
            **{f"output{place}": tensor.numpy() for place, tensor in list_tensors(outputs)},
        )
        return {}


def split_padded(images: Any, batch_size: int) -> List[Any]:
    """Batches of one size: a graph takes no other. The last one is filled with its last picture."""
    import numpy as np

    batches = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
    filling = np.repeat(images[-1:], batch_size - len(batches[-1]), axis=0)
    return [*batches[:-1], np.concatenate([batches[-1], filling])]


if __name__ == "__main__":
    main(InferenceSession(), prepare=schedule_as_batch)
