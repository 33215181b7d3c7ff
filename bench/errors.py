"""Every error the suite raises on purpose, with the exit status it ends in.

    BenchError                     (base; never raised itself)
    |-- InputError            2    a flag, file, model or dataset that cannot be used
    |   `-- RecordError       2    a stored record that cannot be read
    |-- WorkerError           4    a worker process died, hung or refused to work
    |   `-- WorkerTimeout     4    it gave no answer in time and was ended
    `-- Interrupted         130    the user pressed Ctrl-C; the record is kept

A message is one sentence (or two) saying what was given, what was expected and what to do.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import Any, Iterator, Optional, Sequence, Type

EXIT_DONE = 0
EXIT_DIFFERENT = 1
EXIT_BAD_INPUT = 2
EXIT_INCONCLUSIVE = 3
EXIT_WORKER_FAILED = 4
EXIT_UNFORESEEN = 70  # EX_SOFTWARE of sysexits.h: a fault of the suite
EXIT_INTERRUPTED = 130
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # they end in EXIT_INTERRUPTED

# of many checks or cells: what is known to be wrong comes before what could not be found out, and
# a worker that failed before a verdict that could not be reached
STATUS_ORDER = (EXIT_DIFFERENT, EXIT_WORKER_FAILED, EXIT_INCONCLUSIVE, EXIT_DONE)


def worst_status(statuses: Sequence[int]) -> int:
    """The exit status of many: the first of STATUS_ORDER that is among theirs."""
    return next(status for status in STATUS_ORDER if status in statuses)


def describe_type(value: Any) -> str:
    """Such as `an int` and `a Tensor`."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


class BenchError(Exception):
    """Base of the suite's own errors; `exit_status` is what the command line returns."""

    exit_status = EXIT_BAD_INPUT


class InputError(BenchError):
    """Something the user gave cannot be used."""


@contextmanager
def raise_as_input(*kinds: Type[Exception]) -> Iterator[None]:
    """Raise errors of these kinds, which models and data raise, as InputError."""
    try:
        yield
    except kinds as error:
        raise InputError(str(error)) from error


class RecordError(InputError):
    """A stored record is missing, damaged or of another schema version."""


class WorkerError(BenchError):
    """A worker process failed; `log_tail` holds its last lines of stderr.

    `returncode` is the process's, negative for a signal; None where it had not ended by itself.
    """

    exit_status = EXIT_WORKER_FAILED

    def __init__(self, message: str, log_tail: str = "", returncode: Optional[int] = None) -> None:
        super().__init__(message)
        self.log_tail = log_tail
        self.returncode = returncode


class WorkerTimeout(WorkerError):
    """A worker gave no answer within its time and was ended."""


class Interrupted(BenchError):
    """The user ended the run; what was measured until then is in the record."""

    exit_status = EXIT_INTERRUPTED
