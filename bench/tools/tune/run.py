"""A search from its folder to its document and profile."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

from ...config import Contender
from ...errors import BenchError, Interrupted
from ...plan.plan import Plan
from ...record.machine import describe_machine, read_available_bytes
from ...worker.environment import KNOWN_VARIABLES, STOCK, RuntimeResolver
from ...worker.foreign_python import check_interpreter, check_options
from ...worker.process import create_launcher
from ...worker.runtime_profile import (
    ProfileVariables,
    RuntimeProfile,
    describe_profile_machine,
    save_runtime_profile,
)
from .candidates import GRAPH, Setting, merge_graph_options, merge_variables
from .confirm import Confirmer
from .contest import Contest
from .first_steps import FirstSteps
from .heat import HeatResult, HeatRunner
from .race import BASE_PROCESSES
from .result import HEATS_NAME, CandidateResult, TuneDocument, save_tuning
from .screening import Screening
from .search import ModeSearch, Span

WORKER_MODULE = "oneflow_bench.bench.tools.tune.worker"
VALUES_FOLDER = "values"  # in the search's folder, while it runs
MEMORY_SHARE = 0.7  # of what is available, for the processes of a heat
MOST_PLACES = 24  # candidates alive together; what is compared should lie close in time

UNREPEATED = (
    "Warning: stock in {mode} mode trained other bits in two processes, so that no setting can be "
    "bitwise equal to it; parity is judged by rounding alone."
)

Launch = Callable[[Contender], Any]
# (message, seconds gone, seconds of the budget)
Observe = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TuneRequest:
    """What is searched, and how long."""

    plan: Plan
    settings: Mapping[str, Sequence[Setting]]  # by mode, in the order of the search
    budget_s: float
    timeout_s: float
    python: Optional[str] = None  # None: the interpreter that runs the suite


@dataclass(frozen=True)
class Launchers:
    """How the workers of heats and those of confirmations are started."""

    heat: Launch
    confirm: Launch


def create_launchers(folder: Path) -> Launchers:
    """Worker processes, each in its own environment; logs go to `folder`/logs."""
    environments = RuntimeResolver()
    return Launchers(
        create_launcher(folder, environments, WORKER_MODULE), create_launcher(folder, environments)
    )


def check_request(request: TuneRequest) -> None:
    """Ask the interpreter before anything is measured.

    Raises InputError where no worker can run on it, having no OneFlow for one, and where its
    OneFlow does not know a graph option that is to be tried.
    """
    found = check_interpreter(request.python or sys.executable, os.environ)
    for setting in request.settings.get(GRAPH, []):
        check_options(found, setting.graph_options)


def run_search(
    request: TuneRequest,
    folder: Path,
    profile: Path,
    launchers: Optional[Launchers] = None,
    observe: Observe = lambda message, done, total: None,
    show: Callable[[str, CandidateResult], None] = lambda mode, candidate: None,
    clock: Callable[[], float] = time.perf_counter,
) -> TuneDocument:
    """Search all modes in `folder`, which exists, and write the profile to `profile`.

    `show` is told of each candidate when it is decided. After an interruption or an error what was
    found is in the document, and no profile is written.

    Raises Interrupted, and WorkerError or InputError where stock itself cannot be run.
    """
    document = _create_document(request, folder)
    run = _Run(request, folder, document, launchers or create_launchers(folder), observe, clock)
    try:
        run.search(show)
        document.profile = str(profile)
        save_runtime_profile(profile, create_profile(document, request.python))
        document.status = "complete"
    except (KeyboardInterrupt, Interrupted):
        document.status = "interrupted"
        raise Interrupted(
            f"ended by the user; what was found until then is in {folder}, and no profile was "
            "written"
        ) from None
    except BenchError:
        document.status = "failed"
        raise
    finally:
        shutil.rmtree(folder / VALUES_FOLDER, ignore_errors=True)
        save_tuning(folder, document)
    return document


def create_profile(document: TuneDocument, python: Optional[str]) -> RuntimeProfile:
    """The chosen variables of each mode and the graph's options; nothing for a mode without."""
    chosen = {mode.mode: mode.settings for mode in document.modes}
    return RuntimeProfile(
        machine=describe_profile_machine(python or sys.executable),
        variables=ProfileVariables(
            **{mode: merge_variables(settings) for mode, settings in chosen.items()}
        ),
        graph_options=merge_graph_options(chosen.get(GRAPH, [])),
    )


def list_own_variables(environment: Mapping[str, str]) -> Dict[str, str]:
    """Variables of the user's that steer OneFlow: stock has them, and no setting replaces them."""
    return {name: environment[name] for name in KNOWN_VARIABLES if name in environment}


def _create_document(request: TuneRequest, folder: Path) -> TuneDocument:
    return TuneDocument(
        run_id=folder.resolve().name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        workload=request.plan.workload,
        budget_s=request.budget_s,
        machine=describe_machine(),
        environment=list_own_variables(os.environ),
    )


class _Run:
    def __init__(
        self,
        request: TuneRequest,
        folder: Path,
        document: TuneDocument,
        launchers: Launchers,
        observe: Observe,
        clock: Callable[[], float],
    ) -> None:
        self._request, self._folder, self._document = request, folder, document
        self._launchers, self._observe, self._clock = launchers, observe, clock
        self._start_s = clock()
        self._mode = ""

    def search(self, show: Callable[[str, CandidateResult], None]) -> None:
        request, plan = self._request, self._request.plan
        self._dataset = plan.prepare_dataset(self._folder)
        values = self._folder / VALUES_FOLDER
        values.mkdir()
        for position, (mode, settings) in enumerate(request.settings.items()):
            self._mode = mode
            end_s = self._start_s + request.budget_s * (position + 1) / len(request.settings)
            first = FirstSteps(
                self._launchers.heat,
                plan.steps_per_epoch,
                self._dataset,
                values,
                request.timeout_s,
                self._tell,
                self._clock,
            )
            runner = HeatRunner(first, self._tell, self._clock)

            def show_here(candidate: CandidateResult, mode: str = mode) -> None:
                save_tuning(self._folder, self._document)
                show(mode, candidate)

            search = ModeSearch(
                mode,
                settings,
                plan.workload,
                first,
                self._create_contest(runner),
                self._create_confirmer(mode),
                self._folder,
                Span(self._clock(), end_s),
                self._clock,
                request.python,
                show_here,
            )
            self._document.modes.append(search.result)
            search.run()
            if not runner.stock_repeats:
                self._document.warnings.append(UNREPEATED.format(mode=mode))
            self._document.oneflow = search.environment.get("oneflow")
            save_tuning(self._folder, self._document)

    def _create_contest(self, runner: HeatRunner) -> Callable[[Screening, float, int], Contest]:
        def create(screening: Screening, process_s: float, peak_rss_bytes: int) -> Contest:
            return Contest(
                runner,
                screening.screen,
                self._clock,
                lambda: count_places(read_available_bytes(), peak_rss_bytes),
                process_s,
                self._request.plan.workload.seed,
                store=self._store,
            )

        return create

    def _create_confirmer(self, mode: str) -> Confirmer:
        plan = self._request.plan
        return Confirmer(
            plan.workload,
            plan.steps_per_epoch,
            self._dataset,
            Contender(name=STOCK, mode=mode, runtime=STOCK, python=self._request.python),
            self._request.timeout_s,
            self._launchers.confirm,
            lambda message, done, total: self._tell(f"confirm, {message}"),
            self._clock,
        )

    def _store(self, base: str, result: HeatResult) -> None:
        line = {
            "mode": self._mode,
            "base": base,
            "duration_s": result.duration_s,
            "screen_s": result.screen_s,
            "step_times_s": result.block_times_s,
            "failures": {name: list(failure) for name, failure in result.failures.items()},
        }
        with open(self._folder / HEATS_NAME, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def _tell(self, message: str) -> None:
        budget_s = self._request.budget_s
        gone_s = min(self._clock() - self._start_s, budget_s)
        self._observe(f"{self._mode} | {message}", int(gone_s), int(budget_s))


def count_places(available_bytes: Optional[int], peak_rss_bytes: int) -> int:
    """Candidates that may be alive together with the base; one at least."""
    if available_bytes is None:
        return 1
    by_memory = int(MEMORY_SHARE * available_bytes / max(peak_rss_bytes, 1)) - BASE_PROCESSES
    return max(1, min(MOST_PLACES, by_memory))
