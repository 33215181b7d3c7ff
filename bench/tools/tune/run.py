"""Runs a search from its request to its document and its runtime profile."""

from __future__ import annotations

import os
import shutil
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Callable, NamedTuple, Optional

from ...errors import BenchError, Interrupted
from ...record.machine import describe_machine
from ...worker.environment import KNOWN_VARIABLES, RuntimeResolver
from ...worker.foreign_python import check_interpreter, check_options
from ...worker.process import create_launcher
from ...worker.runtime_profile import (
    ProfileVariables,
    RuntimeProfile,
    describe_profile_machine,
    save_runtime_profile,
)
from .candidates import GRAPH, STOCK_NAME, create_program
from .fidelity import IDENTICAL
from .parity_check import Launch, ParityCheck
from .phase import SpeedPhases
from .report import CandidateResult, TuneDocument, save_tuning
from .search import ModeSearch, TuneRequest

WORKER_MODULE = "oneflow_bench.bench.tools.tune.worker"
VALUES_FOLDER = "values"  # of weights, in the search's folder while it runs
UNREPEATED = (
    "Warning: stock in {mode} mode trained other bits in two processes, so that no setting can be "
    "bitwise equal to it; parity is judged by rounding alone."
)

# (message, seconds gone, seconds of the budget)
Observe = Callable[[str, int, int], None]
Show = Callable[[str, CandidateResult], None]


class Launchers(NamedTuple):
    """How the workers of parity checks and those of speed phases are started."""

    check: Launch
    speed: Launch


def create_launchers(folder: Path) -> Launchers:
    """Worker processes, each in its own environment; logs go to `folder`/logs."""
    environments = RuntimeResolver()
    check = create_launcher(folder, environments, WORKER_MODULE)
    return Launchers(check, create_launcher(folder, environments))


def check_request(request: TuneRequest) -> None:
    """Ask the interpreter before anything is measured.

    Raises InputError if no worker can run on it, and if its OneFlow does not know a graph option.
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
    show: Show = lambda mode, candidate: None,
    clock: Callable[[], float] = time.perf_counter,
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
        environment={name: os.environ[name] for name in KNOWN_VARIABLES if name in os.environ},
    )
    try:
        _search_modes(request, folder, document, launchers, observe, show, clock)
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
        shutil.rmtree(folder / VALUES_FOLDER, ignore_errors=True)
        save_tuning(folder, document)
    return document


def _search_modes(
    request: TuneRequest,
    folder: Path,
    document: TuneDocument,
    launchers: Optional[Launchers],
    observe: Observe,
    show: Show,
    clock: Callable[[], float],
) -> None:
    plan, start_s, budget_s = request.plan, clock(), request.budget_s
    start = launchers or create_launchers(folder)
    dataset, values = plan.prepare_dataset(folder), folder / VALUES_FOLDER
    values.mkdir()
    for position, mode in enumerate(request.settings, start=1):

        def tell(message: str, mode: str = mode) -> None:
            gone_s = min(clock() - start_s, budget_s)
            observe(f"{mode} | {message}", int(gone_s), int(budget_s))

        def keep(candidate: CandidateResult, mode: str = mode) -> None:
            save_tuning(folder, document)
            show(mode, candidate)

        steps, timeout_s = plan.steps_per_epoch, request.timeout_s
        check = ParityCheck(start.check, steps, dataset, values, timeout_s, tell, clock)
        phases = SpeedPhases(plan, folder, dataset, start.speed, tell, clock)
        end_s = start_s + budget_s * position / len(request.settings)
        search = ModeSearch(mode, request, end_s, check, phases, keep, clock)
        document.modes.append(search.result)
        search.run()
        own = check.find(STOCK_NAME)
        if own is not None and own.verdict != IDENTICAL:
            document.warnings.append(UNREPEATED.format(mode=mode))
        document.oneflow = check.environment.get("oneflow")
        save_tuning(folder, document)


def create_profile(document: TuneDocument, python: Optional[str]) -> RuntimeProfile:
    """The chosen variables of each mode and the graph's options; nothing for a mode without."""
    chosen = {
        mode.mode: create_program(mode.mode, mode.settings, document.workload).contender
        for mode in document.modes
    }
    variables = {mode: contender.env for mode, contender in chosen.items()}
    return RuntimeProfile(
        machine=describe_profile_machine(python or sys.executable),
        variables=ProfileVariables(**variables),
        graph_options=chosen[GRAPH].graph_options if GRAPH in chosen else {},
    )
