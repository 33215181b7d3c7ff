"""Whom a heat times: only candidates that compute what stock computes, and that do something.

The reference and the witnesses that a difference is judged beside are trained when the first
difference is seen, and serve all candidates of the mode.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ...config import Contender, Workload
from ...errors import InputError, WorkerError
from .candidates import Setting
from .fidelity import DIFFERENT, Fidelity, Trained, is_identical, judge_fidelity, needs_witnesses
from .first_steps import Entrant
from .heat import Failure
from .result import NO_EFFECT, PARITY_FAILED

WITNESSES = 2
REFERENCE = "reference"


class Screening:
    """Judges what candidates trained against `stock`; `first` has the `train_alone` of FirstSteps.

    `settings_of` has the settings of each candidate by its name.
    """

    def __init__(
        self,
        first: Any,
        workload: Workload,
        stock: Trained,
        stock_operators: Optional[str],
        settings_of: Mapping[str, Sequence[Setting]],
        python: Optional[str] = None,
    ) -> None:
        self._first, self._workload = first, workload
        self._stock, self._stock_operators = stock, stock_operators
        self._settings_of, self._python = settings_of, python
        self._known: Dict[str, Tuple[Trained, Fidelity]] = {}
        self._reference: Optional[Trained] = None
        self._asked = False
        self._witnesses: List[Trained] = []

    def screen(
        self, entrant: Entrant, trained: Trained, operators: Optional[str]
    ) -> Optional[Failure]:
        """Why a candidate is out, None where it may be timed. The first result of each is kept."""
        known = self._known.get(entrant.name)
        if known is None or not is_identical(known[0], trained):
            self._known[entrant.name] = (trained, self._judge(trained))
        fidelity = self._known[entrant.name][1]
        if trained.weights is not None:
            trained.weights.unlink()
        if fidelity.verdict == DIFFERENT:
            return Failure(PARITY_FAILED, f"{fidelity.level}: {fidelity.reason}")
        settings = self._settings_of[entrant.name]
        same = operators == self._stock_operators and trained.digest == self._stock.digest
        if settings and all(setting.compiles for setting in settings) and same:
            return Failure(NO_EFFECT, "the graph compiles to the same operators as stock's")
        return None

    def find(self, name: str) -> Optional[Fidelity]:
        """What was found of a candidate; None where it trained nothing."""
        known = self._known.get(name)
        return known[1] if known else None

    def _judge(self, trained: Trained) -> Fidelity:
        if is_identical(self._stock, trained):
            return judge_fidelity(self._stock, trained)
        if not self._asked:
            self._asked = True
            self._reference = self._train(REFERENCE, None)
        fidelity = judge_fidelity(self._stock, trained, self._reference, self._witnesses)
        if needs_witnesses(fidelity) and not self._witnesses:
            moved = [self._train(f"witness-{seed}", seed) for seed in range(1, WITNESSES + 1)]
            self._witnesses = [witness for witness in moved if witness is not None]
            fidelity = judge_fidelity(self._stock, trained, self._reference, self._witnesses)
        return fidelity

    def _train(self, name: str, witness: Optional[int]) -> Optional[Trained]:
        """None where it cannot be had: then the differences are judged without it."""
        dtype = "float64" if name == REFERENCE else "float32"
        contender = Contender(
            name=name, mode="eager", runtime="stock", dtype=dtype, python=self._python
        )
        try:
            trained: Trained = self._first.train_alone(
                Entrant(name, contender, self._workload), witness
            )
        except (WorkerError, InputError):
            return None
        return trained
