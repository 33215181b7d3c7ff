"""The end of the program in any way but success: signals, closed output, faults of the suite."""

from __future__ import annotations

import _weakrefset
import atexit
import errno
import os
import platform
import re
import shutil
import signal
import sys
import tempfile
import textwrap
import traceback
import weakref
from contextlib import contextmanager, suppress
from types import CodeType
from typing import Any, Iterator, List, Optional

import click

from ... import __version__
from ..errors import (
    ENDING_SIGNALS,
    EXIT_BAD_INPUT,
    EXIT_INTERRUPTED,
    EXIT_UNFORESEEN,
    BenchError,
    InputError,
    WorkerError,
)

# of the machine and not of the suite
_LACKS = (
    errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EMFILE,
    errno.ENOMEM,
)  # fmt: skip
RETRY_S = 0.02  # after a signal in such a place
LONGEST = 1000  # letters at both ends of a message that quotes a long value


def end_on_signals() -> None:
    """Ctrl-C, SIGTERM and SIGHUP end the command once; a second one does not disturb its end.

    An import is ended after it: some libraries make a fault of their own of an exception in it.
    So is a finalizer, in which Python drops an exception.
    """

    def end(number: int, frame: Any) -> None:
        for each in ENDING_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        while frame:
            if _holds_exceptions(frame.f_code):
                signal.signal(signal.SIGALRM, end)
                signal.setitimer(signal.ITIMER_REAL, RETRY_S)
                return
            frame = frame.f_back
        raise KeyboardInterrupt

    for each in ENDING_SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:  # as nohup has set it
            signal.signal(each, end)


def _holds_exceptions(code: CodeType) -> bool:
    """Whether it is that of an import, a finalizer, or the callback of a weak reference."""
    file = code.co_filename
    return (
        file.startswith("<frozen importlib")
        or code.co_name == "__del__"
        or file in (weakref.__file__, _weakrefset.__file__)
    )


def ensure_home() -> None:
    """Give the libraries a folder for this process where the user has no home; they ask for one."""
    if os.path.expanduser("~") == "~":
        folder = tempfile.mkdtemp(prefix="bench-home-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["HOME"] = folder


def check_words(words: List[str]) -> None:
    """Refuse words of the command line that stand for nothing or are no text."""
    for word in words:
        if not word or re.fullmatch(r"--[\w-]+=", word):
            flag = word or words[words.index(word) - 1] if len(words) > 1 else word
            raise InputError(
                f"an empty value was given (beside {flag}); give a value, or leave the flag out"
            )
        try:
            word.encode()
        except UnicodeEncodeError:
            raise InputError(
                f"{word!r} is not text in {sys.getfilesystemencoding()}; rename the file or folder"
            ) from None


@contextmanager
def go_on_without(what: str, remedy: str) -> Iterator[None]:
    """Say in a sentence that a part of the report could not be made, and go on.

    Only for what comes after the result is stored: the result is not lost with its picture.
    """
    try:
        yield
    except BenchError as error:
        say(f"{what} could not be made: {error}")
    except Exception as error:
        say(f"{what} could not be made ({_name(error)}{_store(error)}); {remedy}")


def tell(error: BaseException) -> int:
    """Say on stderr what ended the command; its exit status."""
    if isinstance(error, click.ClickException):
        context: Optional[click.Context] = getattr(error, "ctx", None)
        say(f"{context.get_usage()}\n" if context else "", newline=False)
        say(f"Error: {error.format_message()}")
        return error.exit_code
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        say("ended by the user")
        return EXIT_INTERRUPTED
    if isinstance(error, BenchError):
        text = str(error)
        cut = f"{text[:LONGEST]} ... {text[-LONGEST:]}" if len(text) > 3 * LONGEST else text
        say(f"error: {cut}")
        if isinstance(error, WorkerError) and error.log_tail:
            say(f"its last lines:\n{error.log_tail}")
        return error.exit_status
    if isinstance(error, OSError) and error.errno in _LACKS:
        place = error.filename or "standard output or a file"
        say(
            f"error: {place} cannot be written ({error.strerror}); a run that had begun is kept "
            "in its folder"
        )
        return EXIT_BAD_INPUT
    say(
        f"error: the suite failed in a way that was not foreseen ({_name(error)}{_store(error)}); "
        "report it with that file and the command line"
    )
    return EXIT_UNFORESEEN


def say(text: str, newline: bool = True) -> None:
    """To stderr, if anybody can read it. A terminal gets lines that end between two words.

    Names and quoted lines are data: a terminal obeys no control character in them.
    """
    from ..report.blocks import strip_controls

    text = strip_controls(text.encode(errors="backslashreplace").decode())
    with suppress(OSError):
        click.echo(_wrap(text) if sys.stderr.isatty() else text, err=True, nl=newline)


def _wrap(text: str) -> str:
    """Lines of the terminal's width; a path stays whole, so that it can be copied."""
    width = shutil.get_terminal_size().columns
    lines = (
        textwrap.fill(
            line,
            width,
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=False,
            replace_whitespace=False,
        )
        for line in text.split("\n")
    )
    return "\n".join(lines)


def drop_output() -> None:
    """Let standard output go nowhere, so that the interpreter's last flush does not fail too."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _name(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _store(error: BaseException) -> str:
    """Write the traceback to a file; the words that name it."""
    try:
        handle, path = tempfile.mkstemp(prefix="bench-traceback-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"oneflow-bench {__version__}, Python {platform.python_version()}\n")
            file.writelines(traceback.format_exception(type(error), error, error.__traceback__))
    except OSError as failure:
        return f"; its traceback could not be stored: {failure.strerror}"
    return f"; its traceback is in {path}"
