"""One probe process: it measures one environment and is started again if a measurement ends it."""

from __future__ import annotations

import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

from ...errors import InputError, WorkerError, WorkerTimeout
from ...worker.foreign_python import create_python_command
from ...worker.process import WorkerProcess, describe_exit
from .diagnosis import OUT_OF_TIME, Failure, ImportOutcome
from .import_checks import parse_version

WORKER = Path(__file__).with_name("worker.py")
LOWEST_PYTHON = (3, 7)  # that the worker runs on
STARTING_S = 10.0  # longest that an interpreter may take to print its version
MOST_CRASHES = 2  # of one probe process; after these it is not started again
PREPARATION = ("load", "build")  # import OneFlow, then build a model
_SHOWN = {
    "identify": "versions",
    "load": "import",
    "build": "building a model",
    "measure_numpy": "NumPy's matrix product",
    "measure_matmul": "matrix product",
    "measure_threads": "reduction",
    "measure_operators": "operators",
    "measure_steps": "train steps",
    "measure_memory": "page faults",
}

Launch = Callable[[str, Dict[str, str]], Any]  # name and environment -> WorkerProcess


def check_interpreter(python: str) -> None:
    """Raises InputError unless `python` starts and is a Python that the worker runs on."""
    lowest = ".".join(map(str, LOWEST_PYTHON))
    remedy = f"give --python the path of a Python {lowest} or later, such as {sys.executable}"
    code = "import platform; print(platform.python_version())"
    try:
        done = subprocess.run(
            create_python_command(python, code),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=STARTING_S,
        )
    except OSError as error:
        raise InputError(f"{python} cannot be started ({error.strerror}); {remedy}") from None
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{python} did not print its version within {STARTING_S:g} s; {remedy}"
        ) from None
    printed = done.stdout.decode("utf-8", "replace").strip()
    version = parse_version(printed)
    if done.returncode or len(version) < 2:
        raise InputError(f"{python} is no Python interpreter; {remedy}")
    if version < LOWEST_PYTHON:
        raise InputError(f"{python} is Python {printed}; {remedy}")


def create_probe_launcher(python: str, folder: Path) -> Launch:
    """Starts the doctor's worker under `python` in an environment; logs go to `folder`."""
    numbers = count()

    def launch(name: str, environment: Dict[str, str]) -> WorkerProcess:
        log = folder / f"{name}-{next(numbers)}.log"  # a probe may be started twice
        return WorkerProcess(name, [python, str(WORKER)], environment, log)

    return launch


class ProbeProcess:
    """Asks a worker in one environment for measurements, each of which may end it.

    `time_left` gives the seconds that an answer may take. A measurement that fails is added to
    `failures`. With `counts`, a crash is a finding: the user runs in that environment. Otherwise it
    was only tried, and the failure carries the name of the probe. The worker prepares itself by the
    calls in `preparation` before the first question.
    """

    def __init__(
        self,
        name: str,
        environment: Dict[str, str],
        launch: Launch,
        time_left: Callable[[], float],
        failures: List[Failure],
        counts: bool = True,
        preparation: Sequence[str] = PREPARATION,
    ) -> None:
        self.name = name
        self._environment, self._launch = environment, launch
        self._time_left, self._failures, self._counts = time_left, failures, counts
        self._preparation = preparation
        self._worker: Any = None
        self._pending = self._hopeless = False
        self._crashes = 0

    def begin(self) -> None:
        """Start the worker and its preparation, without waiting."""
        self._worker = self._launch(self.name, self._environment)
        self._pending = True
        for call in self._preparation:
            self._send(call)

    def load(self) -> Optional[ImportOutcome]:
        """How the import ended; None when there was no time for it."""
        if self._worker is None:
            self.begin()
        self._pending = False
        outcome: Optional[ImportOutcome] = None
        try:
            answer = self._worker.receive("load", self._time_left())
            outcome = ImportOutcome(log_tail=self._worker.read_log_tail(), **answer)
        except WorkerTimeout:
            self._fail("load", OUT_OF_TIME, crashed=False)
        except WorkerError as error:
            outcome = ImportOutcome(error=describe_end(error), log_tail=error.log_tail)
        if outcome is None or outcome.error is not None:
            self._hopeless = True
            self.close()
        return outcome

    def wait(self) -> None:
        """Wait until the worker is prepared, so that all are idle before a clock starts."""
        if not self._pending:
            return
        self._pending = False
        if "load" in self._preparation:
            outcome = self.load()
            if outcome is not None and outcome.error is not None:
                self._fail("load", outcome.error, crashed=True)
        if "build" in self._preparation and not self._hopeless:
            self._hopeless = self._receive("build") is None

    def ask(
        self, call: str, meanwhile: Callable[[], None] = lambda: None, **arguments: Any
    ) -> Optional[Dict[str, Any]]:
        """The answer to one call; None, and a failure noted, if there was none.

        `meanwhile` is called while the worker measures.
        """
        if self._worker is None and not self._hopeless:
            self.begin()
        self.wait()
        if self._hopeless:
            return None
        self._send(call, **arguments)
        meanwhile()
        return self._receive(call)

    def _send(self, call: str, **arguments: Any) -> None:
        try:
            self._worker.send(call, **arguments)
        except WorkerError:
            pass  # it died; receiving the answer reports that

    def _receive(self, call: str) -> Optional[Dict[str, Any]]:
        """The answer to a call that was sent. After a death the next call starts a new worker."""
        try:
            answer: Dict[str, Any] = self._worker.receive(call, self._time_left())
        except WorkerTimeout:
            self._fail(call, OUT_OF_TIME, crashed=False)
        except WorkerError as error:
            self._fail(call, describe_end(error), crashed=True)
        else:
            if answer.get("error") is None:
                return answer
            self._fail(call, answer["error"], crashed=True)
            return None
        self._crashes += 1
        self._hopeless = self._crashes >= MOST_CRASHES
        self.close()
        return None

    def _fail(self, call: str, reason: str, crashed: bool) -> None:
        tried = not self._counts and self._preparation
        failure = Failure(
            measurement=_SHOWN.get(call, call) + (f" ({self.name})" if tried else ""),
            reason=reason,
            crashed=crashed and self._counts,
        )
        if failure not in self._failures:
            self._failures.append(failure)

    def close(self) -> None:
        """End the worker, at once since it has nothing to keep; the next call starts another."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.close()
            self._worker = None
        self._pending = False


def describe_end(error: WorkerError) -> str:
    """How a worker ended, in a few words."""
    if error.returncode is None:
        return str(error)
    lines = error.log_tail.strip().splitlines()
    return f"the process died ({describe_exit(error.returncode)})" + (
        f"; its last line: {lines[-1].strip()}" if lines else ""
    )
