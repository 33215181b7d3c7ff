"""A worker that takes one side of a parity check: it observes levels and writes wanted values.

It is started like any worker (`bench/worker/session.py`). Its turns, in order: `start`,
`eval_forward`, `first_step`, `train`, `resume`, `validate`, `end`. Each answers with the entries of
its levels and with facts of `SideFacts`. A worker that serves one layer takes `record` and
`run_isolated` after `start`.
"""

from __future__ import annotations

import math
from typing import Any, Dict, Optional

import numpy as np
import oneflow as flow

from ...data import load_dataset
from ..config import Workload
from ..record.checkpoint import digest_state
from ..record.machine import read_peak_rss_bytes
from ..training import job as jobs
from ..training.job import copy_state, score_batches
from ..training.modes import ModeSetting, create_mode
from ..worker.protocol import main
from ..worker.session import check_device, describe_environment
from . import result as levels
from .difference import move_clip_norm, move_learning_rate, move_weights
from .isolated_layer import find_module, record_layer, run_isolated
from .observe import Collector, mean_loss
from .reproduction import LayerCall
from .tensors import LayerRequest, Observer, SideRequest


class ParitySession:
    """The state of one side between requests."""

    def __init__(self) -> None:
        self._side: SideRequest
        self._workload: Workload
        self._observer: Observer
        self._dataset: Any = None
        self._collector: Any = None
        self._job: Any = None
        self._mode: Any = None
        self._checkpoint: Any = None

    def start(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Build the job and note its weights. The request is a `SideRequest`."""
        self._side = side = SideRequest.model_validate(request)
        self._workload = side.workload
        self._observer = Observer(side.wanted)
        check_device(side.contender.device, flow.cuda.is_available())
        self._dataset = load_dataset(side.dataset) if side.dataset else None
        self._collector = Collector(
            self._observer, side.contender.mode, side.contender.graph_options
        )
        if side.perturbation_seed is not None:
            self._workload = move_learning_rate(self._workload, side.perturbation_seed)
        # the observed step is not split into parts; the resumed run is
        self._job = self._prepare(self._workload.model_copy(update={"accumulation_steps": 1}))
        if side.perturbation_seed is not None:
            move_weights(self._job.model, side.perturbation_seed)
        self._collector.note_initial(self._job)
        return self._answer(environment=describe_environment(flow))

    def _prepare(self, workload: Workload) -> Any:
        job = self.create_job(workload)
        if self._side.perturbation_seed is not None:
            move_clip_norm(job.optimizer, self._side.perturbation_seed)
        return job

    def create_job(self, workload: Workload) -> Any:
        """The job that is observed; a study of planted faults overrides this."""
        contender = self._side.contender
        return jobs.create_job(
            workload, self._dataset, self._side.steps_per_epoch, contender.device, contender.dtype
        )

    def eval_forward(self, request: Dict[str, Any]) -> Dict[str, Any]:
        self._collector.note_eval_forward(self._job)
        return self._answer()

    def first_step(self, request: Dict[str, Any]) -> Dict[str, Any]:
        self._collector.note_first_step(self._job)
        return self._answer()

    def train(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Take all steps, and keep the content of a checkpoint on the way."""
        side = self._side
        self._checkpoint = self._collector.note_training(
            self._job, side.steps, side.checkpoint_step
        )
        self._job = None  # one large model at a time is enough
        return self._answer(losses=[finite(loss) for loss in self._collector.losses])

    def resume(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """A fresh job resumes from the checkpoint and runs as `bench eager|graph` run it."""
        side, done = self._side, self._side.checkpoint_step
        weights, optimizer = self._checkpoint
        self._job = self._prepare(self._workload)
        load_state(self._job.model, weights)
        setting = ModeSetting(self._workload, side.contender, side.steps_per_epoch)
        self._mode = create_mode(self._job, setting)
        self.restore_optimizer(optimizer, done)
        self._job.train_feed.skip(done)
        compile_s = self._mode.compile_train()
        losses = []
        for step in range(done + 1, side.steps + 1):
            loss, labels, images = self._mode.train_step()
            self._collector.note_batch(f"resumed step {step}", images, labels)
            losses.append(mean_loss(loss))
        whole_run = self._collector.losses[:done] + losses
        self._collector.note_losses(levels.RESUMED, whole_run, done + 1)
        self._collector.note_state(levels.RESUMED, self._job.model, self._mode.capture_optimizer())
        return self._answer(
            resumed_losses=[finite(loss) for loss in losses],
            compile_s=compile_s if self._mode.graph_ops else None,
            graph_ops=self._mode.graph_ops,
            op_names=self._mode.list_op_names(),
        )

    def restore_optimizer(self, optimizer: Dict[str, Any], step: int) -> None:
        """Give the resumed mode its optimizer's tensors; a study may lose them."""
        self._mode.restore_optimizer(optimizer, step)

    def validate(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """One validation pass of the trained model; the score counts every sample once."""
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
            validation_loss=finite(loss),
            parameters_digest=digest_state(copy_state(self._job.model)),
            peak_rss_bytes=read_peak_rss_bytes(),
        )

    def record(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Record the call of a layer in the first pass. The request is a `LayerRequest`."""
        layer = LayerRequest.model_validate(request)
        try:
            call = record_layer(self._job, layer.name, layer.training)
        except ValueError as error:
            return {"refused": str(error)}
        call.save(layer.path)
        return {"refused": None, "kind": call.kind, "constructor": call.constructor,
                "training": call.training}  # fmt: skip

    def run_isolated(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Run a layer in isolation on its recorded call. The request is a `LayerRequest`."""
        layer = LayerRequest.model_validate(request)
        if not layer.path.is_file():  # `record` refused it
            return {"refused": f"{layer.name} was not recorded"}
        call = LayerCall.load(layer.path, training=layer.training)
        module, _ = find_module(self._job, layer.name)
        contender = self._side.contender
        try:
            run = run_isolated(
                module, call.inputs, call.output_gradient, call.training, contender.mode,
                state=call.state, dtype=contender.dtype,
            )  # fmt: skip
        except ValueError as error:
            return {"refused": str(error)}
        np.savez(layer.output, **run.tensors())
        return {"refused": None}

    def end(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {}

    def _answer(self, **facts: Optional[Any]) -> Dict[str, Any]:
        self._observer.write(self._side.folder)
        return {"entries": [e.model_dump() for e in self._observer.take()], **facts}


def finite(value: Any) -> Optional[float]:
    """As a plain number, None if not finite."""
    return float(value) if math.isfinite(value) else None


def load_state(model: Any, state: Dict[str, Any]) -> None:
    """Give a model its parameters and buffers, in their own type."""
    model.load_state_dict({name: flow.tensor(value) for name, value in state.items()})


if __name__ == "__main__":
    main(ParitySession())
