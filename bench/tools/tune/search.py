"""The search: forward selection over the speed phase and the verdict of `bench compare`.

For each mode, in its share of the budget:

1. Baseline run. One process of stock gives the losses and weights to match.
2. Checks. Each setting trains its first steps in a process of its own. It is rejected if it fails,
   is grossly wrong, or compiles to stock's operators. Its step time beside stock's orders
   the settings and decides nothing else.
3. Rounds. The most promising settings, each joined to the best combination so far, are contenders
   in one speed phase against that combination. The quickest `faster` one whose combination the
   judge of `bench check` finds faithful is taken. Other values of its family leave, as do `slower`,
   `equivalent` and unfaithful settings. One that looks faster by 2 % has a second round.
4. Confirmation against stock, in fresh processes. Only `faster` gets into the profile.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from ...errors import BenchError, Interrupted
from ...record.machine import describe_machine
from ...verdict.judge import EQUIVALENCE, FASTER, INCONCLUSIVE
from ...worker.environment import KNOWN_VARIABLES, RuntimeResolver
from ...worker.messages import Launcher
from ...worker.process import create_launcher
from ...worker.runtime_profile import find_oneflow, save_runtime_profile
from .candidates import Program, Setting, create_program
from .parity import (
    IDENTICAL,
    PATIENCE,
    PATIENCE_S,
    SCREENED,
    Judge,
    Outcome,
    ParityCheck,
    create_judge,
)
from .phase import SpeedPhases, TuneRequest
from .report import (
    ALONE,
    CONFIRMATION,
    UNTRIED,
    CandidateResult,
    ModeResult,
    TuneDocument,
    create_profile,
    save_tuning,
)

CHECK_SHARE = 0.4  # of a mode's time, at most, for the baseline run and the checks
CONFIRMATION_SHARE = 0.25  # of a mode's time, at least
UNREPEATED = (
    "Warning: stock in {mode} mode trained other bits in two processes, so that no setting can be "
    "bitwise equal to it, and the judge may find it inconclusive."
)


@dataclass
class ModeSearch:
    """Searches one mode until `end_s` of `clock`; `result` is true at any time."""

    mode: str
    request: TuneRequest
    end_s: float
    check: ParityCheck
    phases: SpeedPhases
    show: Callable[[CandidateResult], None]
    clock: Callable[[], float]
    repeats: bool = True  # stock trains the same bits in another process

    def __post_init__(self) -> None:
        self._begin_s = self.clock()
        self._waiting = list(self.request.settings[self.mode])  # not checked yet
        self._open: List[Setting] = []  # checked, not taken and still in the search
        self._gains: Dict[str, float] = {}  # newest ratio of each setting that was timed
        self.result = ModeResult(mode=self.mode, stock_step_time_s=0.0, trained_steps=0)

    def run(self) -> None:
        """Search. Raises WorkerError or InputError if stock itself cannot be run."""
        try:
            stock = self.check.run_baseline(self._join([]))
            self.result.trained_steps = len(stock.block.losses)
            self.result.stock_step_time_s = stock.step_time_s
            start_s = self.phases.process_s = self.clock() - self._begin_s
            wait_s = min(self.request.timeout_s, PATIENCE_S + PATIENCE * start_s)
            self.check.wait_s = self.phases.wait_s = wait_s
            self._check_alone()
            self._confirm(self._select())
        finally:
            for setting in self._waiting:
                self._note(ALONE, setting, [], UNTRIED)
            self.result.phases = self.phases.count
            self.result.duration_s = self.clock() - self._begin_s

    def _join(self, settings: Sequence[Setting]) -> Program:
        plan, python = self.request.plan, self.request.python
        return create_program(self.mode, settings, plan.workload, python)

    def _check_alone(self) -> None:
        """Check settings, as many side by side as there are cores."""
        until_s = self._begin_s + CHECK_SHARE * (self.end_s - self._begin_s)
        stock, together = self._join([]), len(os.sched_getaffinity(0))
        while self._waiting and self.clock() + self.phases.process_s < until_s:
            begin_s, batch = self.clock(), self._waiting[:together]
            programs = [self._join([setting]) for setting in batch]
            outcomes = self.check.check([stock, *programs])  # stock is run again once
            process_s = (self.clock() - begin_s) / len(batch)
            self.phases.process_s = min(self.phases.process_s, process_s)
            repeated = outcomes[stock.name].fidelity
            self.repeats = repeated is None or repeated.verdict == IDENTICAL
            self._waiting = self._waiting[together:]
            self._open += batch
            for setting, program in zip(batch, programs):
                self._note(ALONE, setting, [], outcomes[program.name])

    def _select(self) -> List[Setting]:
        """The settings that forward selection took, in the order in which it took them."""
        best: List[Setting] = []
        tries: Dict[str, int] = defaultdict(int)  # of each setting joined to the best so far
        number = 0
        while True:
            batch = self._choose_batch(tries)
            if not batch:
                break
            number += 1
            taken = self._run_round(number, best, batch)
            for setting in batch:
                tries[setting.name] += 1
            if taken is not None:
                best.append(taken)
                tries.clear()
                for other in [s for s in self._open if s.family == taken.family]:
                    self._open.remove(other)
                    if other is not taken:
                        self.result.dropped[other.name] = f"{taken.name} was taken in its place"
        best = best or [s for s in self._rank(self._open) if self._looks_faster(s)][:1]
        fresh = [s for s in self._open if not tries[s.name] and s not in best]
        self.result.unfinished = [setting.name for setting in fresh]
        return best

    def _looks_faster(self, setting: Setting) -> bool:
        return self._gains[setting.name] > 1 + EQUIVALENCE

    def _rank(self, settings: Sequence[Setting]) -> List[Setting]:
        return sorted(settings, key=lambda one: self._gains[one.name], reverse=True)

    def _choose_batch(self, tries: Mapping[str, int]) -> List[Setting]:
        """The settings of the next round, of each family the most promising one."""
        families: Dict[str, Setting] = {}
        for setting in self._rank(self._open):
            tried = tries[setting.name]
            if tried == 0 or (tried == 1 and self._looks_faster(setting)):
                families.setdefault(setting.family, setting)
        places = self.phases.count_places(self._find_left_s(), self.check.peak_rss_bytes)
        return list(families.values())[:places]

    def _find_left_s(self) -> float:
        """The time for rounds: one for the confirmation is left out."""
        share_s = CONFIRMATION_SHARE * (self.end_s - self._begin_s)
        round_s = self.phases.estimate_s(1) if self.phases.count else 0.0
        return self.end_s - max(share_s, round_s) - self.clock()

    def _run_round(
        self, number: int, best: List[Setting], batch: Sequence[Setting]
    ) -> Optional[Setting]:
        """The quickest setting that makes the best combination so far faster and is faithful."""
        left_s = self._find_left_s()
        budget_s = max(left_s / 2, min(left_s, self.phases.estimate_s(len(batch))))
        programs = [self._join([*best, setting]) for setting in batch]
        outcomes = self._measure(f"round-{number}", self._join(best), programs, budget_s)
        taken: Optional[Setting] = None
        tried = sorted(zip(batch, programs, outcomes), key=lambda one: one[2].ratio, reverse=True)
        for setting, program, outcome in tried:
            if taken is None:
                outcome = self.check.accept(program, outcome)
                taken = setting if outcome.verdict == FASTER else None
            self._note(f"round {number}", setting, best, outcome)
        return taken

    def _confirm(self, settings: List[Setting]) -> None:
        """Against stock in fresh processes; what is confirmed is chosen."""
        result, left_s = self.result, self.end_s - self.clock()
        if not settings:
            result.reason = "no setting was faster than stock"
            return
        program, outcome = self._join(settings), UNTRIED
        if left_s > 0:
            (outcome,) = self._measure(CONFIRMATION, self._join([]), [program], left_s)
            outcome = self.check.accept(program, outcome)
        result.reason = f"the selected settings were not confirmed faster ({outcome.verdict})"
        if outcome.verdict == FASTER:
            result.chosen, result.settings = program.name, settings
            result.reason = "confirmed faster than stock in fresh processes"
        self._keep(outcome, phase=CONFIRMATION, name=program.name, settings=settings)

    def _measure(
        self, title: str, base: Program, programs: Sequence[Program], budget_s: float
    ) -> List[Outcome]:
        """Of each program, which is timed only if it computes what stock computes."""
        until_s, checked = self.clock() + budget_s, self.check.check(programs)
        sound = [p for p in programs if checked[p.name].verdict == SCREENED]
        found = self.phases.measure(title, base, sound, until_s - self.clock()) if sound else {}
        outcomes = [(found.get(p.name, checked[p.name]), checked[p.name]) for p in programs]
        return [one.model_copy(update={"fidelity": c.fidelity}) for one, c in outcomes]

    def _note(self, phase: str, setting: Setting, best: List[Setting], outcome: Outcome) -> None:
        """Keep the outcome of a setting; one that is neither faster nor unsure leaves."""
        if outcome.speedup is not None:
            self._gains[setting.name] = outcome.speedup.ratio
        if outcome.verdict not in (FASTER, INCONCLUSIVE, SCREENED) and setting in self._open:
            self._open.remove(setting)
        base, settings = self._join(best).name, [*best, setting]
        self._keep(outcome, phase=phase, name=setting.name, settings=settings, base=base)

    def _keep(self, outcome: Outcome, **about: Any) -> None:
        self.result.candidates.append(CandidateResult(**dict(outcome), **about))
        self.show(self.result.candidates[-1])


def run_search(
    request: TuneRequest,
    folder: Path,
    profile: Path,
    launch: Optional[Launcher] = None,
    observe: Callable[[str, int, int], None] = lambda message, done_s, budget_s: None,
    show: Callable[[str, CandidateResult], None] = lambda mode, candidate: None,
    clock: Callable[[], float] = time.perf_counter,
    judge: Optional[Judge] = None,
) -> TuneDocument:
    """Search all modes in `folder`, which exists, and write the profile to `profile`.

    `show` is told of each candidate when it is decided. After an interruption or an error the
    document holds the results until then, and no profile is written.

    Raises Interrupted, and WorkerError or InputError if stock itself cannot be run.
    """
    document = TuneDocument(
        run_id=folder.resolve().name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        workload=request.plan.workload,
        budget_s=request.budget_s,
        machine=describe_machine(),
        oneflow=find_oneflow(request.python or sys.executable),
        environment={name: os.environ[name] for name in KNOWN_VARIABLES if name in os.environ},
    )
    launch, start_s = launch or create_launcher(folder, RuntimeResolver()), clock()
    values = folder / "values"  # of weights, while the search runs
    try:
        dataset = request.plan.prepare_dataset(folder)
        values.mkdir()
        judge = judge or create_judge(request.plan, folder, dataset, request.timeout_s)
        for position, mode in enumerate(request.settings, start=1):

            def tell(message: str, mode: str = mode) -> None:
                gone_s = min(clock() - start_s, request.budget_s)
                observe(f"{mode} | {message}", int(gone_s), int(request.budget_s))

            def keep(candidate: CandidateResult, mode: str = mode) -> None:
                save_tuning(folder, document)
                show(mode, candidate)

            steps, timeout_s = request.plan.steps_per_epoch, request.timeout_s
            check = ParityCheck(launch, judge, steps, dataset, values, timeout_s, tell)
            phases = SpeedPhases(request.plan, folder, dataset, launch, tell, clock)
            end_s = start_s + request.budget_s * position / len(request.settings)
            search = ModeSearch(mode, request, end_s, check, phases, keep, clock)
            document.modes.append(search.result)
            search.run()
            if not search.repeats:
                document.warnings.append(UNREPEATED.format(mode=mode))
        document.profile = str(profile)
        save_runtime_profile(profile, create_profile(document, request.python))
        document.status = "complete"
    except (KeyboardInterrupt, Interrupted):
        document.status = "interrupted"
        raise Interrupted(
            f"ended by the user; the results until then are in {folder}, and no profile was written"
        ) from None
    except BenchError:
        document.status = "failed"
        raise
    finally:
        shutil.rmtree(values, ignore_errors=True)
        save_tuning(folder, document)
    return document
