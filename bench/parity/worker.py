"""A worker that takes one side of a parity check: it observes levels and writes wanted values.

It is started like any worker (`bench/worker/session.py`). Its turns, in order: `start`,
`eval_forward`, `first_step`, `train`, `resume`, `validate`, `end`. Each answers with the entries of
its levels and with facts of `SideFacts`. A worker that serves one layer takes `run_isolated` after
`start`. OneFlow is imported by `start`.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, ContextManager, Dict, List, Optional

import numpy as np

from ..config import STEP_DATA, Workload
from ..record.checkpoint import digest_state, load_training_state
from ..record.machine import read_peak_rss_bytes
from ..worker.protocol import explained_refusal, main, schedule_as_batch
from ..worker.session import check_device, describe_environment
from . import result as levels
from .difference import move_clip_norm, move_learning_rate, move_optimizer, move_weights
from .tensors import STEPS, LayerCall, LayerRequest, Observer, SideRequest

if TYPE_CHECKING:
    from ..training.job import Job
    from ..training.modes import Mode
    from ..training.seeded_draws import SeededDraws
    from .observe import Checkpoint, Collector

Answer = Dict[str, Any]


class ParitySession:
    """The state of one side between requests."""

    def __init__(self) -> None:
        self._side: SideRequest
        self._observer: Observer
        self._collector: Collector
        self._job: Job
        self._mode: Mode
        self._checkpoint: Optional[Checkpoint]
        self._draws: Optional[SeededDraws] = None
        self._done = 0  # updates before the first that is observed

    def start(self, request: SideRequest) -> Answer:
        """Build the job and note its weights."""
        import oneflow as flow

        from ...data import load_dataset
        from .observe import Collector

        check_device(request.contender.device, flow.cuda.is_available())
        seed, workload = request.perturbation_seed, request.workload
        if seed is not None and workload.data != STEP_DATA:
            workload = move_learning_rate(workload, seed)
        self._side = request.model_copy(update={"workload": workload})
        self._dataset = load_dataset(request.dataset) if request.dataset else None
        self._observer = Observer(request.wanted)
        contender = request.contender
        self._collector = Collector(self._observer, contender.mode, contender.graph_options)
        if workload.resume:
            stored = load_training_state(Path(workload.resume))
            self._done = self._collector.done = stored.step
            self._collector.resumed = stored.optimizer, stored.step
        # the observed step is not split into parts; the resumed run is
        self._job = self._prepare(workload.model_copy(update={"accumulation_steps": 1}))
        if seed is not None:
            move_weights(self._job.model, seed, request.perturbation_ulps)
        self._job.train_feed.skip(self._done)
        self._collector.note_initial(self._job)
        return self._answer(environment=describe_environment(flow))

    def _prepare(self, workload: Workload) -> Job:
        from ..training.seeded_draws import SeededDraws

        job = self.create_job(workload)
        if self._side.seeded_draws:
            self._draws = self._draws or SeededDraws()  # when the model's modules are imported
            self._draws.restart_with(job.model)
        if self._side.perturbation_seed is not None:
            # a user's own optimizer need not read the workload's rate and betas
            own = workload.data == STEP_DATA or ":" in workload.optimizer
            move = move_optimizer if own else move_clip_norm
            move(job.optimizer, self._side.perturbation_seed)
        return job

    def create_job(self, workload: Workload) -> Job:
        """The job that is observed; a study of planted faults overrides this."""
        from ..training.job import create_job

        steps, contender = self._side.steps_per_epoch, self._side.contender
        return create_job(workload, self._dataset, steps, contender.device, contender.dtype)

    def eval_forward(self, request: Answer) -> Answer:
        with self._explain_refusal():
            self._collector.note_eval_forward(self._job)
        return self._answer()

    def first_step(self, request: Answer) -> Answer:
        with self._explain_refusal():
            self._collector.note_first_step(self._job)
        return self._answer()

    def _explain_refusal(self) -> ContextManager[None]:
        model, contender = self._side.workload.model, self._side.contender
        mode = contender.dtype if contender.dtype == "float64" else contender.mode
        return explained_refusal(model, mode, self._job.describe_batch)

    def train(self, request: Answer) -> Answer:
        """Take all steps, and keep the content of a checkpoint on the way."""
        side = self._side
        self._checkpoint = self._collector.note_training(
            self._job, side.steps, side.checkpoint_step
        )
        del self._job  # one large model at a time is enough
        losses = [finite(loss) for loss in self._collector.losses]
        return self._answer(losses=losses, forward=self._collector.facts.model_dump())

    def resume(self, request: Answer) -> Answer:
        """A fresh job resumes from the checkpoint and runs as `bench eager|graph` run it."""
        from ..training.losses import mean_loss

        side, checkpoint = self._side, self._side.checkpoint_step
        done = self._done + checkpoint
        assert self._checkpoint is not None
        weights, optimizer = self._checkpoint
        self._job = self._prepare(side.workload)
        self._job.evaluate = _pad(self._job.evaluate)
        self._mode = self._create_mode(self._job)
        self._mode.compile_eval()  # before the weights are loaded, as a graph that serves does
        load_state(self._job.model, weights)
        self.restore_optimizer(optimizer, done)
        self._job.train_feed.skip(done)
        compile_s = self._mode.compile_train()
        losses = []
        for step in range(done + 1, self._done + side.steps + 1):
            loss, labels, inputs = self._mode.train_step()
            self._collector.note_batch(f"resumed step {step}", inputs, labels)
            losses.append(mean_loss(loss))
        whole_run = self._collector.losses[:checkpoint] + losses
        self._collector.note_losses(levels.RESUMED, whole_run, checkpoint + 1)
        self._collector.note_state(levels.RESUMED, self._job.model, self._mode.capture_optimizer())
        return self._answer(
            resumed_losses=[finite(loss) for loss in losses],
            compile_s=compile_s if self._mode.graph_ops else None,
            graph_ops=self._mode.graph_ops,
            op_names=self._mode.list_op_names(),
            idle_options=self._list_idle_options(),
        )

    def _create_mode(self, job: Job, without: str = "") -> Mode:
        """The contender's mode, without one of its graph options."""
        from ..training.modes import ModeSetting, create_mode

        side = self._side
        kept = {name: v for name, v in side.contender.graph_options.items() if name != without}
        contender = side.contender.model_copy(update={"graph_options": kept})
        return create_mode(job, ModeSetting(side.workload, contender, side.steps_per_epoch))

    def _list_idle_options(self) -> List[str]:
        """Graph options without which the train graph compiles to the same operators."""

        def list_ops(mode: Mode) -> List[str]:
            return [re.sub(r"\d+", "", name) for name in mode.list_op_names()]  # they are numbered

        idle = []
        for option in self._side.contender.graph_options:
            other = self._create_mode(self._prepare(self._side.workload), option)
            other.compile_train()
            if list_ops(other) == list_ops(self._mode):
                idle.append(option)
        return idle

    def restore_optimizer(self, optimizer: Dict[str, np.ndarray], step: int) -> None:
        """Give the resumed mode its optimizer's tensors; a study may lose them."""
        self._mode.restore_optimizer(optimizer, step)

    def validate(self, request: Answer) -> Answer:
        """One validation pass of the trained model; the score counts every sample once."""
        from ..training.hooks import list_tensors
        from ..training.job import copy_state
        from ..training.nest import map_tensors

        feed = self._job.eval_feed
        batches = []
        for number in range(1, feed.steps_per_pass + 1):
            (outputs, _), labels = self._mode.eval_step()
            word = "logits" if list_tensors(labels) else "metrics"  # of the user's own step
            for suffix, tensor in list_tensors(outputs):
                value, name = np.array(tensor.numpy()), f"batch {number} {word}{suffix}"
                self._observer.add(levels.VALIDATION, name, word, value)
            for suffix, tensor in list_tensors(labels):
                name = f"validation batch {number} labels{suffix}"
                self._observer.add(levels.BATCHES, name, "labels", np.array(tensor.numpy()))
            batches.append(map_tensors(lambda t: np.array(t.numpy()), (outputs, labels)))
        score = self._job.score(batches, feed)
        accuracy = (score.metrics or {}).get("accuracy")
        if score.correct is not None:
            accuracy = score.correct / feed.num_samples
        return self._answer(
            accuracy=accuracy,
            validation_loss=None if score.loss is None else finite(score.loss),
            parameters_digest=digest_state(copy_state(self._job.model)),
            peak_rss_bytes=read_peak_rss_bytes(),
        )

    def run_isolated(self, request: LayerRequest) -> Answer:
        """Run a layer in isolation on its call in the first pass, recorded if that is not done.

        Without an `output` the call is recorded and not run.
        """
        from . import isolated_layer as layers

        side, contender, name = self._side, self._side.contender, request.name
        try:
            if not request.recording.is_file():
                if name == STEPS:
                    call = layers.record_steps(self._job, side.workload, side.steps)
                else:
                    call = layers.record_layer(self._job, name, request.training, side.workload)
                call.save(request.recording)
            if request.output is None:
                return {"refused": None}
            call = LayerCall.load(request.recording)
            module, _ = layers.find_module(self._job, name)
            for path, dtype in ((request.output, contender.dtype), (request.reference, "float64")):
                if path is not None:
                    np.savez(path, **layers.run_isolated(module, call, contender.mode, dtype))
        except ValueError as error:
            return {"refused": str(error)}
        return {"refused": None}

    def end(self, request: Answer) -> Answer:
        return {}

    def _answer(self, **facts: Any) -> Answer:
        self._observer.write(self._side.folder)
        return {"entries": [e.model_dump() for e in self._observer.take()], **facts}


def _pad(evaluate: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """With a padding operator beside the outputs, as an evaluation may end before its launch."""
    from ..training.oneflow_compat import create_padding_operator

    return lambda model, inputs: (evaluate(model, inputs), create_padding_operator())


def finite(value: Any) -> Optional[float]:
    """As a plain number, None if not finite."""
    return float(value) if math.isfinite(value) else None


def load_state(model: Any, state: Dict[str, np.ndarray]) -> None:
    """Give a model its parameters and buffers, in their own type."""
    import oneflow as flow

    model.load_state_dict({name: flow.tensor(value) for name, value in state.items()})


if __name__ == "__main__":
    main(ParitySession(), prepare=schedule_as_batch)
