"""A worker that takes one side of a parity check: every level observed, values only where wanted.

Started like any worker (`bench/worker.py`). Its turns, in order: `start`, `eval_forward`,
`first_step`, `train`, `resume`, `validate`, `end`. Each answers with the entries of its levels.
`record` and `run_alone` come after `start` in a worker that is there for one layer.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Dict, Optional

from ..config import Contender, Workload
from ..record.machine import read_peak_rss_bytes
from ..training.job import score_batches
from ..worker.protocol import main
from ..worker.session import check_device, describe_environment
from . import result as levels
from .tensors import Observer
from .witness import move_clip_norm, move_learning_rate, move_weights


class ParitySession:
    """The state of one side between requests."""

    def __init__(self) -> None:
        self._workload: Workload
        self._contender: Contender
        self._observer: Observer
        self._folder: Path
        self._witness: Optional[int] = None
        self._steps_per_epoch = 0
        self._dataset: Any = None
        self._collector: Any = None
        self._job: Any = None
        self._mode: Any = None
        self._checkpoint: Any = None

    def start(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Import OneFlow, build the job, note its weights.

        `wanted` (level -> names) says of which tensors the values are written to `folder`;
        `witness` is the seed of a witness (see `witness.py`).
        """
        self._workload = Workload.model_validate(request["workload"])
        self._contender = Contender.model_validate(request["contender"])
        self._steps_per_epoch = int(request["steps_per_epoch"])
        self._observer = Observer(request.get("wanted"))
        self._folder = Path(request["folder"])
        import oneflow as flow

        from ...data import load_dataset
        from .collection import Collector

        check_device(self._contender.device, flow.cuda.is_available())
        folder = request.get("dataset")
        self._dataset = load_dataset(Path(folder)) if folder else None
        self._collector = Collector(
            self._observer, self._contender.mode, self._contender.graph_options
        )
        self._witness = request.get("witness")
        if self._witness is not None:
            self._workload = move_learning_rate(self._workload, self._witness)
        # the step that is looked into is not split; how a split one trains is seen when resumed
        self._job = self._prepare(self._workload.model_copy(update={"accumulation_steps": 1}))
        if self._witness is not None:
            move_weights(self._job.model, self._witness)
        self._collector.note_initial(self._job)
        return self._answer(environment=describe_environment(flow))

    def _prepare(self, workload: Workload) -> Any:
        job = self.create_job(workload)
        if self._witness is not None:
            move_clip_norm(job.optimizer, self._witness)
        return job

    def create_job(self, workload: Workload) -> Any:
        """The job that is observed; a study of planted faults overrides this."""
        from ..training import job as jobs

        contender = self._contender
        return jobs.create_job(
            workload, self._dataset, self._steps_per_epoch, contender.device, contender.dtype
        )

    def eval_forward(self, request: Dict[str, Any]) -> Dict[str, Any]:
        self._collector.note_eval_forward(self._job)
        return self._answer()

    def first_step(self, request: Dict[str, Any]) -> Dict[str, Any]:
        self._collector.note_first_step(self._job)
        return self._answer()

    def train(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """The steps up to `steps`; what a checkpoint would hold is kept at `checkpoint_step`."""
        from .collection import finite_losses

        self._checkpoint = self._collector.note_training(
            self._job, int(request["steps"]), int(request["checkpoint_step"])
        )
        self._job = None  # one large model at a time is enough
        return self._answer(losses=finite_losses(self._collector.losses))

    def resume(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """A fresh job goes on from the checkpoint to `steps`, as `bench eager|graph` run it."""
        from ..training.modes import ModeSetting, create_mode
        from .collection import finite_losses, mean_loss

        steps, done = int(request["steps"]), int(request["checkpoint_step"])
        weights, optimizer = self._checkpoint
        self._job = self._prepare(self._workload)
        load_state(self._job.model, weights)
        setting = ModeSetting(self._workload, self._contender, self._steps_per_epoch)
        self._mode = create_mode(self._job, setting)
        self.restore_optimizer(optimizer, done)
        self._job.train_feed.skip(done)
        compile_s = self._mode.compile_train()
        losses = []
        for step in range(done + 1, steps + 1):
            loss, labels, images = self._mode.train_step()
            self._collector.note_batch(f"resumed step {step}", images, labels)
            losses.append(mean_loss(loss))
        whole_run = self._collector.losses[:done] + losses
        self._collector.note_losses(levels.RESUMED, whole_run, done + 1)
        self._collector.note_state(levels.RESUMED, self._job.model, self._mode.capture_optimizer())
        return self._answer(
            losses=finite_losses(losses),
            compile_s=compile_s,
            graph_ops=self._mode.graph_ops,
            op_names=self._mode.list_op_names(),
        )

    def restore_optimizer(self, optimizer: Dict[str, Any], step: int) -> None:
        """Give the resumed mode its optimizer's tensors; a study may lose them."""
        self._mode.restore_optimizer(optimizer, step)

    def validate(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """One validation pass of what was trained; the score counts every sample once."""
        import numpy as np

        from ..record.checkpoint import digest_state
        from ..training.job import copy_state

        feed = self._job.eval_feed
        self._mode.compile_eval()
        batches = []
        for number in range(1, feed.steps_per_pass + 1):
            logits, labels = (np.array(tensor.numpy()) for tensor in self._mode.eval_step())
            self._collector.note_logits(number, logits, labels)
            batches.append((logits, labels))
        correct, loss = score_batches(batches, feed.reader_samples)
        return self._answer(
            accuracy=correct / feed.num_samples,
            validation_loss=loss if math.isfinite(loss) else None,
            parameters_digest=digest_state(copy_state(self._job.model)),
            peak_rss_bytes=read_peak_rss_bytes(),
        )

    def record(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Keep what the module `name` is given in the first pass, in `path`; only after `start`."""
        from .recording import record_module

        try:
            recording = record_module(self._job, request["name"], bool(request["training"]))
        except ValueError as error:
            return {"refused": str(error)}
        return {"refused": None, **recording.save(Path(request["path"]))}

    def run_alone(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Run the module `name` alone on a recording; writes its tensors to `output`."""
        import numpy as np

        from .recording import run_recorded

        contender = self._contender
        try:
            tensors = run_recorded(
                self._job,
                request["name"],
                Path(request["path"]),
                bool(request["training"]),
                contender.mode,
                contender.dtype,
            )
        except ValueError as error:
            return {"refused": str(error)}
        np.savez(request["output"], **tensors)
        return {"refused": None}

    def end(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {}

    def _answer(self, **facts: Optional[Any]) -> Dict[str, Any]:
        self._observer.write(self._folder)
        return {"entries": self._observer.take(), **facts}


def load_state(model: Any, state: Dict[str, Any]) -> None:
    """Give a model its parameters and buffers, in their own type."""
    import oneflow as flow

    model.load_state_dict({name: flow.tensor(value) for name, value in state.items()})


if __name__ == "__main__":
    main(ParitySession())
