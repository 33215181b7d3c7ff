"""`TrainingStep`: a training of the user's own. OneFlow is not imported here.

    from oneflow_bench import TrainingStep

    gpt = TrainingStep(create_module=GPT, create_batches=read_text, loss=next_token_loss)

`bench compare my_file:gpt` trains it in both modes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields
from typing import Any, Callable, Dict, Iterable, Optional


@dataclass(frozen=True)
class TrainingStep:
    """A module, its batches, and the loss of a batch; the rest is optional.

    A batch is a nest: a tensor or a NumPy array, or a tuple, list, dict or named tuple of nests.
    All batches of one iterable have the same shapes and types, because a graph is compiled once.

    - `create_module()` gives the `oneflow.nn.Module`. OneFlow's generator is seeded before.
    - `create_batches(seed)` gives an iterable of batches, sized or endless. After its last batch it
      is called again with the next seed. Draw random numbers there, not in the module: a graph
      draws others than eager mode.
    - `loss(module, batch)` gives one number as a tensor, or a nest of such, which are added.
      Without it the step cannot be trained, only used by `bench infer`.
    - `create_optimizer(module)` gives a OneFlow optimizer or (optimizer, scheduler). The scheduler
      is stepped after each update. Parameter groups and clipping are the optimizer's. Without it
      the flags choose, such as --optimizer, --lr, --schedule and --clip-norm.
    - `evaluate(module, batch)` gives metrics by name, each one number as a tensor; a metric named
      accuracy is a share from 0 to 1. They are averaged over the batches. It defaults to
      `{"loss": loss(module, batch)}`.
    - `predict(module, batch)` gives the outputs of an inference, a nest of tensors. It defaults to
      `module(batch)`, with a tuple as positional and a dict as keyword arguments.
    - `create_evaluation_batches()` gives the finite batches of an evaluation. They default to the
      first training batch.

    Raises TypeError for an argument that is not callable.
    """

    create_module: Callable[[], Any]
    create_batches: Callable[[int], Iterable[Any]]
    loss: Optional[Callable[[Any, Any], Any]] = None
    create_optimizer: Optional[Callable[[Any], Any]] = None
    evaluate: Optional[Callable[[Any, Any], Dict[str, Any]]] = None
    create_evaluation_batches: Optional[Callable[[], Iterable[Any]]] = None
    predict: Optional[Callable[[Any, Any], Any]] = None
    place: str = field(init=False, compare=False, default="")  # file:line that makes it

    def __post_init__(self) -> None:
        frame: Any = sys._getframe(1)
        while (
            frame.f_code.co_filename == "<string>" or frame.f_globals["__name__"] == "dataclasses"
        ):
            frame = frame.f_back  # the generated __init__, and `replace`
        object.__setattr__(self, "place", f"{frame.f_code.co_filename}:{frame.f_lineno}")
        for one in fields(self):
            value = getattr(self, one.name)
            if one.init and not callable(value) and (value is not None or one.default is not None):
                raise TypeError(
                    f"the TrainingStep at {self.place} was given {one.name}={value!r} and a "
                    "function is expected; give the function itself, not what it returns"
                )
