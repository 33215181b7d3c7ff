"""A rank on this machine: a worker process that ends with its controller."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Dict, List, Optional

from ..training.identity import Identity
from ..worker.process import WorkerProcess
from .membership import PARENT_VARIABLE


class RankProcess(WorkerProcess):
    """One member of a group; its log is in `logs`."""

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
        name = f"{group}.rank-{identity.rank}"
        variables = {**environment, PARENT_VARIABLE: str(os.getpid())}
        title, log = create_title(group, identity), logs / f"{name}.log"
        super().__init__(name, command, variables, log, title, connection)


def create_title(group: str, identity: Identity) -> str:
    """What errors call a rank."""
    return f"rank {identity.rank} of the worker '{group}'"
