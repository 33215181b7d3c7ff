"""Starts the worker processes of contenders, each in its own environment."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Sequence

from ..config import Contender
from ..errors import InputError
from .environment import RuntimeResolver
from .foreign_python import Interpreter, check_interpreter, check_options
from .messages import Launcher
from .process import WorkerProcess, create_worker_command
from .variables import check_variables

TRAINING = "oneflow_bench.bench.worker.session"


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
    """Starts a contender's worker in its own environment; logs go to `folder`/logs.

    The launcher raises InputError for a contender of several ranks.
    """

    def launch(contender: Contender) -> WorkerProcess:
        if contender.ranks > 1:
            raise InputError(
                f"the contender '{contender.name}' has {contender.ranks} ranks, and this command "
                "works on one process; take a contender of one rank"
            )
        command = create_worker_command(contender.interpreter, module)
        environment = environments.resolve(contender, contender.interpreter)
        log = folder / "logs" / f"{contender.name}.log"
        return WorkerProcess(contender.name, command, environment, log)

    return launch
