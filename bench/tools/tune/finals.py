"""The finals: who is confirmed, that each computes what stock computes, and which is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ...errors import InputError, WorkerError
from ...verdict.judge import FASTER
from .candidates import Setting, find_feed
from .confirm import UNTRIED, Confirmed, Confirmer, Finalist
from .first_steps import Entrant
from .heat import Failure, describe_failure
from .result import Confirmation, ModeResult
from .screening import Screening

SECOND_COST = 4 / 3  # of two finalists over one: a fourth process of each replicate

Program = Tuple[Entrant, Sequence[Setting]]


class Finals:
    """Confirms combinations against stock; `first` has the `train_alone` of FirstSteps."""

    def __init__(
        self,
        first: Any,
        screening: Screening,
        confirmer: Confirmer,
        folder: Path,
        clock: Callable[[], float],
    ) -> None:
        self._first, self._screening, self._confirmer = first, screening, confirmer
        self._folder, self._clock = folder, clock
        self._runs = 0

    def run(self, programs: Sequence[Program], end_s: float, fewest_s: float) -> List[Confirmation]:
        """What was said of each. The second joins the first where there is time for it.

        `fewest_s` is what the fewest processes take of which one can be judged.
        """
        failures = {entrant.name: self._screen(entrant) for entrant, _ in programs}
        sound = [program for program in programs if failures[program[0].name] is None]
        fits = end_s - self._clock() >= fewest_s * SECOND_COST
        together = sound if fits else sound[:1]
        confirmed: Dict[str, Tuple[Confirmed, Optional[str]]] = {}
        if together:
            confirmed = self._measure(together, end_s)
        found = []
        for entrant, settings in programs:
            failure = failures[entrant.name]
            if failure is not None:
                confirmed[entrant.name] = Confirmed(failure.kind, failure.reason, None), None
            said, folder = confirmed.get(entrant.name, (UNTRIED, None))
            found.append(
                Confirmation(
                    name=entrant.name,
                    settings=list(settings),
                    verdict=said.verdict,
                    reason=said.reason,
                    judgement=said.judgement,
                    warnings=list(said.warnings),
                    folder=folder,
                    fidelity=self._screening.find(entrant.name),
                )
            )
        return found

    def _screen(self, entrant: Entrant) -> Optional[Failure]:
        """Why a finalist that no heat has screened is out; None where it may be confirmed."""
        if self._screening.find(entrant.name) is None:
            try:
                trained = self._first.train_alone(entrant)
            except (WorkerError, InputError) as error:
                return describe_failure(error)
            return self._screening.screen(entrant, trained, None)
        return None

    def _measure(
        self, programs: Sequence[Program], end_s: float
    ) -> Dict[str, Tuple[Confirmed, Optional[str]]]:
        """The verdict on each and the folder of its record; one by one where a process fails."""
        self._runs += 1
        mode = programs[0][0].contender.mode
        folder = f"confirm-{mode}-{self._runs}"
        finalists = [
            Finalist(
                entrant.contender.model_copy(update={"name": f"tuned-{number}"}),
                find_feed(settings),
            )
            for number, (entrant, settings) in enumerate(programs, start=1)
        ]
        left_s = end_s - self._clock()
        if left_s <= 0:
            return {}
        try:
            said = self._confirmer.confirm(self._folder / folder, finalists, left_s)
        except (WorkerError, InputError) as error:
            if len(programs) == 1:
                failure = describe_failure(error)
                return {programs[0][0].name: (Confirmed(*failure, None), folder)}
            apart = [self._measure([program], end_s) for program in programs]
            return {name: one for each in apart for name, one in each.items()}
        return {entrant.name: (one, folder) for (entrant, _), one in zip(programs, said)}


def choose_confirmed(confirmations: Sequence[Confirmation]) -> Optional[Confirmation]:
    """The first that was confirmed faster, unless a later one is surely faster than that."""
    best: Optional[Confirmation] = None
    for one in confirmations:
        if one.verdict != FASTER or one.judgement is None:
            continue
        low = one.judgement.speedup.low
        high = best.judgement.speedup.high if best and best.judgement else None
        if best is None or (low is not None and high is not None and low > high):
            best = one
    return best


def explain_none(result: ModeResult) -> str:
    """Why stock stays, a sentence part."""
    if not result.candidates:
        return "no setting makes sense here"
    if not result.confirmations:
        return "no setting looked faster than stock"
    verdicts = ", ".join(dict.fromkeys(c.verdict for c in result.confirmations))
    return f"nothing was confirmed faster (the best: {verdicts})"
