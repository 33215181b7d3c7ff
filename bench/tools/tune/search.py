"""The search: forward selection over the speed phase and the verdict of `bench compare`.

For each mode, in its share of the budget:

1. Baseline run. One process of stock gives the losses and weights to match, and the times that the
   rest is planned by.
2. Checks and screening. Each setting trains its first steps in a process of its own. A setting is
   rejected if it fails, computes something else, or compiles to stock's operators. The others
   share a speed phase of one process each. Its ratios have no intervals. They order the settings
   by expected gain and decide nothing else. If one round takes all settings, none is screened.
3. Rounds. The settings of the highest expected gain, each joined to the best combination so far,
   are contenders in one speed phase against that combination. Of the settings that are `faster`
   the one with the highest ratio is taken; other values of its family leave. A setting that is
   `slower` or `equivalent` leaves too. A combination is checked for parity before it is timed. If
   none is faster, those that look faster by 2 % have a second round, and the next settings follow,
   until all were timed or the time is up.
4. Confirmation. The selected settings against stock, in fresh processes. Only `faster` gets into
   the profile.

The cost is the number of processes, as each takes seconds before its first timed step: a check and
a screening take one for each setting, a round of n settings takes 3 (n + 2). So the confirmation's
time is reserved first, then that of one round. A round has as many settings as may have six
replicates and leave the time for another round; if the time is short, it has one. If no setting was
taken when the time for rounds is over, the one that looks fastest is confirmed directly.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Set

from ...errors import InputError, WorkerError
from ...plan.plan import Plan
from ...record.machine import read_available_bytes
from ...verdict.judge import EQUIVALENCE, FASTER, INCONCLUSIVE
from .candidates import Program, Setting, create_program
from .parity_check import Outcome, ParityCheck, describe_failure
from .phase import SpeedPhases
from .report import NO_TIME, NOT_TRIED, SCREENED, CandidateResult, Confirmation, ModeResult

SCREENING_SHARES = 0.3, 0.45  # of a mode's time, at least and at most
CONFIRMATION_SHARE = 0.25  # of a mode's time, at least
MOST_CONTENDERS = 6  # of a round
WANTED_REPLICATES, MOST_REPLICATES = 6, 24  # of a round; of any phase
MEMORY_SHARE = 0.7  # of the available memory, for processes that are alive together


@dataclass(frozen=True)
class TuneRequest:
    """The search to run."""

    plan: Plan
    settings: Mapping[str, Sequence[Setting]]  # by mode, in the order of the search
    budget_s: float
    timeout_s: float
    python: Optional[str] = None  # None: the interpreter that runs the suite


class ModeSearch:
    """Searches one mode until `end_s` of `clock`; `result` is true at any time."""

    def __init__(
        self,
        mode: str,
        request: TuneRequest,
        end_s: float,
        check: ParityCheck,
        phases: SpeedPhases,
        show: Callable[[CandidateResult], None],
        clock: Callable[[], float],
    ) -> None:
        self._mode, self._request = mode, request
        self._begin_s, self._end_s = clock(), end_s
        self._check, self._phases, self._show, self._clock = check, phases, show, clock
        self._waiting = list(request.settings[mode])  # not checked yet
        self._gains: Dict[str, float] = {}  # newest ratio of each setting that was timed
        self._out: Set[str] = set()  # settings that are taken or are no candidates any more
        self.result = ModeResult(mode=mode, stock_step_time_s=0.0, trained_steps=0)

    def run(self) -> None:
        """Search. Raises WorkerError or InputError if stock itself cannot be run."""
        phases = self._phases
        try:
            stock = self._check.run_baseline(self._join([]))
            self.result.trained_steps = len(stock.losses)
            self.result.stock_step_time_s = phases.step_time_s = stock.step_time_s
            # two at least start side by side; the checks tell how much that saves
            phases.process_s = self._check.start_s / min(2, len(os.sched_getaffinity(0)))
            phases.wait_s = self._check.find_wait_s()
            sound = self._check_alone()
            self._screen(sound)
            self._confirm(self._select(sound))
        finally:
            for setting in self._waiting:
                self._note("alone", setting, self._join([setting]), Outcome(NOT_TRIED, NO_TIME))
            self.result.phases, self.result.duration_s = phases.count, self._clock() - self._begin_s

    def _join(self, settings: Sequence[Setting]) -> Program:
        plan, python = self._request.plan, self._request.python
        return create_program(self._mode, settings, plan.workload, python)

    def _check_alone(self) -> List[Setting]:
        """The settings that compute what stock computes, as many as can be screened in time."""
        sound: List[Setting] = []
        together, stock = len(os.sched_getaffinity(0)), [self._join([])]
        while self._waiting:  # with stock again: does it repeat itself?
            batch = self._waiting[:together]
            planned_s = len(batch) * self._phases.process_s
            if len(sound) + len(batch) > self._count_contenders():
                planned_s += self._phases.estimate_s(len(sound) + len(batch), 1)
            if self._clock() + planned_s > self._find_screening_end_s():
                break
            programs = [self._join([setting]) for setting in batch]
            begin_s = self._clock() - self._check.extra_s
            rejected = self._check.check([*stock, *programs])
            checked_s = self._clock() - self._check.extra_s - begin_s
            self._phases.process_s = checked_s / len([*stock, *programs])
            self._waiting, stock = self._waiting[together:], []
            for setting, program in zip(batch, programs):
                outcome = rejected[program.name]
                if outcome is None:
                    sound.append(setting)
                else:
                    self._note("alone", setting, program, outcome)
        return sound

    def _find_screening_end_s(self) -> float:
        span_s = self._end_s - self._begin_s
        least_s, most_s = (share * span_s for share in SCREENING_SHARES)
        left_s = span_s - self._find_reserve_s() - self._phases.estimate_s(1)
        return self._begin_s + max(least_s, min(most_s, left_s))

    def _find_reserve_s(self) -> float:
        """The time of the confirmation."""
        share_s = CONFIRMATION_SHARE * (self._end_s - self._begin_s)
        return max(share_s, self._phases.estimate_s(1))

    def _screen(self, settings: Sequence[Setting]) -> None:
        """The expected gain of each, unless one round takes them all."""
        if len(settings) <= self._count_contenders():
            return
        places = self._count_places()
        for first in range(0, len(settings), places):
            batch = settings[first : first + places]
            programs = [self._join([setting]) for setting in batch]
            budget_s = self._phases.estimate_s(len(batch), 1)
            found = self._phases.measure("screening", self._join([]), programs, budget_s, 1)
            for setting, program in zip(batch, programs):
                outcome = found[program.name]
                if outcome.judgement is not None:
                    outcome = outcome._replace(verdict=SCREENED)
                self._note("alone", setting, program, outcome)

    def _select(self, settings: Sequence[Setting]) -> List[Setting]:
        """The settings that forward selection took, in the order in which it took them."""
        best: List[Setting] = []
        tries: Dict[str, int] = {}  # of each setting joined to the best so far
        number = 0
        while True:
            remaining = [s for s in settings if s.name not in self._out]
            fresh = [s for s in remaining if s.name not in tries]
            again = [s for s in remaining if tries.get(s.name) == 1 and self._looks_faster(s)]
            batch = self._choose_batch(again or fresh)
            if not batch:
                break
            number += 1
            faster = self._run_round(number, best, batch)
            tries.update({s.name: tries.get(s.name, 0) + 1 for s in batch})
            if faster:
                taken = min(faster, key=self._rank)
                best, tries = [*best, taken], {}
                for other in (s for s in remaining if s.family == taken.family):
                    self._out.add(other.name)
                    if other is not taken:
                        self.result.dropped[other.name] = f"{taken.name} was taken in its place"
        if not best:
            best = sorted(filter(self._looks_faster, remaining), key=self._rank)[:1]
        self.result.unfinished = [setting.name for setting in fresh if setting not in best]
        return best

    def _looks_faster(self, setting: Setting) -> bool:
        return self._gains.get(setting.name, 0.0) > 1 + EQUIVALENCE

    def _rank(self, setting: Setting) -> float:
        return -self._gains.get(setting.name, 0.0)

    def _count_places(self) -> int:
        """Contenders whose processes fit into the memory beside the base and the control."""
        available = MEMORY_SHARE * (read_available_bytes() or 0)
        return max(1, int(available / max(1, self._check.peak_rss_bytes)) - 2)

    def _count_contenders(self) -> int:
        """Contenders of the next round: as many as may have WANTED_REPLICATES each; else one."""
        left_s = self._end_s - self._find_reserve_s() - self._clock()
        numbers = range(1, min(MOST_CONTENDERS, self._count_places()) + 1)
        one_s = self._phases.estimate_s(1)
        wanted = [self._phases.estimate_s(n, WANTED_REPLICATES) for n in numbers]
        fitting = [n for n, wanted_s in zip(numbers, wanted) if wanted_s <= left_s - one_s]
        return max(fitting, default=int(one_s <= left_s))

    def _choose_batch(self, settings: Sequence[Setting]) -> List[Setting]:
        """The contenders of a round; of a family that was screened the most promising one."""
        batch: List[Setting] = []
        for setting in sorted(settings, key=self._rank):
            rival = any(setting.family == other.family for other in batch)
            if not rival or setting.name not in self._gains:
                batch.append(setting)
        return batch[: self._count_contenders()]

    def _run_round(
        self, number: int, best: Sequence[Setting], batch: Sequence[Setting]
    ) -> List[Setting]:
        """The settings that make the best combination so far faster."""
        base, programs = self._join(best), {s.name: self._join([*best, s]) for s in batch}
        rejected = self._check.check(list(programs.values()))
        sound = [p for p in programs.values() if rejected[p.name] is None]
        left_s = self._end_s - self._find_reserve_s() - self._clock()
        wanted_s = self._phases.estimate_s(len(sound), WANTED_REPLICATES)
        budget_s = max(left_s / 2, min(left_s, wanted_s))
        title = f"round-{number}"
        found = self._phases.measure(title, base, sound, budget_s, MOST_REPLICATES)
        outcomes = [rejected[p.name] or found[p.name] for p in programs.values()]
        for setting, outcome in zip(batch, outcomes):
            program = programs[setting.name]
            self._note(f"round {number}", setting, program, outcome, base.name)
        return [s for s, outcome in zip(batch, outcomes) if outcome.verdict == FASTER]

    def _confirm(self, settings: Sequence[Setting]) -> None:
        """Against stock in fresh processes; what is confirmed is chosen."""
        result, left_s = self.result, self._end_s - self._clock()
        if not settings:
            result.reason = "no setting was faster than stock"
            return
        program, outcome = self._join(settings), Outcome(NOT_TRIED, NO_TIME)
        if left_s > 0:
            phase = "confirmation", self._join([]), [program], left_s, MOST_REPLICATES
            try:
                outcome = self._phases.measure(*phase)[program.name]
            except (WorkerError, InputError) as error:  # of stock
                outcome = describe_failure(error)
        result.reason = f"the selected settings were not confirmed faster ({outcome.verdict})"
        if outcome.verdict == FASTER:
            result.chosen, result.settings = program.name, list(settings)
            result.reason = "confirmed faster than stock in fresh processes"
        confirmation = Confirmation(
            name=program.name,
            settings=list(settings),
            **{**outcome._asdict(), "warnings": list(outcome.warnings)},
            fidelity=self._check.find(program.name),
        )
        result.confirmations.append(confirmation)

    def _note(
        self, phase: str, setting: Setting, program: Program, outcome: Outcome, base: str = ""
    ) -> None:
        """Keep the outcome of a setting; one that is neither faster nor unsure is dropped."""
        judgement = outcome.judgement
        if judgement is not None:
            self._gains[setting.name] = judgement.speedup.ratio
        if outcome.verdict not in (FASTER, INCONCLUSIVE, SCREENED):
            self._out.add(setting.name)
        candidate = CandidateResult(
            phase=phase,
            name=setting.name,
            settings=list(program.settings),
            base=base or None,
            speedup=judgement.speedup if judgement else None,
            verdict=outcome.verdict,
            reason=outcome.reason,
            replicates=judgement.replicates if judgement else 0,
            fidelity=self._check.find(program.name),
        )
        self.result.candidates.append(candidate)
        self._show(candidate)
