"""The worker of a parity check: it trains its first steps and gives what they trained.

Started like any worker (`bench/worker/launch.py`). Its turns: `prepare`, `compile`, `train`,
`weights`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Dict, Optional

from ...parity.difference import move_clip_norm, move_learning_rate, move_weights
from ...record.events import Compiled, Prepared
from ...record.machine import read_peak_rss_bytes
from ...worker.messages import PrepareRequest, Request
from ...worker.protocol import main
from ...worker.session import Session


class TuningRequest(PrepareRequest):
    """As the training worker's, with the seed of a perturbed run."""

    perturbed_seed: Optional[int] = None


class TuningCompiled(Compiled):
    """As the training worker's, with a digest of the compiled operators."""

    operators_digest: Optional[str] = None


class TuningSession(Session):
    """The state of one process between requests."""

    def prepare(self, request: TuningRequest) -> Prepared:  # type: ignore[override]
        """As `Session.prepare`; with a `perturbed_seed` the run is off by one rounding."""
        seed = request.perturbed_seed
        if seed is None:
            return super().prepare(request)
        workload = move_learning_rate(request.workload, seed)
        answer = super().prepare(request.model_copy(update={"workload": workload}))
        move_weights(self._job.model, seed)
        move_clip_norm(self._job.optimizer, seed)
        return answer

    def compile(self, request: Request) -> TuningCompiled:
        """Compile the train step alone; a parity check does not evaluate."""
        return TuningCompiled(
            compile_train_s=self._mode.compile_train(),
            compile_eval_s=0.0,
            operators_digest=self._digest_operators(),
        )

    def _digest_operators(self) -> Optional[str]:
        """sha256 over the compiled operators, names and types, in order; None in eager mode."""
        if not hasattr(self._mode, "list_ops"):
            return None
        text = "\n".join([*self._mode.list_ops()[1], *self._mode.list_op_names()])
        return hashlib.sha256(text.encode()).hexdigest()

    def weights(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """The digest of the trained tensors; they go to `path` unless it is the `expected` one."""
        from ...record.checkpoint import digest_state, save_weights
        from ...training.job import copy_state

        state = copy_state(self._job.model)
        digest = digest_state(state)
        written = digest != request.get("expected")
        if written:
            save_weights(state, Path(request["path"]), {})
        peak = read_peak_rss_bytes()
        return {"digest": digest, "written": written, "peak_rss_bytes": peak}


if __name__ == "__main__":
    main(TuningSession())
