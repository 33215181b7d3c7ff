"""A worker process: builds one contender and takes its turns.

`process.create_worker_command` starts it, `protocol.py` serves it, and `messages.py` has its
requests. OneFlow is imported by `prepare`, which times the import.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ContextManager, Dict, List, Optional

from ..config import SYNTHETIC_DATA, Workload
from ..errors import InputError
from ..record.events import (
    Compiled,
    Ended,
    Prepared,
    Probed,
    TimedBlock,
    TrainedBlock,
    Validated,
    finite_or_none,
)
from ..record.machine import RECORDED_VARIABLES, digest_code, read_peak_rss_bytes
from ..training.counters import Counters
from ..training.identity import ALONE, read_identity
from .blas import read_loaded_blas
from .messages import (
    EvalRequest,
    MeasureRequest,
    PrepareRequest,
    Request,
    Saved,
    SaveRequest,
    Setup,
    StepsRequest,
)
from .protocol import explained_refusal, main

if TYPE_CHECKING:
    from ...data import DatasetInfo
    from ..training.feeds import BatchDigests
    from ..training.job import Job
    from ..training.modes import Mode


class Session:
    """The state of one worker between requests."""

    def __init__(self) -> None:
        self._workload: Workload
        self._name: str  # of the mode
        self._steps_per_epoch = 0
        self._step = 0
        self._job: Job
        self._mode: Mode
        self._digests: BatchDigests
        self._dataset: Optional[DatasetInfo] = None
        self._identity = ALONE

    def setup(self, request: PrepareRequest) -> Setup:
        """Import OneFlow, build and compile; every part timed apart."""
        return Setup(**dict(self.prepare(request)), **dict(self.compile(Request())))

    def prepare(self, request: PrepareRequest) -> Prepared:
        """Import OneFlow and build, which several workers may do at once."""
        self._counters = Counters()  # before OneFlow starts the threads it counts
        self._identity = read_identity(os.environ)
        self._workload, contender = request.workload, request.contender
        self._name = contender.mode
        self._steps_per_epoch = request.steps_per_epoch
        start = time.perf_counter()
        import oneflow as flow

        imported = time.perf_counter()
        from ...data import load_dataset
        from ..record.checkpoint import digest_state
        from ..training import feeds
        from ..training import job as jobs
        from ..training.modes import ModeSetting, create_mode

        check_device(contender.device, flow.cuda.is_available())
        self._dataset = load_dataset(Path(request.dataset)) if request.dataset else None
        self._job = job = jobs.create_job(
            self._workload,
            self._dataset,
            self._steps_per_epoch,
            contender.device,
            contender.dtype,
            self._identity,
            contender.accumulation_steps,
        )
        if request.initial_weights:
            jobs.load_weights(job.model, request.initial_weights, "initial weights")
        initial = digest_state(jobs.copy_state(job.model))
        setting = ModeSetting(self._workload, contender, self._steps_per_epoch, self._identity)
        self._mode = create_mode(job, setting, request.implementation)
        preloaded = self._workload.feed == "memory" or self._workload.data == SYNTHETIC_DATA
        self._digests = feeds.BatchDigests(len(job.train_feed.reader_samples), preloaded)
        if self._workload.resume:
            self._resume(Path(self._workload.resume))
        return Prepared(
            import_s=imported - start,
            build_s=time.perf_counter() - imported,
            initial_digest=initial,
            num_params=sum(p.numel() for p in job.model.parameters()),
            module_kinds=jobs.list_module_kinds(job.model),
            first_step=self._step,
            dropped=job.dropped,
            teacher_digest=self._digest_teacher(),
            environment={**describe_environment(flow), "code": digest_code(self._workload)},
        )

    def compile(self, request: Request) -> Compiled:
        """Compile the mode, on this worker's turn alone: these seconds are reported."""
        with self._explain_refusal():
            return Compiled(
                compile_train_s=self._mode.compile_train(),
                compile_eval_s=self._mode.compile_eval(),
                graph_ops=self._mode.graph_ops,
            )

    def _explain_refusal(self) -> ContextManager[None]:
        return explained_refusal(self._workload.model, self._name, self._job.describe_batch)

    def _resume(self, path: Path) -> None:
        """Optimizer, schedule and feeds as they were; the weights were loaded with the job."""
        from ..record.checkpoint import load_training_state

        stored = load_training_state(path)
        self._mode.restore_optimizer(stored.optimizer, stored.step)
        self._step = stored.step
        self._job.train_feed.skip(stored.step)
        self._job.eval_feed.skip(stored.epoch * self._job.eval_feed.steps_per_pass)

    def _digest_teacher(self) -> Optional[str]:
        from ..record.checkpoint import digest_state
        from ..training.job import copy_state

        teacher = self._job.teacher
        return None if teacher is None else digest_state(copy_state(teacher))

    def train(self, request: StepsRequest) -> TrainedBlock:
        """Time a block of train steps; losses and digests are fetched after the clock stopped."""
        from ..training.clock import measure_block
        from ..training.oneflow_compat import gather
        from ..training.optimizers import read_rates

        job = self._job
        with self._explain_refusal():
            timed = measure_block(self._mode.train_step, request.steps)
        job.refuse_late_parameters()
        first = self._step
        self._step += request.steps
        losses = [float(gather(loss).mean()) for loss, _, _ in timed.outputs]
        inputs = [batch for _, _, batch in timed.outputs]
        return TrainedBlock(
            duration_s=timed.duration_s,
            cpu_s=timed.cpu_s,
            first_step=first,
            losses=[finite_or_none(loss) for loss in losses],
            lr=read_rates(job.optimizer, job.scheduler, range(first, self._step)),
            labels_digest=self._digest([labels for _, labels, _ in timed.outputs]),
            images_digest=None if inputs[0] is None else self._digest(inputs),
        )

    def _digest(self, nests: List[Any]) -> str:
        from ..training.nest import flatten

        return self._digests.digest([tensor for nest in nests for tensor in flatten(nest)[0]])

    def measure(self, request: MeasureRequest) -> TimedBlock:
        """Time a block of train steps for the speed verdict: no losses, no digests."""
        from ..training.clock import measure_speed_block

        steps, untimed_steps = request.steps, request.untimed_steps
        self._step += untimed_steps + steps
        used = measure_speed_block(self._timed_step, steps, untimed_steps, self._counters)
        return TimedBlock(**used)

    def _timed_step(self) -> Any:
        return self._mode.train_step()

    def probe(self, request: StepsRequest) -> Probed:
        """Measure a synchronisation and the loader; say which counters cannot be read."""
        from ..training.clock import measure_step_time, measure_synchronization

        return Probed(
            sync_s=measure_synchronization(),
            loader_step_time_s=measure_step_time(self._job.train_feed.next_batch, request.steps),
            peak_rss_bytes=read_peak_rss_bytes(),
            unreadable=self._counters.describe(),
        )

    def eval(self, request: EvalRequest) -> Validated:
        """Time one pass; the score counts every sample once.

        Only a validation runs in the mode. The others run eagerly, with no more samples than it.
        """
        from ..training.clock import measure_block
        from ..training.eager import predict
        from ..training.feeds import create_training_images
        from ..training.nest import map_tensors

        job, step = self._job, self._mode.eval_step
        feed, model = job.eval_feed, job.teacher or job.model
        if request.subject == "train":
            device, most = str(next(job.model.parameters()).device), feed.num_samples
            feed = create_training_images(self._workload, self._dataset, device, most)
            model, feed = job.model, feed.cast(next(job.model.parameters()).dtype)
        if request.subject != "validation":
            step = partial(predict, job, model, feed)
        with self._explain_refusal():
            timed = measure_block(step, feed.steps_per_pass)
        batches = [map_tensors(lambda tensor: tensor.numpy(), one) for one in timed.outputs]
        score = job.score(batches, feed)
        return Validated(
            duration_s=timed.duration_s,
            steps=feed.steps_per_pass,
            samples=feed.num_samples,
            correct=score.correct,
            loss=None if score.loss is None else finite_or_none(score.loss),
            metrics=score.metrics,
        )

    def save(self, request: SaveRequest) -> Saved:
        """Write the weights to `path`, and with `training` the optimizer's state beside them.

        All ranks gather what is spread over them, and the first writes it.
        """
        from ..record import checkpoint
        from ..training.job import copy_state

        state = copy_state(self._job.model)
        optimizer = self._mode.capture_optimizer() if request.training else None
        digest = checkpoint.digest_state(state)
        if self._identity.rank == 0:
            path = Path(request.path)
            checkpoint.save_weights(state, path, self._describe_weights())
            if optimizer is not None:
                training = checkpoint.TrainingState(
                    optimizer=optimizer,
                    step=self._step,
                    epoch=request.epoch,
                    workload=self._workload.model_dump(),
                    steps_per_epoch=self._steps_per_epoch,
                    weights_digest=digest,
                )
                checkpoint.save_training_state(training, path)
        return Saved(digest=digest)

    def _describe_weights(self) -> Dict[str, Any]:
        """What is needed to use the weights: the model, and the pictures' classes and scale."""
        work = self._workload
        names = ("model", "model_args", "num_classes", "image_size")
        about: Dict[str, Any] = {name: getattr(work, name) for name in names}
        if self._dataset is not None:
            about["classes"] = list(self._dataset.classes)
            about["mean"], about["std"] = list(self._dataset.mean), list(self._dataset.std)
            about["random_crop"] = self._dataset.random_crop
            about["multi_label"] = self._dataset.multi_label
        return about

    def end(self, request: Request) -> Ended:
        teacher = self._digest_teacher() if hasattr(self, "_job") else None
        return Ended(peak_rss_bytes=read_peak_rss_bytes(), teacher_digest=teacher)


def check_device(device: str, cuda_available: bool) -> None:
    """Raise InputError for a device that this OneFlow cannot use."""
    if device == "cuda" and not cuda_available:
        raise InputError(
            "--device cuda was given and OneFlow finds no usable GPU on this machine; "
            "use --device cpu, or check the driver with nvidia-smi"
        )


def describe_environment(flow: Any) -> Dict[str, Any]:
    """What this worker runs on: versions, a preloaded BLAS, the variables that steer it."""
    import numpy as np

    return {
        "oneflow": flow.__version__,
        "oneflow_commit": getattr(flow, "__git_commit__", None),
        "numpy": np.__version__,
        "python": sys.version.split()[0],
        "blas": read_loaded_blas(),
        "variables": {
            k: v for k, v in sorted(os.environ.items()) if k.startswith(RECORDED_VARIABLES)
        },
    }


if __name__ == "__main__":
    main(Session())
