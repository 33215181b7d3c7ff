"""Starts the worker processes of contenders, each in its own environment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence

from ..config import Contender
from ..distributed.machines.node_server import NodeServer
from ..distributed.seat import THREADS
from ..distributed.starting import start_group
from ..errors import InputError
from .environment import TUNED, RuntimeResolver
from .foreign_python import Interpreter, check_interpreter, check_options
from .process import WorkerProcess, create_worker_command
from .variables import check_variables

TRAINING = "oneflow_bench.bench.worker.session"
# workers that measure or examine one process, and by what command they are known
SINGLE = {
    "oneflow_bench.bench.tools.inference.worker": "bench infer",
    "oneflow_bench.bench.parity.worker": "bench check",
    "oneflow_bench.bench.tools.profile.worker": "bench profile",
    "oneflow_bench.bench.tools.tune.worker": "bench tune",
}


def python_of(contender: Contender) -> str:
    """The interpreter that a contender runs on."""
    return contender.python or sys.executable


def check_contenders(contenders: Sequence[Contender], environments: RuntimeResolver) -> None:
    """Ask each interpreter that is another, or that is given graph options, before anything runs.

    Raises InputError where a worker cannot run on it, it does not know an option, or nothing
    reads a variable that a contender sets.
    """
    answers: Dict[str, Interpreter] = {}
    for contender in contenders:
        check_variables(contender.env, python_of(contender), environments.base)
        if contender.python is None and not contender.graph_options:
            continue
        python = python_of(contender)
        if python not in answers:
            answers[python] = check_interpreter(python, environments.base)
        check_options(answers[python], contender.graph_options)


def divides_threads(contender: Contender, environments: RuntimeResolver) -> bool:
    """Whether each of its ranks has as many threads as cores: where nobody said otherwise."""
    given = {**environments.base, **contender.env}
    return contender.runtime == TUNED and THREADS not in given


def create_launcher(
    folder: Path,
    environments: RuntimeResolver,
    module: str = TRAINING,
    nodes: Optional[NodeServer] = None,
) -> Callable[[Contender], Any]:
    """Starts a contender's worker in its own environment; logs go to `folder`/logs.

    The worker is a `WorkerProcess`, or a `RankGroup` where the contender has several ranks, which
    are shared by this machine and the `nodes` where there are any. The
    launcher raises InputError for several ranks where `module` knows only one process.
    """

    def launch(contender: Contender) -> Any:
        python = python_of(contender)
        command = create_worker_command(python, module)
        environment = environments.resolve(contender, python)
        logs = folder / "logs"
        if contender.ranks == 1:
            return WorkerProcess(
                contender.name, command, environment, logs / f"{contender.name}.log"
            )
        if module in SINGLE:
            raise InputError(
                f"the contender '{contender.name}' has {contender.ranks} ranks, and "
                f"{SINGLE[module]} works on one process; take a contender of one rank"
            )
        divide = divides_threads(contender, environments)
        return start_group(contender, command, environment, logs, divide, nodes)

    return launch
