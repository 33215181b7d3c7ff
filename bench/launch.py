"""Starts the worker processes of contenders, each in its own environment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict, Sequence

from oneflow_bench.config import Contender
from oneflow_bench.interpreter import Interpreter, check_interpreter, check_options
from oneflow_bench.runtime import RuntimeResolver
from oneflow_bench.variables import check_variables
from oneflow_bench.worker_process import WorkerProcess, create_worker_command


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


def create_launcher(
    folder: Path, environments: RuntimeResolver, module: str = "oneflow_bench.worker"
) -> Any:
    """Starts a contender's worker process in its own environment; logs go to `folder`/logs."""

    def launch(contender: Contender) -> WorkerProcess:
        python = python_of(contender)
        return WorkerProcess(
            contender.name,
            create_worker_command(python, module),
            environments.resolve(contender, python),
            folder / "logs" / f"{contender.name}.log",
        )

    return launch
