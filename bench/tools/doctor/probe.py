"""One probe process: it measures one environment and is started again if a measurement ends it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

from ...errors import InputError, WorkerError, WorkerTimeout
from ...worker.foreign_python import create_python_command
from ...worker.process import WorkerProcess, describe_exit
from .diagnosis import OUT_OF_TIME, Failure
from .installation import parse_version

WORKER = Path(__file__).with_name("worker.py")
LOWEST_PYTHON = (3, 7)  # that the worker runs on
STARTING_S = 10.0  # longest that an interpreter may take to print its version
MOST_CRASHES = 2  # of one probe process; after these it is not started again
PREPARATION = ("import_oneflow", "build_model")

Launch = Callable[[str, Dict[str, str]], Any]  # name and environment -> WorkerProcess


def check_interpreter(python: str) -> None:
    """Raises InputError unless `python` starts and is a Python that the worker runs on."""
    printed, problem = "", "is no Python interpreter"
    code = "import platform; print(platform.python_version())"
    try:
        done = subprocess.run(
            create_python_command(python, code),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=STARTING_S,
        )
        printed = "" if done.returncode else done.stdout.decode("utf-8", "replace").strip()
    except OSError as error:
        problem = f"cannot be started ({error.strerror})"
    except subprocess.TimeoutExpired:
        problem = f"did not print its version within {STARTING_S:g} s"
    version = parse_version(printed)
    if len(version) < 2 or version < LOWEST_PYTHON:
        raise InputError(
            f"{python} {problem if len(version) < 2 else f'is Python {printed}'}; "
            f"give --python the path of a Python 3.7 or later, such as {sys.executable}"
        )


def create_probe_launcher(python: str, folder: Path) -> Launch:
    """Starts the doctor's worker under `python` in an environment; logs go to `folder`."""
    numbers = count()

    def launch(name: str, environment: Dict[str, str]) -> WorkerProcess:
        log = folder / f"{name}-{next(numbers)}.log"  # a probe may be started twice
        return WorkerProcess(name, [python, str(WORKER)], environment, log, keeps_log=False)

    return launch


@dataclass
class ProbeProcess:
    """Asks a worker in one environment for measurements, each of which may end it.

    `time_left` gives the seconds that an answer may take. A measurement that fails is added to
    `failures`. With `counts`, a crash is a finding: the user runs in that environment. Otherwise it
    was only tried, and the failure carries the name of the probe. The worker prepares itself by the
    calls in `preparation` before the first question.
    """

    name: str
    environment: Dict[str, str]
    launch: Launch
    time_left: Callable[[], float]
    failures: List[Failure]
    counts: bool = True
    preparation: Sequence[str] = PREPARATION
    log_tail: str = ""  # at the last failure
    _worker: Any = None
    _pending: List[str] = field(default_factory=list)  # calls of the preparation
    _crashes: int = 0

    def begin(self) -> None:
        """Start the worker and its preparation, without waiting."""
        self._worker = self.launch(self.name, self.environment)
        self._pending = list(self.preparation)
        with suppress(WorkerError):  # it died; receiving the answer reports that
            for call in self.preparation:
                self._worker.send(call)

    def wait(self) -> None:
        """Wait until the worker is prepared, so that all are idle before a clock starts."""
        while self._pending:
            if self._receive(self._pending.pop(0)) is None:
                self._crashes = MOST_CRASHES
                self.close()

    def ask(
        self, call: str, meanwhile: Callable[[], None] = lambda: None, **arguments: Any
    ) -> Optional[Dict[str, Any]]:
        """The answer to one call; None, and a failure noted, if there was none.

        `meanwhile` is called while the worker measures.
        """
        if self._worker is None and self._crashes < MOST_CRASHES:
            self.begin()
        self.wait()
        if self._worker is None:
            return None
        with suppress(WorkerError):
            self._worker.send(call, **arguments)
        meanwhile()
        return self._receive(call)

    def _receive(self, call: str) -> Optional[Dict[str, Any]]:
        """The answer to a call that was sent. After a death the next call starts a new worker."""
        try:
            answer: Dict[str, Any] = self._worker.receive(call, self.time_left())
        except WorkerError as error:
            late = isinstance(error, WorkerTimeout)
            self._fail(call, OUT_OF_TIME if late else describe_end(error), crashed=not late)
            self._crashes += 1
            self.log_tail = error.log_tail
            self.close()
            return None
        if answer.get("error") is None:
            return answer
        self.log_tail = self._worker.read_log_tail()
        self._fail(call, answer["error"], crashed=True)
        return None

    def _fail(self, call: str, reason: str, crashed: bool) -> None:
        tried = not self.counts and self.preparation
        shown = call.replace("measure_", "").replace("_", " ")
        failure = Failure(
            measurement=f"{shown} ({self.name})" if tried else shown,
            reason=reason,
            crashed=crashed and self.counts,
        )
        if failure not in self.failures:
            self.failures.append(failure)

    def close(self) -> None:
        """End the worker, at once since it has nothing to keep; the next call starts another."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.close()
        self._worker, self._pending = None, []


def describe_end(error: WorkerError) -> str:
    """How a worker ended, in a few words."""
    if error.returncode is None:
        return str(error)
    lines = error.log_tail.strip().splitlines()
    last = f"; its last line: {lines[-1].strip()}" if lines else ""
    return f"the process died ({describe_exit(error.returncode)}){last}"
