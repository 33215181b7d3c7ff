"""Runs the heats of a race until every candidate is decided on or its time is used up."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ...verdict.judge import INCONCLUSIVE, SLOWER, Interval, Margins
from .first_steps import Entrant
from .heat import HeatResult, Screen
from .race import (
    BASE_PROCESSES,
    NO_TIME,
    TOO_FEW,
    Heat,
    Standing,
    choose_field,
    count_affordable,
    find_beaten,
    judge_field,
    order_by_gain,
)
from .result import NOT_TRIED

# about what parity costs once, in processes: a run in float64, and witnesses where it is needed
SCREEN_PROCESSES = 3
# raw step times of a heat, by process, and the base they were held against
Store = Callable[[str, HeatResult], None]


class Outcome(NamedTuple):
    """What became of a candidate in a race."""

    verdict: str
    reason: str  # a sentence part
    interval: Optional[Interval]
    heats: int


class Contest:
    """The heats of one mode. What was measured in one race is used in the next.

    `runner` has the `run` of `heat.HeatRunner`; `count_places` says how many candidates may be
    alive together; `process_s` is a first guess of what a process costs, corrected by every heat.
    """

    def __init__(
        self,
        runner: Any,
        screen: Screen,
        clock: Callable[[], float],
        count_places: Callable[[], int],
        process_s: float,
        seed: int,
        margins: Optional[Margins] = None,
        store: Store = lambda base, result: None,
    ) -> None:
        self._runner, self._screen, self._clock = runner, screen, clock
        self._count_places, self.process_s, self._seed = count_places, process_s, seed
        self._margins, self._store = margins or Margins(), store
        self.heats: List[Heat] = []
        self.run_heats = 0

    def race(
        self,
        base: Entrant,
        entrants: Sequence[Entrant],
        families: Mapping[str, str],
        deadline_s: float,
        most_heats: Optional[int] = None,
        comparisons: Optional[int] = None,
    ) -> Dict[str, Outcome]:
        """An outcome for each of the entrants, who come in this order where not all can at once.

        Of those with one family only one can be had, so one surely slower than another is out. Each
        heat is a look, and the error is shared among `comparisons`; None: among these entrants.
        """
        shared = comparisons or len(entrants)
        by_name = {entrant.name: entrant for entrant in entrants}
        racing: List[str] = []
        waiting = list(by_name)
        out: Dict[str, Outcome] = {}
        standings: Dict[str, Standing] = {}
        looks = 0
        while (racing or waiting) and (most_heats is None or looks < most_heats):
            names = self._choose(racing, waiting, standings, deadline_s)
            if not names:
                break
            waiting = [name for name in waiting if name not in names]
            racing = [*racing, *(name for name in names if name not in racing)]
            result = self._run([base, *(by_name[name] for name in names)], deadline_s)
            looks += 1
            for name, failure in result.failures.items():
                out[name] = Outcome(failure.kind, failure.reason, None, self._count_heats(name))
            racing = [name for name in racing if name not in out]
            if self.heats:
                standings = judge_field(self.heats, base.name, racing, looks, shared, self._margins)
                self._decide(racing, standings, families, looks, shared, out)
            racing = [name for name in racing if name not in out]
        for name in racing:
            out[name] = self._conclude(name, standings)
        for name in waiting:
            out[name] = Outcome(NOT_TRIED, NO_TIME, None, 0)
        return {name: out[name] for name in by_name}

    def compare(
        self, base: str, names: Sequence[str], looks: int, comparisons: int
    ) -> Dict[str, Standing]:
        """Where programs stand against another than the base of their race, if both have run."""
        if not any(base in heat.programs for heat in self.heats):
            return {}
        return judge_field(self.heats, base, names, looks, comparisons, self._margins)

    def _choose(
        self,
        racing: Sequence[str],
        waiting: Sequence[str],
        standings: Dict[str, Standing],
        deadline_s: float,
    ) -> List[str]:
        measured = [name for name in racing if name in standings]
        begun = [*order_by_gain(standings, measured), *(n for n in racing if n not in standings)]
        left_s = deadline_s - self._clock()
        if not self.run_heats:
            left_s -= SCREEN_PROCESSES * self.process_s
        affordable = count_affordable(left_s, self.process_s, len(begun), len(waiting))
        return choose_field(begun, waiting, min(affordable, self._count_places()))

    def _run(self, entrants: Sequence[Entrant], deadline_s: float) -> HeatResult:
        base, field = entrants[0], entrants[1:]
        self.run_heats += 1
        result: HeatResult = self._runner.run(
            base,
            field,
            self._seed + self.run_heats,
            self._screen,
            lambda: self._clock() > deadline_s,
        )
        self._store(base.name, result)
        if result.heat is not None:
            self.heats.append(result.heat)
            self.process_s = (result.duration_s - result.screen_s) / (len(field) + BASE_PROCESSES)
        return result

    def _decide(
        self,
        racing: Sequence[str],
        standings: Mapping[str, Standing],
        families: Mapping[str, str],
        looks: int,
        comparisons: int,
        out: Dict[str, Outcome],
    ) -> None:
        for name, standing in standings.items():
            if standing.verdict != INCONCLUSIVE:
                out[name] = Outcome(
                    standing.verdict, standing.reason, standing.interval, self._count_heats(name)
                )
        rivals: Dict[str, List[str]] = defaultdict(list)
        for name, family in families.items():
            rivals[family].append(name)
        for members in rivals.values():
            field = [name for name in members if name in racing and name not in out]
            beaten = find_beaten(self.heats, field, members, looks, comparisons, self._margins)
            for name, best in beaten.items():
                interval = standings[name].interval if name in standings else None
                out[name] = Outcome(
                    SLOWER, f"slower than {best}", interval, self._count_heats(name)
                )

    def _conclude(self, name: str, standings: Mapping[str, Standing]) -> Outcome:
        heats = self._count_heats(name)
        if name not in standings:
            return Outcome(INCONCLUSIVE, TOO_FEW, None, heats)
        standing = standings[name]
        return Outcome(standing.verdict, standing.reason, standing.interval, heats)

    def _count_heats(self, name: str) -> int:
        return sum(name in heat.programs for heat in self.heats)
