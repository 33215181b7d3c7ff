"""What is minimised: the losses of the recipes, and the objective that puts model, loss and teacher
together. Formulas, with s and t the logits (N, K) of student and teacher, and KL and means over all
N * K elements as in the published code, are in docs/recipes.md.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Sequence, Union

import numpy as np
import oneflow as flow
from oneflow import nn
from oneflow.nn import functional

from ...models.registry import OwnCodeError, import_attribute
from ..config import LOSS_ARGUMENTS, TEACHER_LOSSES, Workload
from ..errors import InputError, describe_type, raise_as_input
from .nest import describe_leaf, list_leaves

VIRTUAL_TEACHER_CORRECT = 0.99  # probability that the virtual teacher gives to the right class

Outputs = Union[flow.Tensor, Sequence[flow.Tensor]]
Loss = Callable[[flow.Tensor, flow.Tensor, Optional[flow.Tensor]], flow.Tensor]


def one_hot(labels: flow.Tensor, like: flow.Tensor) -> flow.Tensor:
    """Labels (N,) as rows (N, K) of 0 and 1, K and the type those of `like`."""
    classes = like.shape[1]
    return functional.one_hot(labels.to(flow.int64), classes).to(like.dtype)


def kl_divergence(target_logits: flow.Tensor, logits: flow.Tensor) -> flow.Tensor:
    """KL(softmax(target_logits) || softmax(logits)), mean over all N * K elements.

    Taken from logits, so that a probability that underflows to 0 counts 0 and not nan.
    """
    target = functional.log_softmax(target_logits, dim=1)
    return (flow.exp(target) * (target - functional.log_softmax(logits, dim=1))).mean()


def smoothed_cross_entropy(
    logits: flow.Tensor, labels: flow.Tensor, label_smoothing: float
) -> flow.Tensor:
    """Mean over samples of -sum(q log softmax(s)), q = 1 - label_smoothing for the right class.

    Szegedy et al. 2015, arXiv:1512.00567, in the variant where the other K - 1 classes share
    `label_smoothing` among them. q is rounded to float32 whatever the type of the logits, as in the
    published code that the values of tests/golden/kd_losses.json come from.
    """
    right = float(np.float32(1.0 - label_smoothing))
    rest = float(np.float32(label_smoothing / (logits.shape[1] - 1)))
    target = one_hot(labels, logits) * (right - rest) + rest
    return -(target * functional.log_softmax(logits, dim=1)).sum(dim=1).mean()


def distillation(
    logits: flow.Tensor,
    labels: flow.Tensor,
    teacher_logits: flow.Tensor,
    alpha: float,
    temperature: float,
    multiplier: float = 1.0,
) -> flow.Tensor:
    """(1 - alpha) CE(s, y) + alpha T^2 multiplier KL(softmax(t / T) || softmax(s / T)).

    Hinton et al. 2015, arXiv:1503.02531; with a multiplier as in self distillation, Yuan et al.
    2019, arXiv:1909.11723.
    """
    divergence = kl_divergence(teacher_logits / temperature, logits / temperature)
    hard = functional.cross_entropy(logits, labels)
    return (1.0 - alpha) * hard + alpha * temperature**2 * multiplier * divergence


def teacher_free(
    logits: flow.Tensor,
    labels: flow.Tensor,
    reg_alpha: float,
    reg_temperature: float,
    multiplier: float,
) -> flow.Tensor:
    """(1 - reg_alpha) CE(s, y) + reg_alpha multiplier KL(softmax(u / T) || softmax(s)).

    u is the virtual teacher: 0.99 for the label and 0.01 / (K - 1) elsewhere. The softmax is taken
    of these probabilities, the student is not softened, and there is no T^2, as in the published
    code of Yuan et al. 2019, arXiv:1909.11723.
    """
    rest = (1.0 - VIRTUAL_TEACHER_CORRECT) / (logits.shape[1] - 1)
    virtual = one_hot(labels, logits) * (VIRTUAL_TEACHER_CORRECT - rest) + rest
    divergence = kl_divergence(virtual / reg_temperature, logits)
    hard = functional.cross_entropy(logits, labels)
    return (1.0 - reg_alpha) * hard + reg_alpha * multiplier * divergence


def binary_cross_entropy(logits: flow.Tensor, labels: flow.Tensor) -> flow.Tensor:
    """Mean over all N * K outputs of the binary cross entropy of sigmoid(s).

    `labels` are (N, K) of 0 and 1, or (N,) class numbers, which then are the only 1 of their row.
    """
    target = labels.to(logits.dtype) if len(labels.shape) == 2 else one_hot(labels, logits)
    return functional.binary_cross_entropy_with_logits(logits, target)


class TrainingLoss(nn.Module):
    """A recipe's loss. `forward(outputs, labels, teacher_logits=None)` gives a scalar.

    `outputs` are logits (N, K), or those of a model with auxiliary heads in training: the main
    ones first. Each head's loss then counts with its weight of `aux_weights`.
    """

    def __init__(self, compute: Loss, aux_weights: Sequence[float] = ()) -> None:
        super().__init__()
        self._compute = compute
        self._aux_weights = tuple(aux_weights)

    def forward(
        self, outputs: Outputs, labels: flow.Tensor, teacher_logits: Optional[flow.Tensor] = None
    ) -> flow.Tensor:
        if isinstance(outputs, flow.Tensor):
            return self._compute(outputs, labels, teacher_logits)
        total = self._compute(outputs[0], labels, teacher_logits)
        for weight, head in zip(self._aux_weights, outputs[1:]):
            total = total + weight * self._compute(head, labels, teacher_logits)
        return total


def add_losses(found: Any, trains: bool = True) -> flow.Tensor:
    """The sum of a nest of losses, each one number as a tensor.

    Raises InputError for another part, by its place in the nest, and if it `trains` for a loss
    without a gradient.
    """
    parts = list_leaves(found, "loss")
    if not parts:
        kind = type(found).__name__
        raise InputError(f"the loss is an empty {kind}; give one number as a tensor")
    for place, part in parts:
        refuse_other_than_number(place, part)
    losses = [part for _, part in parts]
    total = sum(losses[1:], losses[0])
    if trains and not total.is_lazy and not total.requires_grad:
        raise InputError(
            "the loss has no gradient, so nothing would be trained; give a loss that depends on a "
            "trainable parameter, and is not detached or an integer"
        )
    return total


def refuse_other_than_number(place: str, value: Any) -> None:
    """Raise InputError for a value that is not one number as a tensor."""
    if not isinstance(value, flow.Tensor):
        raise InputError(
            f"{place} is {describe_leaf(value)} and one number as a tensor is expected; leave out "
            "float(), .item() and .numpy(), and write a constant as flow.tensor(...)"
        )
    if value.numel() != 1:
        raise InputError(
            f"{place} is {describe_leaf(value)} and one number as a tensor is expected; take "
            "its mean or sum"
        )


class Objective(nn.Module):
    """From a batch to the loss that is minimised: student, loss and, where there is one, teacher.

    The teacher runs without gradient; it must be in eval mode (see `freeze`).
    """

    def __init__(
        self, model: nn.Module, criterion: Callable[..., Any], teacher: Optional[nn.Module] = None
    ) -> None:
        super().__init__()
        self.model = model
        self.criterion = criterion
        if teacher is not None:
            self.teacher = teacher
        self._has_teacher = teacher is not None

    def forward(self, images: flow.Tensor, labels: flow.Tensor) -> flow.Tensor:
        """Loss of images (N, 3, H, W) and labels (N,)."""
        outputs = self.model(images)
        if not self._has_teacher:
            return self.criterion(outputs, labels)
        with flow.no_grad():
            teacher_logits = self.teacher(images)
        return self.criterion(outputs, labels, teacher_logits.detach())


def freeze(teacher: nn.Module) -> nn.Module:
    """Put a teacher in eval mode and take its parameters out of training."""
    teacher.eval()
    for parameter in teacher.parameters():
        parameter.requires_grad = False
    return teacher


def create_loss(workload: Workload, model: nn.Module) -> TrainingLoss:
    """The loss with the model's auxiliary heads. Raises InputError for an own one not found."""
    return TrainingLoss(_choose(workload), getattr(model, "aux_weights", ()))


def _choose(workload: Workload) -> Loss:
    if ":" in workload.loss:
        return _own_loss(workload.loss)
    arguments: Any = {name: getattr(workload, name) for name in LOSS_ARGUMENTS[workload.loss]}
    if workload.loss in TEACHER_LOSSES:
        return lambda s, y, t: distillation(s, y, t, **arguments)
    functions: Any = {
        "cross_entropy": functional.cross_entropy,
        "label_smoothing": smoothed_cross_entropy,
        "teacher_free": teacher_free,
        "binary_cross_entropy": binary_cross_entropy,
    }
    function = functions[workload.loss]
    return lambda s, y, _: function(s, y, **arguments)


def _own_loss(name: str) -> Loss:
    with raise_as_input(OwnCodeError):
        function = import_attribute(name, "--loss")
    if isinstance(function, type):
        module, _, attribute = name.partition(":")
        raise InputError(
            f"--loss {name} is a class; make an instance in {module}, such as "
            f"loss = {attribute}(), and give --loss {module}:loss"
        )

    def compute(logits: flow.Tensor, labels: flow.Tensor, _: Optional[flow.Tensor]) -> flow.Tensor:
        try:
            value = function(logits, labels)
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise  # inside the function
            raise InputError(
                f"--loss {name} cannot be called with logits and labels ({error}); give a function "
                "of both"
            ) from None
        if not isinstance(value, flow.Tensor) or value.numel() != 1:
            shape = f"of shape {tuple(value.shape)}" if isinstance(value, flow.Tensor) else ""
            raise InputError(
                f"--loss {name} returned {describe_type(value)} {shape}".rstrip()
                + "; it must return one number as a tensor, such as a mean"
            )
        return value

    return compute


def mean_loss(loss: flow.Tensor) -> Any:
    """The loss as one number of its own type; that of a split batch is the mean of its parts."""
    value = loss.numpy()
    return value.dtype.type(value.mean())
