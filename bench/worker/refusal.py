"""Why a mode cannot run a model, in words: the line, the reason, and what to write instead."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Mapping, Optional, Tuple

from ..errors import InputError
from .protocol import clean_message

_OWN_FOLDER = Path(__file__).resolve().parents[1]

# a frame or a message of OneFlow -> the reason and the remedy
_REFUSALS: Mapping[str, Tuple[str, str]] = {
    "is_nonzero": ("Python asks for the truth of a tensor", "flow.where(condition, a, b)"),
    "tensor.numpy() is not allowed": (
        "a tensor has no values yet, so it has no array",
        "OneFlow's operators on the tensor in place of NumPy's",
    ),
    "Only eager scalar tensor support GetItem": (
        "a tensor has no values yet, so it gives no number",
        "the tensor itself in place of .item()",
    ),
    "boolean(mask)": (
        "the shape of a boolean index depends on values",
        "flow.where or masked_fill, which keep the shape",
    ),
    "Can only set leaf tensor's data": (
        "data cannot be assigned to a tensor that has no memory yet",
        "a new tensor in place of .data =, or assign outside of forward",
    ),
    "super(type, obj)": (
        "nn.Graph calls forward with a stand-in of another class than the module's",
        "Parent.forward(self, ...) in place of super().forward(...)",
    ),
}


def explain_refusal(error: BaseException, mode: str) -> Optional[str]:
    """Why a mode cannot run a model: the user's line, the reason and what to write instead.

    None if no line of the user's led to the error.
    """
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not _is_foreign(f.filename)]
    if not theirs:
        return None
    at, text = theirs[-1], clean_message(str(error))
    seen = [frame.name for frame in frames] + [str(error)]
    known = [v for key, v in _REFUSALS.items() if any(key in part for part in seen)]
    said = f"{at.filename}:{at.lineno}" + f": `{at.line}`" * bool(at.line)  # a notebook has no file
    if mode != "graph":
        return f"forward fails in eager mode at {said} ({type(error).__name__}: {text})"
    if known:
        reason, remedy = known[0]
        return f"forward cannot be compiled at {said}: {reason}; write {remedy}"
    return f"forward cannot be compiled at {said} ({type(error).__name__}: {text})"


def _is_foreign(file: str) -> bool:
    path = Path(file)
    return "oneflow" in path.parts or _OWN_FOLDER in path.resolve().parents or "<" in file


@contextmanager
def explain_refusals(model: str, mode: str) -> Iterator[None]:
    """Raise InputError for an error inside that a line of the model's led to."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = explain_refusal(error, mode)
        if reason is None:
            raise
        raise InputError(f"{model}: {reason}") from error
