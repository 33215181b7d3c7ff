"""The worker process of a rank: it joins its group and then serves an ordinary session."""

from __future__ import annotations

import os
from typing import Any

from ..worker.protocol import main
from ..worker.session import Session
from .rendezvous import join_group


def serve_rank(session: Any) -> None:
    main(session, prepare=lambda: join_group(os.environ))


if __name__ == "__main__":
    serve_rank(Session())
