"""A worker process: builds one contender and does what the controller says, turn by turn.

`process.create_worker_command` starts it. `protocol.py` says how it is asked and how it answers.
"""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path
from typing import Any, Dict, Optional

from ..config import SYNTHETIC_DATA, Contender, Workload
from ..errors import InputError
from ..record.machine import RECORDED_VARIABLES, read_peak_rss_bytes
from ..training.counters import Counters
from ..training.feeds import BatchDigests
from ..training.identity import ALONE, read_identity
from ..training.job import score_batches
from .protocol import main


class Session:
    """The state of one worker between requests."""

    def __init__(self) -> None:
        self._workload: Workload
        self._steps_per_epoch = 0
        self._step = 0
        self._job: Any = None
        self._mode: Any = None
        self._dataset: Any = None
        self._digests: Any = None
        self._identity = ALONE

    def setup(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Import OneFlow, build and compile; every part timed apart."""
        return {**self.prepare(request), **self.compile(request)}

    def prepare(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Import OneFlow and build, which several workers may do at once."""
        self._counters = Counters()  # before OneFlow starts the threads it counts
        self._identity = read_identity(os.environ)
        self._workload = Workload.model_validate(request["workload"])
        contender = Contender.model_validate(request["contender"])
        self._steps_per_epoch = int(request["steps_per_epoch"])
        start = time.perf_counter()
        import oneflow as flow

        imported = time.perf_counter()
        from ...data import load_dataset
        from ..distributed.sharing import describe_sharing
        from ..record.checkpoint import digest_state
        from ..training import job as workload
        from ..training import modes

        check_device(contender.device, flow.cuda.is_available())
        folder = request.get("dataset")
        sharing = describe_sharing(contender, self._identity, self._workload, self._steps_per_epoch)
        self._dataset = load_dataset(Path(folder)) if folder else None
        self._job = workload.create_job(
            self._workload,
            self._dataset,
            self._steps_per_epoch,
            contender.device,
            contender.dtype,
            self._identity,
            contender.accumulation_steps,
        )
        if request.get("initial_weights"):
            workload.load_weights(self._job.model, request["initial_weights"], "initial weights")
        initial = digest_state(workload.copy_state(self._job.model))
        self._mode = modes.create_mode(
            contender.mode,
            self._job,
            self._workload.image_size,
            self._workload.feed,
            contender.graph_options,
            sharing,
        )
        self._digests = self._create_digests()
        if self._workload.resume:
            self._resume(Path(self._workload.resume))
        built = time.perf_counter()
        return {
            "import_s": imported - start,
            "build_s": built - imported,
            "initial_digest": initial,
            "num_params": sum(p.numel() for p in self._job.model.parameters()),
            "module_kinds": workload.list_module_kinds(self._job.model),
            "first_step": self._step,
            "dropped": self._job.dropped,
            "teacher_digest": self._digest_teacher(),
            "environment": describe_environment(flow),
        }

    def compile(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Compile the graphs, on this worker's turn alone: these seconds are reported."""
        return {
            "compile_train_s": self._mode.compile_train(),
            "compile_eval_s": self._mode.compile_eval(),
            "graph_ops": self._mode.graph_ops,
        }

    def _resume(self, path: Path) -> None:
        """Optimizer, schedule and feeds as they were; the weights were loaded with the job."""
        from ..record.checkpoint import load_training_state

        stored = load_training_state(path)
        self._mode.restore_optimizer(stored.optimizer, stored.step)
        self._step = stored.step
        self._job.train_feed.skip(stored.step)
        self._job.eval_feed.skip(stored.epoch * self._job.eval_feed.steps_per_pass)

    def _create_digests(self) -> BatchDigests:
        preloaded = self._workload.feed == "memory" or self._workload.data == SYNTHETIC_DATA
        return BatchDigests(len(self._job.train_feed.reader_samples), preloaded)

    def _digest_teacher(self) -> Optional[str]:
        from ..record.checkpoint import digest_state
        from ..training import job as workload

        teacher = self._job.teacher
        return None if teacher is None else digest_state(workload.copy_state(teacher))

    def train(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Time a block of train steps; losses and digests are fetched after the clock stopped."""
        from ..plan.lr_schedule import learning_rate
        from ..training import clock as timing
        from ..training.tensors import gather

        steps = int(request["steps"])
        timed = timing.measure_block(self._mode.train_step, steps)
        first = self._step
        self._step += steps
        losses = [float(gather(loss).mean()) for loss, _, _ in timed.outputs]
        images = [batch for _, _, batch in timed.outputs]
        return {
            "duration_s": timed.duration_s,
            "cpu_s": timed.cpu_s,
            "first_step": first,
            "losses": [loss if math.isfinite(loss) else None for loss in losses],
            "lr": [
                learning_rate(self._workload, self._steps_per_epoch, step)
                for step in range(first, self._step)
            ],
            "labels_digest": self._digests.digest([labels for _, labels, _ in timed.outputs]),
            "images_digest": None if images[0] is None else self._digests.digest(images),
        }

    def measure(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Time a block of train steps for the speed verdict: no losses, no digests."""
        from ..training.clock import measure_speed_block

        steps, lead_steps = int(request["steps"]), int(request["lead_steps"])
        self._step += lead_steps + steps
        return measure_speed_block(self._timed_step, steps, lead_steps, self._counters)

    def _timed_step(self) -> Any:
        return self._mode.train_step()

    def probe(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """What measuring itself costs, what the loader alone takes, and what cannot be read."""
        from ..training.clock import measure_step_time, measure_synchronization

        return {
            "sync_s": measure_synchronization(),
            "loader_step_time_s": measure_step_time(
                self._job.train_feed.next_batch, int(request["steps"])
            ),
            "peak_rss_bytes": read_peak_rss_bytes(),
            "unreadable": self._counters.describe(),
        }

    def eval(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Time one pass over the validation split; the score counts every sample once."""
        from ..training import clock as timing

        feed = self._job.eval_feed
        timed = timing.measure_block(self._mode.eval_step, feed.steps_per_pass)
        correct, loss = score_batches(
            [(logits.numpy(), labels.numpy()) for logits, labels in timed.outputs],
            feed.reader_samples,
        )
        return {
            "duration_s": timed.duration_s,
            "steps": feed.steps_per_pass,
            "samples": feed.num_samples,
            "correct": correct,
            "loss": loss if math.isfinite(loss) else None,
        }

    def save(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Write the weights to `path`, and with `training` the optimizer's state beside them.

        All ranks gather what is spread over them, and the first writes it.
        """
        from ..record import checkpoint
        from ..training import job as workload

        state = workload.copy_state(self._job.model)
        optimizer = self._mode.capture_optimizer() if request.get("training") else None
        if self._identity.rank == 0:
            path = Path(request["path"])
            checkpoint.save_weights(state, path, self._describe_weights())
            if optimizer is not None:
                training = checkpoint.TrainingState(
                    optimizer=optimizer,
                    step=self._step,
                    epoch=int(request["epoch"]),
                    workload=self._workload.model_dump(),
                    steps_per_epoch=self._steps_per_epoch,
                )
                checkpoint.save_training_state(training, path)
        return {"digest": checkpoint.digest_state(state)}

    def _describe_weights(self) -> Dict[str, Any]:
        """What is needed to use the weights: the model, and the pictures' classes and scale."""
        work = self._workload
        about: Dict[str, Any] = {
            "model": work.model,
            "model_args": work.model_args,
            "num_classes": work.num_classes,
            "image_size": work.image_size,
        }
        if self._dataset is not None:
            about["classes"] = list(self._dataset.classes)
            about["mean"], about["std"] = list(self._dataset.mean), list(self._dataset.std)
            about["random_crop"] = self._dataset.random_crop
        return about

    def end(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {
            "peak_rss_bytes": read_peak_rss_bytes(),
            "teacher_digest": None if self._job is None else self._digest_teacher(),
        }


def check_device(device: str, cuda_available: bool) -> None:
    """Raise InputError for a device that this OneFlow cannot use."""
    if device == "cuda" and not cuda_available:
        raise InputError(
            "--device cuda was given and OneFlow finds no usable GPU on this machine; "
            "use --device cpu, or check the driver with nvidia-smi"
        )


def describe_environment(flow: Any) -> Dict[str, Any]:
    """What this worker runs on: versions and the variables that steer the runtime."""
    import numpy as np

    return {
        "oneflow": flow.__version__,
        "oneflow_commit": getattr(flow, "__git_commit__", None),
        "numpy": np.__version__,
        "python": sys.version.split()[0],
        "variables": {
            k: v for k, v in sorted(os.environ.items()) if k.startswith(RECORDED_VARIABLES)
        },
    }


if __name__ == "__main__":
    main(Session())
