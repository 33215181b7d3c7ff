"""One environment under examination: a worker that is started again when a measurement ended it."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

from ...errors import WorkerError, WorkerTimeout
from ...worker.process import describe_exit
from .readings import Failure, ImportReading

Launch = Callable[[str, Dict[str, str]], Any]  # name and environment -> WorkerProcess
OUT_OF_TIME = "the time was up"
MOST_CRASHES = 2  # after which no more is asked
_SHOWN = {
    "load": "import",
    "build": "building a model",
    "measure_matmul": "matrix product",
    "measure_threads": "reduction",
    "measure_operators": "operators",
    "measure_steps": "train steps",
    "measure_memory": "page faults",
}


class Subject:
    """Asks a worker in one environment for measurements, each of which may end it.

    `time_left` gives the seconds that an answer may take. What could not be measured is added to
    `failures`; `guilty` says that a crash here is a finding, as in the environment that the user
    runs in, and not only in one that was tried beside it. Without `builds` it only imports.
    """

    def __init__(
        self,
        name: str,
        environment: Dict[str, str],
        launch: Launch,
        time_left: Callable[[], float],
        failures: List[Failure],
        guilty: bool = True,
        builds: bool = True,
    ) -> None:
        self.name = name
        self._environment, self._launch = environment, launch
        self._time_left, self._failures, self._guilty = time_left, failures, guilty
        self._calls = ("load", "build") if builds else ("load",)
        self._worker: Any = None
        self._pending = self._hopeless = False
        self._crashes = 0

    def begin(self) -> None:
        """Start the worker and let it import OneFlow and build a model, without waiting."""
        self._worker = self._launch(self.name, self._environment)
        self._pending = True
        try:
            for call in self._calls:
                self._worker.send(call)
        except WorkerError:
            pass  # it died at once; so says the answer that is waited for

    def load(self) -> Optional[ImportReading]:
        """How the import ended; None when there was no time for it."""
        try:
            if self._worker is None:
                self.begin()
            self._pending = False
            answer = self._worker.receive("load", self._time_left())
            reading = ImportReading(log_tail=self._worker.read_log_tail(), **answer)
        except WorkerTimeout:
            self._fail("load", OUT_OF_TIME, crashed=False)
            reading = None
        except WorkerError as error:
            reading = ImportReading(error=describe_end(error), log_tail=error.log_tail)
        if reading is None or reading.error is not None:
            self._hopeless = True
            self.close()
        return reading

    def wait(self) -> None:
        """Wait for what was begun, so that all are idle before a clock starts."""
        if not self._pending:
            return
        reading = self.load()
        if reading is not None and reading.error is not None:
            self._fail("load", reading.error, crashed=True)
        if not self._hopeless and "build" in self._calls:
            built = self._receive("build")
            self._hopeless = self._hopeless or built is None

    def ask(
        self, call: str, meanwhile: Callable[[], None] = lambda: None, **arguments: Any
    ) -> Optional[Dict[str, Any]]:
        """The answer to one call; None, and a failure noted, where there was none.

        `meanwhile` is called while the worker measures.
        """
        if self._worker is None and not self._hopeless:
            self.begin()
        self.wait()
        if self._hopeless:
            return None
        try:
            self._worker.send(call, **arguments)
        except WorkerError:
            pass  # as above
        meanwhile()
        return self._receive(call)

    def _receive(self, call: str) -> Optional[Dict[str, Any]]:
        """The answer to what was sent. After a death the next call starts another worker, once."""
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
        failure = Failure(
            measurement=_SHOWN.get(call, call) + ("" if self._guilty else f" ({self.name})"),
            reason=reason,
            crashed=crashed and self._guilty,
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
