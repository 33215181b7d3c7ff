"""The interpreter that has PyTorch: checked before anything runs, and its worker started."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, Dict, List

from ...config import Workload
from ...errors import InputError
from ...plan.lr_schedule import base_learning_rate
from ...worker.foreign_python import create_python_command
from ...worker.process import WorkerProcess

WORKER_FILE = Path(__file__).resolve().parent / "torch_worker.py"
MODELS_FOLDER = Path(__file__).resolve().parents[3] / "models"
CHECK_TIMEOUT_S = 120.0  # the first import of PyTorch reads hundreds of megabytes
_FLAG = "--torch-python"
_INSTALL = "install it there, or give the python of an environment that has it"
_PROGRAM = """
import sys
for name in ("torch", "numpy"):
    try:
        module = __import__(name)
    except ImportError as error:
        sys.exit(f"missing {name} {error}")
    print(name, module.__version__)
"""


def check_torch_python(path: str) -> str:
    """The version of PyTorch in the interpreter at `path`.

    Raises InputError where that is no interpreter, or has no PyTorch or NumPy that can be imported.
    """
    if not path or not Path(path).exists():
        raise InputError(
            f"{_FLAG} {path or '(nothing)'} does not exist; give the path of a Python interpreter, "
            "such as /path/to/environment/bin/python"
        )
    if not os.path.isfile(path) or not os.access(path, os.X_OK):
        raise InputError(
            f"{_FLAG} {path} cannot be executed; give the path of a Python interpreter, such as "
            "/path/to/environment/bin/python"
        )
    done = _ask(path)
    lines = done.stdout.splitlines()
    versions = dict(line.split(" ", 1) for line in lines if line.count(" ") == 1)
    if done.returncode == 0 and {"torch", "numpy"} <= set(versions):
        return versions["torch"]
    said = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
    if said[-1].startswith("missing "):
        _, name, *reason = said[-1].split(" ")
        raise InputError(
            f"{_FLAG} {path} has no {name} that can be imported ({' '.join(reason)}); {_INSTALL}"
        )
    raise InputError(
        f"{_FLAG} {path} does not run Python as expected (exit status {done.returncode}: "
        f"{said[-1][:200]}); give the path of a Python interpreter that has PyTorch"
    )


def _ask(path: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            create_python_command(path, _PROGRAM),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=CHECK_TIMEOUT_S,
        )
    except OSError as error:
        raise InputError(
            f"{_FLAG} {path} cannot be started ({error.strerror}); give the path of a Python "
            "interpreter that has PyTorch"
        ) from None
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{_FLAG} {path} did not import PyTorch within {CHECK_TIMEOUT_S:g} s; try "
            "`import torch` with it, or give another interpreter"
        ) from None


def create_torch_launcher(python: str, folder: Path) -> Any:
    """Starts a PyTorch worker by name, in the user's own environment; logs go to `folder`/logs."""

    def launch(name: str) -> WorkerProcess:
        command: List[str] = [python, str(WORKER_FILE)]
        log = folder / "logs" / f"{name.replace(' ', '-')}.log"
        return WorkerProcess(name, command, dict(os.environ), log)

    return launch


def create_setup_request(
    workload: Workload, start: Dict[str, Any], disable_dropout: bool
) -> Dict[str, Any]:
    """What a PyTorch worker's setup is told.

    `start` has the files that `export` wrote: `weights`, `inputs`, and the `aux_weights` it gave.
    """
    return {
        **start,
        "models_folder": str(MODELS_FOLDER),
        "model": workload.model,
        "model_args": workload.model_args,
        "num_classes": workload.num_classes,
        "lr": base_learning_rate(workload),
        "momentum": workload.momentum,
        "weight_decay": workload.weight_decay,
        "nesterov": workload.nesterov,
        "disable_dropout": disable_dropout,
    }
