"""The search of one mode: settings alone, the winners together, each left out, the best confirmed.

The whole search can be read in `ModeSearch.run`. Each phase may last until a share of the mode's
time is gone; what it does not need is left to the next.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ...config import Contender, Workload
from ...verdict.judge import EQUIVALENCE, FASTER, INCONCLUSIVE, SLOWER, Interval
from .candidates import Setting, find_feed, merge_graph_options, merge_variables, name_together
from .confirm import Confirmer
from .contest import Contest, Outcome
from .finals import Finals, choose_confirmed, explain_none
from .first_steps import Entrant
from .race import NO_TIME, Standing, choose_kept
from .result import NOT_TRIED, PARITY_FAILED, CandidateResult, ModeResult, Phase
from .screening import Screening

# shares of a mode's time at whose end a phase stops; the rest is for confirming
ALONE_UNTIL, TOGETHER_UNTIL, LEFT_OUT_UNTIL = 0.5, 0.62, 0.75
SHORTEST = 0.8  # of its share, that a phase has however much a confirmation would take
CONFIRM_PROCESSES = 9  # three of each role
CONFIRM_COST = 1.5  # of a confirmation's process over a heat's: it compiles the evaluation too
LADDER_HEATS, LEFT_OUT_HEATS = 2, 4
MOST_TOGETHER = 8  # settings of a combination; each needs a process of every heat of its phases
MOST_LIKELY = 3  # of them that were not surely faster alone; on a noisy machine half of all look so


class Span(NamedTuple):
    """When a mode's search starts and must end, on the search's clock."""

    start_s: float
    end_s: float

    def at(self, share: float) -> float:
        return self.start_s + share * (self.end_s - self.start_s)


class ModeSearch:
    """Searches one mode; `result` is true at any time, also after an interruption."""

    def __init__(
        self,
        mode: str,
        settings: Sequence[Setting],
        workload: Workload,
        first: Any,
        create_contest: Callable[[Screening, float, int], Contest],
        confirmer: Confirmer,
        folder: Path,
        span: Span,
        clock: Callable[[], float],
        python: Optional[str] = None,
        on_change: Callable[[CandidateResult], None] = lambda candidate: None,
    ) -> None:
        self._mode, self._workload, self._python = mode, workload, python
        self._settings = list(settings)
        self._first, self._create_contest = first, create_contest
        self._confirmer, self._folder = confirmer, folder
        self._span, self._clock, self._on_change = span, clock, on_change
        self._settings_of: Dict[str, Sequence[Setting]] = {}
        self._stock = self._enter([])
        self._screening: Screening
        self._contest: Contest
        self.result = ModeResult(mode=mode, stock_step_time_s=0.0, trained_steps=0)
        self.environment: Dict[str, Any] = {}

    def run(self) -> ModeResult:
        """Search; raises WorkerError or InputError where stock itself cannot be run."""
        self._scout()
        taken, sure = self._race_alone()
        taken = self._climb(taken)
        best, whole = self._leave_out(taken, sure)
        self._confirm(best, whole)
        return self.result

    def _scout(self) -> None:
        scouted = self._first.scout(self._stock)
        self.environment = scouted.environment
        self.result.stock_step_time_s = scouted.step_time_s
        self.result.trained_steps = scouted.trained_steps
        self._screening = Screening(
            self._first,
            self._workload,
            scouted.trained,
            scouted.operators_digest,
            self._settings_of,
            self._python,
        )
        self._contest = self._create_contest(
            self._screening, scouted.process_s, scouted.peak_rss_bytes
        )

    def _race_alone(self) -> Tuple[List[Setting], List[str]]:
        """The settings to go on with, fastest first, and the names of those that surely won."""
        by_name = {setting.name: setting for setting in self._settings}
        outcomes = self._measure_alone(self._settings, ALONE_UNTIL)
        if not any(o.verdict == FASTER or _is_likely(o) for o in outcomes.values()):
            # nothing to combine and to confirm: the time for that goes to those who waited in vain
            late = [by_name[name] for name, o in outcomes.items() if o.verdict == NOT_TRIED]
            outcomes.update(self._measure_alone(late, LEFT_OUT_UNTIL))
        for name, outcome in outcomes.items():
            self._note("alone", [by_name[name]], outcome)
        sure = [name for name, outcome in outcomes.items() if outcome.verdict == FASTER]
        likely = [name for name, outcome in outcomes.items() if _is_likely(outcome)]
        ranked = sorted(
            [*sure, *likely], key=lambda name: (name in likely, -_ratio(outcomes[name]))
        )
        taken: List[Setting] = []
        room = MOST_LIKELY
        for name in ranked:
            rival = next((s for s in taken if s.family == by_name[name].family), None)
            if rival is not None:
                self.result.dropped[name] = f"{rival.name} is faster by the estimate"
            elif len(taken) < MOST_TOGETHER and (name in sure or room > 0):
                taken.append(by_name[name])
                room -= name in likely
            else:
                self.result.dropped[name] = "others were faster alone, or surer"
        return taken, sure

    def _measure_alone(self, settings: Sequence[Setting], share: float) -> Dict[str, Outcome]:
        entrants = [self._enter([setting]) for setting in settings]
        families = {setting.name: setting.family for setting in self._settings}
        count = len(self._settings)
        until_s = self._until(share)
        return self._contest.race(self._stock, entrants, families, until_s, comparisons=count)

    def _climb(self, taken: Sequence[Setting]) -> List[Setting]:
        """Add the winners one by one, fastest first; one that surely makes it slower is left out.

        With two, the whole and each alone are what the next phase measures anyway.
        """
        if len(taken) < 3:
            return list(taken)
        rungs = [self._enter(taken[:count]) for count in range(1, len(taken) + 1)]
        until_s = self._until(TOGETHER_UNTIL)
        outcomes = self._contest.race(self._stock, rungs, {}, until_s, LADDER_HEATS)
        kept = [taken[0]]
        for count in range(2, len(taken) + 1):
            setting, below, rung = taken[count - 1], rungs[count - 2].name, rungs[count - 1].name
            self._note("together", taken[:count], outcomes[rung])
            step = self._compare(below, rung, len(taken) - 1)
            if outcomes[rung].verdict == PARITY_FAILED:
                self.result.dropped[setting.name] = "with it the combination fails parity"
            elif step is not None and step.verdict == SLOWER:
                self.result.dropped[setting.name] = "with it the combination is slower"
            else:
                kept.append(setting)
        return kept

    def _compare(self, below: str, rung: str, comparisons: int) -> Optional[Standing]:
        """A rung against the one below; None where they were not both timed."""
        return self._contest.compare(below, [rung], LADDER_HEATS, comparisons).get(rung)

    def _leave_out(
        self, taken: Sequence[Setting], sure: Sequence[str]
    ) -> Tuple[List[Setting], List[Setting]]:
        """(what stays, what was the whole) after each setting has been left out in turn."""
        if len(taken) < 2:
            return list(taken), list(taken)
        whole = self._enter(taken)
        without = {
            setting.name: self._enter([s for s in taken if s is not setting]) for setting in taken
        }
        until_s = self._until(LEFT_OUT_UNTIL)
        field = [*without.values(), self._stock]
        outcomes = self._contest.race(whole, field, {}, until_s, LEFT_OUT_HEATS)
        standings: Dict[str, Standing] = {}
        for name, entrant in without.items():
            outcome = outcomes[entrant.name]
            settings = self._settings_of[entrant.name]
            over_stock = self._find_over_stock(entrant.name, len(taken))
            self._note("left out", list(settings), outcome, name, over_stock)
            if outcome.interval is not None:
                standings[name] = Standing(outcome.interval, outcome.verdict, outcome.reason)
        self._note_whole(taken, outcomes[self._stock.name])
        kept, dropped = choose_kept(standings, sure)
        for setting in taken:
            if setting.name not in standings and setting.name in sure:
                kept.append(setting.name)
            elif setting.name not in standings:
                dropped[setting.name] = "it was not sure alone, and could not be left out in time"
        best = [s for s in taken if s.name in kept] or list(taken[:1])
        self.result.dropped.update(
            {name: why for name, why in dropped.items() if name not in map(_name, best)}
        )
        return best, list(taken)

    def _find_over_stock(self, name: str, comparisons: int) -> Optional[Interval]:
        if not self._contest.heats:
            return None
        compared = self._contest.compare(self._stock.name, [name], LEFT_OUT_HEATS, comparisons)
        return compared[name].interval if name in compared else None

    def _note_whole(self, taken: Sequence[Setting], stock: Outcome) -> None:
        """The whole against stock, where the climb has not measured it already."""
        name = name_together(taken)
        if any(c.name == name and c.phase == "together" for c in self.result.candidates):
            return
        looks = max(1, stock.heats)
        standing = self._contest.compare(self._stock.name, [name], looks, 1).get(name)
        if standing is None:
            self._note("together", taken, Outcome(NOT_TRIED, NO_TIME, None, 0))
            return
        outcome = Outcome(standing.verdict, standing.reason, standing.interval, stock.heats)
        self._note("together", taken, outcome)

    def _until(self, share: float) -> float:
        """When a phase stops: at its share of the time, or earlier to leave a finalist its own."""
        latest_s = max(self._span.end_s - self._find_confirm_s(), self._span.at(share * SHORTEST))
        return min(self._span.at(share), latest_s)

    def _find_confirm_s(self) -> float:
        """What the fewest processes take of which the speed verdict gives an interval."""
        return CONFIRM_PROCESSES * CONFIRM_COST * self._contest.process_s

    def _confirm(self, best: Sequence[Setting], whole: Sequence[Setting]) -> None:
        """The combination that was left, and a second: the whole, or the fastest setting alone."""
        finalists = [list(best)] if best else []
        second = list(whole) if list(whole) != list(best) else list(best[:1])
        if second and second not in finalists:
            finalists.append(second)
        finals = Finals(self._first, self._screening, self._confirmer, self._folder, self._clock)
        entrants = [self._enter(settings) for settings in finalists]
        result = self.result
        result.confirmations = finals.run(
            list(zip(entrants, finalists)), self._span.end_s, self._find_confirm_s()
        )
        for candidate in result.candidates:  # the whole is a base in heats, and screened for this
            candidate.fidelity = candidate.fidelity or self._screening.find(candidate.name)
        result.heats = self._contest.run_heats
        result.duration_s = self._clock() - self._span.start_s
        chosen = choose_confirmed(result.confirmations)
        if chosen is None:
            result.reason = explain_none(result)
        else:
            result.chosen, result.settings = chosen.name, chosen.settings
            result.reason = "confirmed faster than stock in fresh processes"

    def _enter(self, settings: Sequence[Setting]) -> Entrant:
        """A program that can run in a heat."""
        name = name_together(settings)
        self._settings_of[name] = list(settings)
        contender = Contender(
            name=self._mode,
            mode=self._mode,
            runtime="stock",
            env=merge_variables(settings),
            graph_options=merge_graph_options(settings),
            python=self._python,
        )
        feed = find_feed(settings)
        workload = self._workload.model_copy(update={"feed": feed} if feed else {})
        return Entrant(name, contender, workload)

    def _note(
        self,
        phase: Phase,
        settings: Sequence[Setting],
        outcome: Outcome,
        left_out: Optional[str] = None,
        over_stock: Optional[Interval] = None,
    ) -> None:
        name = name_together(settings)
        candidate = CandidateResult(
            phase=phase,
            name=name,
            settings=list(settings),
            left_out=left_out,
            speedup=outcome.interval,
            over_stock=over_stock,
            verdict=outcome.verdict,
            reason=outcome.reason,
            heats=outcome.heats,
            fidelity=self._screening.find(name),
        )
        self.result.candidates.append(candidate)
        self._on_change(candidate)


def _name(setting: Setting) -> str:
    return setting.name


def _ratio(outcome: Outcome) -> float:
    return outcome.interval.ratio if outcome.interval else -math.inf


def _is_likely(outcome: Outcome) -> bool:
    """Not sure, but it looks faster by more than nobody would care about."""
    return outcome.verdict == INCONCLUSIVE and _ratio(outcome) > 1 + EQUIVALENCE
