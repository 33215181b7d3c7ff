"""A training step of the user's own: any module, nests as batches, any loss."""

from __future__ import annotations

import inspect
from itertools import islice
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from ....models.registry import OwnCodeError, import_object
from ...config import READ_WITH, Workload
from ...errors import InputError, describe_type, raise_as_input
from ...plan.fields import flag_of
from ...training_step import TrainingStep
from ..feeds import Feed
from ..hooks import list_tensors
from ..losses import Objective, add_losses, refuse_other_than_number
from ..nest import Rebuild, apply, map_tensors
from ..optimizers import create_optimizer, create_scheduler, split_optimizer
from . import Score
from .batches import Batches, call_own, describe_layout, read_layout

MOST_EVALUATION_BATCHES = 1000
# settings that a step's own optimizer and schedule do not read
_OF_OPTIMIZER = (
    *(name for name, (by, _) in READ_WITH.items() if by in ("optimizer", "schedule")),
    *("optimizer", "lr", "schedule", "warmup_epochs"),
)


def load_training_step(name: str, arguments: Dict[str, Any]) -> TrainingStep:
    """The `TrainingStep` that `package.module:object` names, or that the function of it returns.

    `arguments` are the function's. Raises InputError for anything else.
    """
    with raise_as_input(OwnCodeError):
        found = import_object(name, "training step")
    if callable(found) and not isinstance(found, TrainingStep):
        found = call_own(name, "the function itself", found, **arguments)
    elif arguments:
        raise InputError(
            f"--model-arg was given and {name} is a TrainingStep, which takes no argument; name a "
            "function that returns one"
        )
    if not isinstance(found, TrainingStep):
        raise InputError(
            f"{name} gives {describe_type(found)} and a TrainingStep is expected; write one as "
            "docs/your-own-step.md shows, or give an image classifier with --model"
        )
    return found


class OwnStep:
    """A `TrainingStep` as a `Step`. Its batches are the inputs, and there are no labels."""

    def __init__(self, workload: Workload) -> None:
        self._workload, self._name = workload, workload.model
        self._step = load_training_step(workload.model, dict(workload.model_args))
        self._batches: Optional[Batches] = None

    def create_model(self) -> nn.Module:
        model = self._make("create_module", self._step.create_module)
        if not isinstance(model, nn.Module):
            raise self._refuse("create_module", model, "an oneflow.nn.Module")
        return model

    def create_objective(self, model: nn.Module, teacher: Optional[nn.Module]) -> Objective:
        if self._step.loss is None:
            raise InputError(
                f"{self._name}: the TrainingStep at {self._step.place} has no loss and cannot be "
                f"trained; give loss=, or run bench infer {self._name}"
            )
        return _OwnObjective(model, self._step.loss)

    def create_feeds(self, device: str) -> Tuple[Feed, Feed]:
        seed, place = self._workload.seed, self._step.place
        title = f"{self._name} ({place})"

        train = self._batches = Batches(title, self._create_batches, seed, device)
        if self._step.create_evaluation_batches is None:
            held = [train.first]
        else:
            function = self._step.create_evaluation_batches
            taken = self._make(
                "create_evaluation_batches",
                lambda: list(islice(function(), MOST_EVALUATION_BATCHES + 1)),
            )
            if not 0 < len(taken) <= MOST_EVALUATION_BATCHES:
                count = "none" if not taken else f"more than {MOST_EVALUATION_BATCHES}"
                raise InputError(
                    f"{title}: create_evaluation_batches gave {count} and 1 to "
                    f"{MOST_EVALUATION_BATCHES} batches are expected; give a finite iterable"
                )
            # the same checks as of the training's, and these are all
            checked = Batches(title, lambda number: iter(taken), 0, device)
            held = [checked.next_batch()[0] for _ in taken]
        evaluation = Batches(title, lambda number: iter(held), 0, device)
        return train.as_feed(1), evaluation.as_feed(len(held))

    def create_optimizer(
        self, model: nn.Module, steps_per_epoch: int
    ) -> Tuple[flow.optim.Optimizer, Any]:
        function = self._step.create_optimizer
        if function is None:
            optimizer = create_optimizer(self._workload, model)
            return optimizer, create_scheduler(self._workload, optimizer, steps_per_epoch)
        self._refuse_idle_flags()
        return split_optimizer(self._make("create_optimizer", function, model), model)

    def _refuse_idle_flags(self) -> None:
        """Raise InputError for a setting that the step's own optimizer and schedule do not read."""
        usual = Workload()
        for name in _OF_OPTIMIZER:
            value = getattr(self._workload, name)
            if value != getattr(usual, name):
                raise InputError(
                    f"{self._name}: {flag_of(name)} {value} has no effect beside the "
                    f"create_optimizer of the TrainingStep at {self._step.place}; leave one out"
                )

    def evaluate(self, model: nn.Module, inputs: Any) -> Any:
        if self._step.evaluate is None:
            assert self._step.loss is not None  # refused with the objective
            return {"loss": add_losses(self._step.loss(model, inputs), trains=False)}
        found = self._step.evaluate(model, inputs)
        if not isinstance(found, dict) or not found:
            raise self._refuse("evaluate", found, "a dict of metrics, each one number as a tensor,")
        for name, value in found.items():
            if not isinstance(name, str):
                raise self._refuse("evaluate", name, "the name of a metric, a string,")
            refuse_other_than_number(f"{self._name}: the metric {name!r} of evaluate", value)
        return found

    def create_batch(self, device: str, rows: Optional[int]) -> Tuple[Any, int, List[str]]:
        """The first batch for an inference, its rows, and the places of the resized tensors.

        With `rows` its own are repeated or cut. They are the first dimension of its first tensor,
        and of all that have as many. Raises InputError for a first tensor without a dimension.
        """
        title = f"{self._name} ({self._step.place})"
        batch = Batches(title, self._create_batches, self._workload.seed, device).first
        layout = read_layout(batch)
        place, dtype, shape = layout[0]
        if rows is None:
            return batch, shape[0] if shape else 1, []
        if not shape:
            raise InputError(
                f"{title}: --batch-size {rows} was given and {place} is {dtype} {shape}, without "
                "rows; leave --batch-size out, or put a tensor with rows first"
            )

        def take(tensor: flow.Tensor) -> flow.Tensor:
            if tensor.ndim == 0 or tensor.shape[0] != shape[0]:
                return tensor
            sizes: Tuple[Any, ...] = (rows, *tensor.shape[1:])
            return flow.tensor(np.resize(tensor.numpy(), sizes)).to(device)

        resized = [at for at, _, other in layout if rows != shape[0] and other[:1] == shape[:1]]
        return map_tensors(take, batch), rows, resized

    def check_call(self, model: nn.Module, batch: Any) -> None:
        """Raise InputError for a batch that the module's forward does not take as it is."""
        asked = inspect.signature(model.forward)
        try:
            if self._step.predict is None:
                apply(asked.bind, batch)
        except TypeError as error:
            code = getattr(type(model).forward, "__code__", None)
            at = f" at {code.co_filename}:{code.co_firstlineno}" if code else ""
            raise InputError(
                f"{self._name}: forward{asked} of {type(model).__name__}{at} cannot be called with "
                f"the batch ({error}), which has {describe_layout(read_layout(batch))}; give "
                "predict=, such as lambda module, batch: module(batch[0])"
            ) from None

    def predict(self, model: nn.Module, batch: Any) -> Any:
        """The outputs of an inference. Raises InputError for other than a nest of tensors."""
        function = self._step.predict
        outputs = apply(model, batch) if function is None else function(model, batch)
        if not list_tensors(outputs):
            raise self._refuse("predict", outputs, "a nest of tensors")
        return outputs

    def _create_batches(self, seed: int) -> Iterator[Any]:
        made = self._make("create_batches", lambda: iter(self._step.create_batches(seed)))
        batches: Iterator[Any] = made
        return batches

    def score(self, batches: Sequence[Any], feed: Feed) -> Score:
        names = batches[0][0]
        means = {n: float(np.mean([found[n].mean() for found, _ in batches])) for n in names}
        share = means.get("accuracy", 0.0)
        if np.isfinite(share) and not 0 <= share <= 1 + 1e-6:  # of float32
            raise InputError(
                f"{self._name}: the metric accuracy of evaluate is {share:g} and a share from 0 to "
                "1 is expected; divide by the number of samples, or name it otherwise"
            )
        metrics = {name: mean if np.isfinite(mean) else None for name, mean in means.items()}
        return Score(loss=metrics.get("loss"), metrics=metrics)

    def describe_batch(self) -> str:
        return "" if self._batches is None else describe_layout(self._batches.layout)

    def _make(self, what: str, function: Callable[..., Any], *given: Any) -> Any:
        return call_own(self._name, what, function, *given)

    def _refuse(self, what: str, found: Any, expected: str) -> InputError:
        return InputError(
            f"{self._name}: {what} of the TrainingStep at {self._step.place} gave "
            f"{describe_type(found)} and {expected} is expected; return that"
        )


class Predictor(nn.Module):
    """The tensors of a batch to the outputs of `predict`, with the model as a part."""

    def __init__(
        self, model: nn.Module, predict: Callable[[nn.Module, Any], Any], rebuild: Rebuild
    ) -> None:
        super().__init__()
        self.model, self._predict, self._rebuild = model, predict, rebuild

    def forward(self, *tensors: flow.Tensor) -> Any:
        return self._predict(self.model, self._rebuild(tensors))


class _OwnObjective(Objective):
    def __init__(self, model: nn.Module, loss: Callable[[Any, Any], Any]) -> None:
        super().__init__(model, loss)

    def forward(self, inputs: Any, labels: Any) -> flow.Tensor:
        return add_losses(self.criterion(self.model, inputs))
