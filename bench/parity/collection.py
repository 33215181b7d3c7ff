"""Goes through the levels of a check on one side: what is looked at, and under which name.

The worker of a check and `assert_parity` both collect through this.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from ..training.job import Job, copy_state
from . import result as levels
from .observation import GraphOptions, create_observed, list_backward, observe_eval
from .tensors import Observer

PARAMETER, BUFFER, OPTIMIZER, GRADIENT = "parameter", "buffer", "optimizer state", "gradient"

# weights and the optimizer's tensors after some step
Checkpoint = Tuple[Dict[str, np.ndarray], Dict[str, np.ndarray]]


class Collector:
    """Notes the levels of one side, in the order of its methods."""

    def __init__(self, observer: Observer, mode: str, graph_options: GraphOptions = None) -> None:
        self._observer = observer
        self._mode, self._graph_options = mode, graph_options
        self._observed: Any = None
        self.losses: List[Any] = []

    def note_initial(self, job: Job) -> None:
        """The weights before the first step, the teacher's too."""
        self.note_state(levels.INITIAL_WEIGHTS, job.model, {})
        if job.teacher is not None:
            self.note_state(levels.INITIAL_WEIGHTS, job.teacher, {}, "teacher.")

    def note_eval_forward(self, job: Job) -> None:
        """Every module's output in eval mode, on the first validation batch."""
        images, _ = job.eval_feed.next_batch()
        found = observe_eval(self._mode, job.model, images, self._graph_options)
        for name, kind, value in found:
            self._observer.add(levels.EVAL_FORWARD, name, kind, value)

    def note_first_step(self, job: Job) -> None:
        """The first step, looked into: outputs, loss, gradients, and what the update made."""
        self._observed = create_observed(self._mode, job, self._graph_options)
        step = self._take_step(1, with_outputs=True)
        for name, kind, value in step.outputs:
            self._observer.add(levels.FORWARD, name, kind, value)
        self._observer.add(levels.LOSS, "loss", "loss", np.array(self.losses[0]))
        for name in list_backward(step.outputs, list(step.gradients)):
            self._observer.add(levels.GRADIENTS, name, GRADIENT, step.gradients[name])
        self.note_state(levels.FIRST_UPDATE, job.model, self._observed.capture_optimizer())

    def note_training(self, job: Job, steps: int, checkpoint_step: int) -> Optional[Checkpoint]:
        """The steps up to `steps`; returns what a checkpoint at `checkpoint_step` would hold."""
        checkpoint = None
        for step in range(1, steps + 1):
            if step > 1:
                self._take_step(step, with_outputs=False)
            if step == checkpoint_step:
                checkpoint = copy_state(job.model), self._observed.capture_optimizer()
        self.note_losses(levels.LOSS_CURVE, self.losses)
        self.note_state(levels.TRAINED, job.model, self._observed.capture_optimizer())
        self._observed = None  # its graph goes with it
        return checkpoint

    def note_losses(self, level: str, losses: List[Any], first: int = 1) -> None:
        """The losses of a run up to each step, from step `first` on.

        Not each alone: one number may come close to the reference by luck.
        """
        for step in range(first, len(losses) + 1):
            self._observer.add(level, f"losses to step {step}", "loss", np.array(losses[:step]))

    def note_batch(self, name: str, images: Any, labels: Any) -> None:
        """A batch, in float32 as it came; images never leave a graph that holds the loader."""
        if images is not None:
            value = np.asarray(images.numpy(), dtype=np.float32)
            self._observer.add(levels.BATCHES, f"{name} images", "images", value)
        self._observer.add(levels.BATCHES, f"{name} labels", "labels", np.array(labels.numpy()))

    def note_logits(self, number: int, logits: np.ndarray, labels: np.ndarray) -> None:
        """One batch of the validation pass."""
        self._observer.add(levels.VALIDATION, f"batch {number} logits", "logits", logits)
        self._observer.add(levels.BATCHES, f"validation batch {number} labels", "labels", labels)

    def note_state(
        self, level: str, model: Any, optimizer: Dict[str, np.ndarray], prefix: str = ""
    ) -> None:
        """Buffers, the optimizer's tensors and parameters, each in the order of the model."""
        state = copy_state(model)
        parameters = {name for name, _ in model.named_parameters()}
        for name in state:
            if name not in parameters:
                self._observer.add(level, prefix + name, BUFFER, state[name])
        for name, value in optimizer.items():
            self._observer.add(level, prefix + name, OPTIMIZER, value)
        for name in state:
            if name in parameters:
                self._observer.add(level, prefix + name, PARAMETER, state[name])

    def _take_step(self, step: int, with_outputs: bool) -> Any:
        observed = self._observed.observe_step(with_outputs)
        self.note_batch(f"step {step}", observed.images, observed.labels)
        self.losses.append(mean_loss(observed.loss))
        return observed


def mean_loss(loss: Any) -> Any:
    """The loss as one number of its own type; that of a split batch is the mean of its parts."""
    value = loss.numpy()
    return value.dtype.type(value.mean())


def finite_losses(losses: List[Any]) -> List[Optional[float]]:
    """As plain numbers, None where not finite."""
    return [float(loss) if math.isfinite(loss) else None for loss in losses]
