"""A worker process: builds one contender and does what the controller says, turn by turn.

Started as `python -m oneflow_bench.worker --reply-fd N`. It reads one JSON request a line from
standard input and writes one JSON answer a line to descriptor N; what OneFlow prints goes to the
log. Without a request it waits, and an idle process uses no processor time. The end of standard
input is the end of the worker, so that it never outlives its controller.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from oneflow_bench.config import SYNTHETIC_DATA, Contender, Workload
from oneflow_bench.counters import Counters
from oneflow_bench.errors import InputError
from oneflow_bench.machine import RECORDED_VARIABLES, read_peak_rss_bytes


class Session:
    """The state of one worker between requests."""

    def __init__(self) -> None:
        self._workload: Workload
        self._steps_per_epoch = 0
        self._step = 0
        self._job: Any = None
        self._mode: Any = None
        self._dataset: Any = None
        self._batch_digests: Dict[int, str] = {}

    def setup(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Import OneFlow, build and compile; every part timed apart."""
        return {**self.prepare(request), **self.compile(request)}

    def prepare(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Import OneFlow and build, which several workers may do at once."""
        self._counters = Counters()  # before OneFlow starts the threads it counts
        self._workload = Workload.model_validate(request["workload"])
        contender = Contender.model_validate(request["contender"])
        self._steps_per_epoch = int(request["steps_per_epoch"])
        start = time.perf_counter()
        import oneflow as flow

        imported = time.perf_counter()
        from oneflow_bench import modes, workload
        from oneflow_bench.checkpoint import digest_state
        from oneflow_bench.data import load_dataset

        check_device(contender.device, flow.cuda.is_available())
        folder = request.get("dataset")
        self._dataset = load_dataset(Path(folder)) if folder else None
        self._job = workload.create_job(
            self._workload,
            self._dataset,
            self._steps_per_epoch,
            contender.device,
            contender.dtype,
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
        )
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
        from oneflow_bench.checkpoint import load_training_state

        stored = load_training_state(path)
        self._mode.restore_optimizer(stored.optimizer, stored.step)
        self._step = stored.step
        self._job.train_feed.skip(stored.step)
        self._job.eval_feed.skip(stored.epoch * self._job.eval_feed.steps_per_pass)

    def _digest_teacher(self) -> Optional[str]:
        from oneflow_bench import workload
        from oneflow_bench.checkpoint import digest_state

        teacher = self._job.teacher
        return None if teacher is None else digest_state(workload.copy_state(teacher))

    def train(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Time a block of train steps; losses and digests are fetched after the clock stopped."""
        from oneflow_bench import timing
        from oneflow_bench.schedule import learning_rate

        steps = int(request["steps"])
        timed = timing.measure_block(self._mode.train_step, steps)
        first = self._step
        self._step += steps
        losses = [float(loss.numpy().mean()) for loss, _, _ in timed.outputs]
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
            "labels_digest": self._digest([labels for _, labels, _ in timed.outputs]),
            "images_digest": None if images[0] is None else self._digest(images),
        }

    def measure(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Time a block of train steps for the speed verdict: no losses, no digests."""
        from oneflow_bench.speed_timing import measure_speed_block

        steps, lead_steps = int(request["steps"]), int(request["lead_steps"])
        self._step += lead_steps + steps
        return measure_speed_block(self._timed_step, steps, lead_steps, self._counters)

    def _timed_step(self) -> Any:
        return self._mode.train_step()

    def probe(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """What measuring itself costs, what the loader alone takes, and what cannot be read."""
        from oneflow_bench.speed_timing import measure_step_time, measure_synchronization

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
        from oneflow_bench import timing

        feed = self._job.eval_feed
        timed = timing.measure_block(self._mode.eval_step, feed.steps_per_pass)
        correct, loss = score_batches(
            [(logits.numpy(), labels.numpy()) for logits, labels in timed.outputs],
            feed.num_samples,
        )
        return {
            "duration_s": timed.duration_s,
            "steps": feed.steps_per_pass,
            "samples": feed.num_samples,
            "correct": correct,
            "loss": loss if math.isfinite(loss) else None,
        }

    def save(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Write the weights to `path`, and with `training` the optimizer's state beside them."""
        from oneflow_bench import checkpoint, workload

        state = workload.copy_state(self._job.model)
        path = Path(request["path"])
        checkpoint.save_weights(state, path, self._describe_weights())
        if request.get("training"):
            training = checkpoint.TrainingState(
                optimizer=self._mode.capture_optimizer(),
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

    def _digest(self, tensors: List[Any]) -> str:
        """sha256 over the tensors' own digests; a preloaded tensor is hashed once."""
        digest = hashlib.sha256()
        preloaded = self._workload.feed == "memory" or self._workload.data == SYNTHETIC_DATA
        for tensor in tensors:
            known = self._batch_digests.get(id(tensor)) if preloaded else None
            if known is None:
                known = hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
                if preloaded:
                    self._batch_digests[id(tensor)] = known
            digest.update(known.encode())
        return digest.hexdigest()


def score_batches(batches: List[Any], num_samples: int) -> Any:
    """(number correct, mean cross entropy) over the first `num_samples` of the pass.

    `batches` are (logits (B, K), labels (B,)). What follows the last sample is the endless
    reader's next pass and does not count. The loss is computed here, in float64, for both modes.
    """
    import numpy as np

    logits = np.concatenate([np.asarray(batch[0], dtype=np.float64) for batch in batches])
    labels = np.concatenate([np.asarray(batch[1]) for batch in batches]).astype(np.int64)
    logits, labels = logits[:num_samples], labels[:num_samples]
    correct = int((logits.argmax(axis=1) == labels).sum())
    top = logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    loss = float((log_sum - logits[np.arange(num_samples), labels]).mean())
    return correct, loss


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


def _known_input_errors() -> Any:
    from oneflow_bench.data import DataError
    from oneflow_bench.models import ModelFactoryError, UnknownModelError

    return InputError, DataError, ModelFactoryError, UnknownModelError


def serve(session: Any, read_line: Callable[[], str], write: Callable[[str], None]) -> None:
    """Answer requests by the session's methods of their names, until `end` or no more input."""
    while True:
        line = read_line()
        if not line:
            return
        request = json.loads(line)
        answer: Dict[str, Any]
        try:
            answer = {"ok": True, **getattr(session, request["call"])(request)}
        except _known_input_errors() as error:
            answer = {"ok": False, "kind": "input", "error": str(error)}
        except Exception as error:
            traceback.print_exc()
            answer = {
                "ok": False,
                "kind": "failure",
                "error": f"{type(error).__name__}: {str(error).strip().splitlines()[-1:] or ''}",
            }
        write(json.dumps(answer) + "\n")
        if request["call"] == "end" or not answer["ok"]:
            return


def main(session: Any, arguments: Optional[List[str]] = None) -> None:
    """Serve `session` on standard input and the descriptor given as --reply-fd."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--reply-fd", type=int, required=True)
    options = parser.parse_args(arguments)
    with os.fdopen(options.reply_fd, "w", encoding="utf-8") as replies:

        def write(text: str) -> None:
            replies.write(text)
            replies.flush()

        serve(session, sys.stdin.readline, write)


if __name__ == "__main__":
    main(Session())
