"""A rank on this machine: a worker process that the controller can also look at."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Dict, List, Optional

from ..errors import WorkerError
from ..training.identity import Identity
from ..worker.process import WorkerProcess
from . import progress
from .membership import PARENT_VARIABLE, STACK_SIGNAL
from .observation import Observation, observe


class RankProcess(WorkerProcess):
    """One member of a group; its log and its progress file are in `logs`."""

    def __init__(
        self,
        group: str,
        identity: Identity,
        command: List[str],
        environment: Dict[str, str],
        logs: Path,
        connection: Optional[socket.socket] = None,
    ) -> None:
        """With a `connection` it is asked from another machine (see `WorkerProcess`)."""
        logs.mkdir(parents=True, exist_ok=True)
        name = f"{group}.rank-{identity.rank}"
        self._progress = (logs / f"{name}.progress").resolve()
        progress.create_progress_file(self._progress)
        self._seen: Optional[Observation] = None
        variables = {progress.VARIABLE: str(self._progress), PARENT_VARIABLE: str(os.getpid())}
        title = create_title(group, identity)
        log = logs / f"{name}.log"
        try:
            super().__init__(name, command, {**environment, **variables}, log, title, connection)
        except WorkerError:
            self._forget_progress()
            raise

    def observe(self, answered: bool) -> Optional[Observation]:
        """The rank now; None while it is ending."""
        self._seen = observe(self.pid, self._progress, answered, self._seen)
        return self._seen

    def write_stack(self) -> None:
        """Make the rank write to its log where its Python is, if it still can."""
        if self._process.poll() is None:
            os.kill(self.pid, STACK_SIGNAL)

    def close(self) -> None:
        super().close()
        self._forget_progress()

    def _forget_progress(self) -> None:
        try:
            self._progress.unlink()
        except FileNotFoundError:  # closed before
            pass


def create_title(group: str, identity: Identity) -> str:
    """What errors call a rank."""
    return f"rank {identity.rank} of the worker '{group}'"
