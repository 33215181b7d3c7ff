"""The worker's end of the protocol: read a request, let a session answer it, write the answer.

A worker reads one JSON request a line from standard input and writes one JSON answer a line to the
descriptor that it was given; what OneFlow prints goes to the log. Without a request it waits, and
an idle process uses no processor time. The end of standard input is the end of the worker, also in
the middle of a turn, so that it never outlives its controller.

A session is an object with a method for each call. A method gets the request as the model that
the annotation of its only argument names, or as a dict; it returns a model or a dict. An error that
a line of the model's led to is told with that line and with code to write instead.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
    Type,
    get_type_hints,
)

from pydantic import BaseModel

from ...models.registry import find_own_line
from ..errors import InputError, WorkerError
from .blas import check_preload

_DECODER = json.JSONDecoder()  # fewer calls than json.loads, which counts between two turns


class AnswerStream:
    """The answers that come from a descriptor, which stays the caller's to close."""

    def __init__(self, descriptor: int, received: bytes = b"") -> None:
        """`received` has been read of it already."""
        self._descriptor, self._buffer = descriptor, received

    def take(self, timeout_s: float = 0.0) -> Optional[bytes]:
        """The next line, or None where it is not there in time; EOFError where none will come."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            left_s = max(0.0, deadline - time.monotonic())
            if not select.select([self._descriptor], [], [], left_s)[0]:
                return None
            try:
                received = os.read(self._descriptor, 65536)
            except OSError:  # a connection that was reset, or whose machine is gone
                received = b""
            if not received:
                raise EOFError
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


def name_log(log: Optional[Path]) -> str:
    """The end of a sentence about a failed worker; nothing for a log that nobody can read."""
    return f"; the whole log is {log}" if log is not None and log.is_file() else ""


def open_answer(
    line: bytes, call: str, title: str, log: Optional[Path], read_log_tail: Callable[[], str]
) -> Dict[str, Any]:
    """The answer of `title`. Raises InputError for unusable input, WorkerError for a failure."""
    answer: Dict[str, Any] = _DECODER.raw_decode(line.decode())[0]
    if answer.pop("ok"):
        return answer
    if answer["kind"] == "input":
        raise InputError(answer["error"])
    raise WorkerError(
        f"{title} failed in its {call} turn: {answer['error']}{name_log(log)}",
        read_log_tail(),
    )


# from the end of the input to the end of a turn; a controller that is still there is done waiting
# (`worker_process.END_GRACE_S`) long before
LINGER_S = 10.0


def clean_message(text: str) -> str:
    """The first line of an error's message, without OneFlow's escape codes and stack."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    told = [s for s in lines if not re.match(r"(File \"/|Error Type:|Error: *$)", s)]
    return re.sub(r"^Error: ", "", told[0]) if told else "no message"


def _known_input_errors() -> Any:
    from ...data import DataError
    from ...models import OwnCodeError, UnknownModelError

    return InputError, DataError, OwnCodeError, UnknownModelError


def serve(session: Any, read_line: Callable[[], str], write: Callable[[str], None]) -> None:
    """Answer requests by the session's methods of their names, until `end` or no more input."""
    while True:
        line = read_line()
        if not line:
            return
        request = json.loads(line)
        call = request["call"]
        answer: Dict[str, Any]
        try:
            answer = {"ok": True, **_answer(session, call, request)}
        except _known_input_errors() as error:
            answer = {"ok": False, "kind": "input", "error": str(error)}
        except Exception as error:
            traceback.print_exc()
            answer = {
                "ok": False,
                "kind": "failure",
                "error": f"{type(error).__name__}: {clean_message(str(error))}",
            }
        write(json.dumps(answer) + "\n")
        if call == "end" or not answer["ok"]:
            return


def _answer(session: Any, call: str, request: Dict[str, Any]) -> Dict[str, Any]:
    method = getattr(session, call)
    kind = _find_model(method)
    answer = method(request if kind is None else kind.model_validate(request))
    return answer.model_dump(mode="json") if isinstance(answer, BaseModel) else dict(answer)


@lru_cache(maxsize=None)
def _find_model(method: Callable[..., Any]) -> Optional[Type[BaseModel]]:
    """The model that a method's argument is annotated with, if it is one."""
    kind = next((kind for name, kind in get_type_hints(method).items() if name != "return"), None)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _end_with(input_fd: int) -> None:
    """Wait until nobody can write to the input any more, and end the process if it stays busy.

    A controller that was killed tells nobody; what it leaves is the hang-up of its pipe, for which
    this waits without waking up.
    """
    hang_up = select.poll()
    hang_up.register(input_fd, 0)  # no events but those that are always reported
    hang_up.poll()
    time.sleep(LINGER_S)
    print("the controller is gone; ended in the middle of a turn", file=sys.stderr, flush=True)
    os._exit(1)


def main(
    session: Any,
    arguments: Optional[List[str]] = None,
    prepare: Callable[[], None] = lambda: None,
) -> None:
    """Serve on standard input and --reply-fd.

    The first answer is an InputError of `prepare`, or of a BLAS that was not loaded.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--reply-fd", type=int, required=True)
    options = parser.parse_args(arguments)
    threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    with os.fdopen(options.reply_fd, "w", encoding="utf-8") as replies:

        def write(text: str) -> None:
            replies.write(text)
            replies.flush()

        try:
            check_preload(os.environ)
            prepare()
        except InputError as error:
            write(json.dumps({"ok": False, "kind": "input", "error": str(error)}) + "\n")
            return
        serve(session, sys.stdin.readline, write)


def schedule_as_batch() -> None:
    """Let no thread that a launch wakes put the launch off: OneFlow's launch race ends the process.

    All threads of this process take the policy SCHED_BATCH, as far as the system permits it
    (`oneflow_compat.create_padding_operator`; benchmarks/launch_race.py).
    """
    for thread in os.listdir("/proc/self/task"):
        with suppress(OSError):
            os.sched_setscheduler(int(thread), os.SCHED_BATCH, os.sched_param(0))


# a frame or a message of OneFlow -> the reason and the remedy
_REFUSALS: Mapping[str, Tuple[str, str]] = {
    "clip_grad_norm_": (
        "a graph has no gradients while it is traced",
        "clip_grad_max_norm and clip_grad_norm_type in the optimizer's parameter group",
    ),
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
    "ProxyTensor": (
        "parameters() gives stand-ins in a graph, which take no arithmetic",
        "[p if isinstance(p, flow.Tensor) else p.to(flow.Tensor) for p in module.parameters()]",
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
    at, text = find_own_line(error), clean_message(str(error))
    if at is None:
        return None
    seen = [frame.name for frame in frames] + [str(error)]
    known = [v for key, v in _REFUSALS.items() if any(key in part for part in seen)]
    said = f"{at.filename}:{at.lineno}" + f": `{at.line}`" * bool(at.line)  # a notebook has no file
    if mode != "graph":
        told = f"{mode} mode" if mode == "eager" else mode
        return f"forward fails in {told} at {said} ({type(error).__name__}: {text})"
    if known:
        reason, remedy = known[0]
        return f"forward cannot be compiled at {said}: {reason}; write {remedy}"
    return f"forward cannot be compiled at {said} ({type(error).__name__}: {text})"


def _is_of_oneflow(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) or type(error).__module__.startswith("oneflow")


@contextmanager
def explained_refusal(
    model: str, mode: str, describe_batch: Callable[[], str] = lambda: ""
) -> Iterator[None]:
    """Raise InputError for an error inside that a line of the model's led to, with the batch."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason, batch = explain_refusal(error, mode), describe_batch()
        if reason is None and batch and _is_of_oneflow(error):
            reason = f"OneFlow fails in {mode} mode ({clean_message(str(error))})"
        if reason is None:
            raise
        given = f"; the batch has {batch}" * bool(batch)
        raise InputError(f"{model}: {reason}{given}") from error
