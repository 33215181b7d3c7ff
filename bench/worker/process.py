"""The controller's end of a worker process: start it, ask it, end it; never import OneFlow.

A contender's worker starts in an environment of its own.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

from ..config import Contender
from ..errors import ENDING_SIGNALS, InputError, WorkerError, WorkerTimeout
from .environment import RuntimeResolver, check_variables
from .foreign_python import Interpreter, check_interpreter, check_options, create_python_command
from .messages import Launcher
from .protocol import AnswerStream, name_log, open_answer

TRAINING = "oneflow_bench.bench.worker.session"
TAIL_LINES = 12
END_GRACE_S = 5.0
LONGEST_CAUSE = 300  # letters
_NO_ASSERTS = "PYTHONOPTIMIZE"  # OneFlow's nn.Graph does not work without its asserts
# that launch a compiled graph, whose launch can end the process
LAUNCHING_CALLS = (
    *("train", "measure", "eval", "validate", "eval_forward", "first_step", "resume", "time"),
    "examine",
)
# how OneFlow and C++ say why they end a process
_CAUSE = re.compile(r"what\(\): .+|Check failed.+|^F\d{4,8} .+|.*out of memory.*", re.M | re.I)


@contextmanager
def hold_interruptions() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP act at the end.

    In the middle they would leave a process without owner, or a record without its status.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # no signal is handled in this thread
        return
    held: List[int] = []
    handlers = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    caught = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in caught:
        signal.signal(number, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        for number, handler in caught.items():
            signal.signal(number, handler)
    if held:
        signal.raise_signal(held[0])


class WorkerProcess:
    """One worker. Not started with the terminal's signals: only the controller ends it."""

    def __init__(
        self,
        name: str,
        command: List[str],
        environment: Dict[str, str],
        log: Path,
        title: Optional[str] = None,
        runs_graph: bool = True,
        keeps_log: bool = True,
    ) -> None:
        """`title` is what errors call it: "the worker 'NAME'" where it is not given.

        Only the death of one that `runs_graph` may be the launch race's. Errors name a log that is
        kept.
        """
        self.name = name
        self._runs_graph = runs_graph
        self.title = title or f"the worker '{name}'"
        self._log_path, self._kept_log = log, log if keeps_log else None
        log.parent.mkdir(parents=True, exist_ok=True)
        read_end, write_end = os.pipe()
        self._replies, self._answers = read_end, AnswerStream(read_end)
        try:
            with open(log, "ab") as log_file, hold_interruptions():
                self._process = subprocess.Popen(
                    [*command, "--reply-fd", str(write_end)],
                    env={k: v for k, v in environment.items() if k != _NO_ASSERTS},
                    stdin=subprocess.PIPE,
                    stdout=log_file,
                    stderr=subprocess.STDOUT,
                    pass_fds=[write_end],
                    start_new_session=True,
                )
        except KeyboardInterrupt:  # held until it has started; nobody else knows of it yet
            self.kill()
            self.close()
            raise
        except OSError as error:
            os.close(read_end)
            raise WorkerError(
                f"{self.title} could not be started with {command[0]} ({error.strerror}); "
                "check the contender's python"
            ) from None
        finally:
            os.close(write_end)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """Absolute: of what the worker and OneFlow in it wrote."""
        return self._log_path.resolve()

    @property
    def exit_status(self) -> Optional[int]:
        """None while it runs; negative for a signal."""
        return self._process.poll()

    def ask(self, call: str, timeout_s: float, **arguments: Any) -> Dict[str, Any]:
        """Send a request and wait for the answer.

        Raises InputError where the worker found something it was given unusable, WorkerTimeout
        where it did not answer within `timeout_s` seconds, and WorkerError where it died or failed.
        """
        self.send(call, **arguments)
        return self.receive(call, timeout_s)

    def send(self, call: str, **arguments: Any) -> None:
        """Send a request without waiting, so that several workers may be busy at once."""
        request = json.dumps({"call": call, **arguments}) + "\n"
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(request.encode())
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise self._died(call) from None

    def receive(self, call: str, timeout_s: float) -> Dict[str, Any]:
        """The answer to the request that was sent last; errors as `ask`'s."""
        answer = self.poll(call, timeout_s)
        if answer is None:
            self.kill()
            raise WorkerTimeout(
                f"{self.title} gave no answer to its {call} turn within "
                f"{timeout_s:g} s and was ended; give a longer --timeout if it needs it",
                self.read_log_tail(),
            )
        return answer

    def fileno(self) -> int:
        """What `select` waits on: there is something to read, or the worker has ended."""
        return self._replies

    def poll(self, call: str, timeout_s: float = 0.0) -> Optional[Dict[str, Any]]:
        """The answer to the last request, or None if it is not there in time. Errors as `ask`."""
        try:
            line = self._answers.take(timeout_s)
        except EOFError:
            raise self._died(call) from None
        if line is None:
            return None
        return open_answer(line, call, self.title, self._kept_log, self.read_log_tail)

    def _died(self, call: str) -> WorkerError:
        try:
            status = self._process.wait(timeout=END_GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            status = self._process.wait()
        return WorkerError(
            describe_death(self.title, call, status, self._log_path, self._runs_graph),
            self.read_log_tail(),
            status,
        )

    def read_log_tail(self) -> str:
        """The last lines the worker wrote."""
        return "\n".join(_read_log(self._log_path).splitlines()[-TAIL_LINES:])

    def kill(self) -> None:
        """End the worker and whatever it started, at once."""
        if self._process.poll() is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._process.wait()

    def close_input(self) -> None:
        """Let the worker know that nothing more will be asked."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass

    def close(self) -> None:
        """End the worker in good order if it does so in time, else by force."""
        self.close_input()
        try:
            self._process.wait(timeout=END_GRACE_S)
        except subprocess.TimeoutExpired:
            pass
        self.kill()
        if self._replies >= 0:
            os.close(self._replies)
            self._replies = -1


def describe_exit(status: int) -> str:
    """A sentence part for a process's return code."""
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name
    hint = "; the machine may be out of memory, try a smaller --batch-size" if status == -9 else ""
    return f"ended by {name}{hint}"


def describe_death(title: str, call: str, status: int, log: Path, runs_graph: bool = True) -> str:
    """The sentence for a worker that died in a turn; no eager worker dies of the launch race."""
    said = f"{title} died in its {call} turn ({describe_exit(status)}){name_log(log)}"
    causes = _CAUSE.findall(_read_log(log))
    may_race = runs_graph and call in LAUNCHING_CALLS
    if causes:
        said += f". It says: {' '.join(causes[-1].split())[:LONGEST_CAUSE]}"
    elif may_race and -status in (signal.SIGSEGV, signal.SIGABRT):
        said += (
            "; OneFlow 0.9.0 does this now and then to a graph of about "
            "a millisecond, run it again under `chrt --batch 0` or with a larger --batch-size"
        )
    return said


def _read_log(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def create_worker_command(python: str, module: str = TRAINING) -> List[str]:
    """Command line of a worker under the interpreter `python`; `module` holds its session."""
    run = f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    return create_python_command(python, f"import runpy; {run}")


def check_contenders(contenders: Sequence[Contender], environments: RuntimeResolver) -> None:
    """Ask each interpreter that is another, or that is given graph options, before anything runs.

    Raises InputError where a worker cannot run on it, it does not know an option, or nothing
    reads a variable that a contender sets.
    """
    answers: Dict[str, Interpreter] = {}
    for contender in contenders:
        check_variables(contender.env, contender.interpreter, environments.base)
        if contender.python is None and not contender.graph_options:
            continue
        python = contender.interpreter
        if python not in answers:
            answers[python] = check_interpreter(python, environments.base)
        check_options(answers[python], contender.graph_options)


def create_launcher(
    folder: Path, environments: RuntimeResolver, module: str = TRAINING
) -> Launcher:
    """Starts contenders of one rank, else InputError. Their logs go to `folder`/logs."""

    def launch(contender: Contender) -> WorkerProcess:
        if contender.ranks > 1:
            raise InputError(
                f"the contender '{contender.name}' has {contender.ranks} ranks, and this command "
                "works on one process; take a contender of one rank"
            )
        command = create_worker_command(contender.interpreter, module)
        environment = environments.resolve(contender, contender.interpreter)
        log = folder / "logs" / f"{contender.name}.log"
        runs_graph = contender.mode != "eager"
        return WorkerProcess(contender.name, command, environment, log, runs_graph=runs_graph)

    return launch
