"""Training steps whose graph is at fault, one kind each, made from the steps of examples/.

`faults.steps:NAME` is a step for `bench check`. Both sides import the same file. It computes
something else only while OneFlow traces a graph, or when a graph asks for an optimizer's or a
schedule's configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Dict

import numpy as np
import oneflow as flow
from oneflow import nn
from oneflow.optim import lr_scheduler

from examples import classifier, gpt, siamese, vae
from faults.own import ANY, GRADIENTS, LATER, LOSS, OUTPUTS, UPDATE, in_graph


@dataclass(frozen=True)
class StepFault:
    """A check must name a level and a tensor that fit these regular expressions."""

    title: str
    levels: str
    names: str
    flags: Dict[str, Any] = field(default_factory=dict)


class LateBlock(gpt.Block):
    def __init__(self) -> None:
        super().__init__()
        mask = np.triu(np.full((gpt.CONTEXT, gpt.CONTEXT), -1e4, np.float32), k=2)
        self.register_buffer("late", flow.tensor(mask))

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = x + self.attend(self.norm_1(x), self.late if in_graph() else self.mask)
        return x + self.feed_forward(self.norm_2(x))


class LateGPT(gpt.GPT):
    """The causal mask of the second block lets each letter see the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(gpt.Block(), LateBlock())


class TiedHead(nn.Module):
    """Logits by the matrix of the letters; in a graph by a copy of it."""

    def __init__(self, letters: nn.Embedding) -> None:
        super().__init__()
        self.weight = nn.Parameter(letters.weight.detach().clone())

    def forward(self, x: flow.Tensor, tied: flow.Tensor) -> flow.Tensor:
        weight = self.weight if in_graph() else tied
        return flow.matmul(x, weight.transpose(0, 1))


class TiedGPT(gpt.GPT):
    def __init__(self) -> None:
        super().__init__()
        self.head = TiedHead(self.letters)

    def forward(self, letters: flow.Tensor) -> flow.Tensor:
        x = self.norm(self.blocks(self.letters(letters) + self.places))
        return self.head(x, self.letters.weight)


class FrozenRow(nn.Embedding):
    """In a graph the row of the commonest letter gets no gradient."""

    def forward(self, ids: flow.Tensor) -> flow.Tensor:
        weight = self.weight
        if in_graph():
            trained = np.ones((len(gpt.LETTERS), 1), np.float32)
            trained[gpt.LETTERS.index(" ")] = 0.0
            part = flow.tensor(trained)
            weight = weight * part + weight.detach() * (1.0 - part)
        return nn.functional.embedding(ids, weight)


class RowGPT(gpt.GPT):
    def __init__(self) -> None:
        super().__init__()
        self.letters = FrozenRow(len(gpt.LETTERS), gpt.WIDTH)


class WrongPadding(classifier.Classifier):
    """The graph takes another word for padding."""

    def find_words(self, words: flow.Tensor) -> flow.Tensor:
        padding = 9 if in_graph() else classifier.PADDING
        return (words != padding).to(flow.float32)


class EarlyDropout(classifier.Encoder):
    """The graph drops before the activation, eager mode after it."""

    def feed_forward(self, x: flow.Tensor) -> flow.Tensor:
        widened = self.widen(x)
        if in_graph():
            return self.narrow(self.activation(self.dropout(widened)))
        return self.narrow(self.dropout(self.activation(widened)))


class EarlyDropoutClassifier(classifier.Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = EarlyDropout()


class Stateful(siamese.Encoder):
    """An LSTM that begins with the state of the batch before; a graph does not keep it."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("hidden", "cell"):
            state = flow.zeros(1, siamese.BATCH_SIZE, siamese.WIDTH)
            self.register_buffer(name, state)

    def forward(self, signal: flow.Tensor) -> flow.Tensor:
        outputs, (hidden, cell) = self.lstm(signal, (self.hidden, self.cell))
        self.hidden, self.cell = hidden.detach(), cell.detach()
        return self.projection(outputs[:, -1])


def weigh_divergence(model: nn.Module, batch: Dict[str, flow.Tensor]) -> Dict[str, flow.Tensor]:
    """The divergence counts 1 % more in a graph."""
    terms = vae.compute_loss(model, batch)
    return {**terms, "divergence": terms["divergence"] * (1.01 if in_graph() else 1.0)}


def sum_parts(model: nn.Module, batch: Dict[str, flow.Tensor]) -> flow.Tensor:
    """The parts of a batch are summed for the gradient in a graph, and averaged eagerly."""
    loss = classifier.compute_loss(model, batch)
    return loss + (loss - loss.detach()) if in_graph() else loss


class LateStepLR(lr_scheduler.StepLR):
    """A graph decays one step later."""

    def _generate_conf_for_graph(self, lr_conf: Any) -> None:
        self.step_size += 1
        super()._generate_conf_for_graph(lr_conf)
        self.step_size -= 1


def create_late_schedule(model: nn.Module) -> Any:
    optimizer = flow.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return optimizer, LateStepLR(optimizer, step_size=2, gamma=0.5)


class DecayingSGD(flow.optim.SGD):
    """A graph decays the parameters of the norms too."""

    def _generate_conf_for_graph(self, train_conf: Any, vars_conf: Any) -> Any:
        weights, norms = self.param_groups
        norms["weight_decay"] = weights["weight_decay"]
        made = super()._generate_conf_for_graph(train_conf, vars_conf)
        norms["weight_decay"] = 0.0
        return made


def create_decay(model: nn.Module) -> Any:
    named = list(model.named_parameters())
    groups = [
        {"params": [p for name, p in named if "norm" not in name], "weight_decay": 0.1},
        {"params": [p for name, p in named if "norm" in name], "weight_decay": 0.0},
    ]
    return DecayingSGD(groups, lr=0.1, momentum=0.9)


_GPT, _CLASSIFIER, _VAE = gpt.gpt, classifier.classifier, vae.vae
mask = replace(_GPT, create_module=LateGPT)
tied = replace(_GPT, create_module=TiedGPT)
row = replace(_GPT, create_module=RowGPT)
decay = replace(_GPT, create_optimizer=create_decay)
padding = replace(_CLASSIFIER, create_module=WrongPadding)
dropout = replace(_CLASSIFIER, create_module=EarlyDropoutClassifier)
accumulation = replace(_CLASSIFIER, loss=sum_parts)
schedule = replace(_CLASSIFIER, create_optimizer=create_late_schedule)
divergence = replace(_VAE, loss=weigh_divergence)
state = replace(siamese.siamese, create_module=Stateful)

# by the name of the step; a mean and a log-variance are the outputs 1 and 2 of the VAE
FAULTS = {
    "mask": StepFault("causal mask off by one", OUTPUTS, r"^blocks\.1"),
    "tied": StepFault("tied weights untied", GRADIENTS, "letters|head"),
    "divergence": StepFault("weight of a loss term", f"{LOSS}|{GRADIENTS}", r"loss|output\[[12]\]"),
    "padding": StepFault("wrong padding index", OUTPUTS, r"^encoder"),
    "state": StepFault("hidden state kept across steps", ANY, "lstm|hidden|cell"),
    "schedule": StepFault("schedule one step late", LATER, ANY),
    "decay": StepFault("weight decay on norms", UPDATE, "norm"),
    "accumulation": StepFault(
        "accumulation not averaged", GRADIENTS, ANY, {"accumulation_steps": 2}
    ),
    "row": StepFault("embedding row not updated", GRADIENTS, "letters"),
    "dropout": StepFault("dropout before the activation", OUTPUTS, r"^encoder\.dropout"),
}
