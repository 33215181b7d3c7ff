"""Runs a parity check: two modes beside each other, and more runs only if they disagree.

Eager and graph mode answer with digests alone. `Comparison.settle` asks for more runs if these
differ, and `locate_difference` runs the layer of the first mismatch in isolation.
"""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence

from ..config import Contender
from ..errors import InputError, Interrupted, WorkerError
from ..plan.plan import Plan
from ..record.machine import describe_machine
from ..record.run import create_run_id
from ..worker.environment import RuntimeResolver
from ..worker.messages import Launcher, Worker
from ..worker.process import create_launcher
from ..worker.runtime_profile import find_oneflow
from .causes import (
    RANDOM,
    ForwardFacts,
    conclude_seeded,
    describe_cause,
    explain,
    name_gradient_layer,
)
from .judge import AGAIN, EAGER, GRAPH, PERTURBED_SEEDS, REFERENCE, Comparison
from .locate import Isolation, locate_difference
from .result import CheckDocument, ModelCheck, SideFacts, save_check
from .tensors import Entry, LayerRequest, SideRequest, Wanted

PARALLEL = 2  # a parity check times nothing, so both modes may run at once
WORKER_MODULE = "oneflow_bench.bench.parity.worker"
VALUES_FOLDER = "values"  # in the run's folder, while it runs
ISOLATED = "isolated-layer"  # its values, in that folder

# message, done, to do
Observe = Callable[[str, int, int], None]
# plan, folder of the model, longest wait in seconds, observer -> the result
CheckModel = Callable[[Plan, Path, float, Observe], ModelCheck]

_VERSIONS = ("oneflow", "numpy", "python")
_TURNS = ("eval_forward", "first_step", "train", "resume", "validate")  # after the start


def create_check_launcher(folder: Path) -> Launcher:
    """Starts the workers of a check; logs go to `folder`/logs."""
    return create_launcher(folder, RuntimeResolver(), WORKER_MODULE)


def check_model(
    plan: Plan,
    folder: Path,
    timeout_s: float,
    observe: Observe = lambda message, done, total: None,
    launch: Optional[Launcher] = None,
) -> ModelCheck:
    """Check one planned workload, and write scripts and logs to `folder`.

    Raises InputError for a plan of a single step, and WorkerError if a worker fails.
    """
    steps = plan.steps_per_epoch * plan.workload.epochs
    if steps < 2:
        raise InputError(
            f"a check of {steps} step was asked for and one needs at least 2, to see a second "
            "update; give --epochs or --steps-per-epoch"
        )
    start = time.monotonic()
    launch = launch or create_check_launcher(folder)
    with _Checker(plan, folder, timeout_s, observe, launch, steps) as run:
        check = run.check()
    check.duration_s = time.monotonic() - start
    return check


@dataclass
class _Checker:
    plan: Plan
    folder: Path
    timeout_s: float
    observe: Observe
    launch: Launcher
    steps: int
    workers: List[Worker] = field(default_factory=list)
    turns_done: int = 0
    turns_planned: int = 0
    seeded_draws: bool = False
    facts: Dict[str, Dict[str, Any]] = field(default_factory=dict)  # by run, apart from tensors

    def __enter__(self) -> _Checker:
        self.values = self.folder.resolve() / VALUES_FOLDER
        self.dataset = self.plan.prepare_dataset(self.folder)
        return self

    def __exit__(self, *failure: Any) -> None:
        for worker in self.workers:
            if failure[0] is not None:
                worker.kill()
            worker.close()
        shutil.rmtree(self.values, ignore_errors=True)

    def check(self) -> ModelCheck:
        check = self.compare()
        if check.cause is None or check.cause.kind != RANDOM:
            return check
        self.seeded_draws = True  # a fault may hide behind the noise
        return conclude_seeded(check, self.compare(), self.forward(GRAPH))

    def compare(self) -> ModelCheck:
        eager, graph = self.run_sides([EAGER, GRAPH], {})
        environment = self.facts[GRAPH]["environment"]
        comparison = Comparison(eager, graph, self.facts[EAGER]["environment"].get("oneflow"))
        pairs = comparison.pairs
        evidence, origin = None, None
        if self.forward(GRAPH).random_ops and not self.seeded_draws:
            comparison.judge()  # of noise; the runs with equal draws take its place
        else:
            evidence = comparison.settle(self.run_sides, self.values)
        if evidence is not None:
            isolation = Isolation(
                ask=self.ask_isolated,
                run_folder=self.folder,
                values_folder=self.values / ISOLATED,
                environment=environment.get("variables", {}),
                versions={name: environment[name] for name in _VERSIONS if name in environment},
                op_names=self.facts[GRAPH]["op_names"],
                find_known_reason=comparison.find_known_reason,
                name_layer=partial(name_gradient_layer, eager=self.forward(EAGER)),
            )
            origin = locate_difference(comparison, evidence, isolation)
        verdict, reason = comparison.conclude()
        first = comparison.first_different or comparison.unrepeated
        cause = explain(pairs, first, self.forward(EAGER), self.forward(GRAPH))
        return ModelCheck(
            model=self.plan.workload.model,
            workload=self.plan.workload,
            steps=self.steps,
            verdict=verdict,
            reason=reason if cause is None else f"{reason}; {describe_cause(cause)}",
            cause=cause,
            reproducible=comparison.reproducible,
            levels=comparison.levels,
            origin=origin,
            known=comparison.hits,
            eager=self.side_facts(EAGER),
            graph=self.side_facts(GRAPH),
        )

    def forward(self, name: str) -> ForwardFacts:
        return ForwardFacts.model_validate(self.facts[name].get("forward", {}))

    def side_facts(self, name: str) -> SideFacts:
        facts = self.facts[name]
        return SideFacts.model_validate({field: facts[field] for field in SideFacts.model_fields})

    def run_sides(self, names: Sequence[str], wanted: Wanted) -> List[List[Entry]]:
        """Run each through all its turns, PARALLEL at a time."""
        self.turns_planned += len(names) * (1 + len(_TURNS))
        with ThreadPoolExecutor(PARALLEL) as pool:
            try:
                pending = [pool.submit(self.run_side, name, wanted) for name in names]
                return [future.result() for future in pending]
            except BaseException:
                for future in pending:
                    future.cancel()
                for worker in self.workers:
                    worker.kill()  # a thread that waits for its answer is told that it died
                raise

    def run_side(self, name: str, wanted: Wanted) -> List[Entry]:
        entries: List[Entry] = []
        facts = self.facts[name] = {}
        for answer in self.ask_worker(name, name, wanted, dict.fromkeys(_TURNS, {})):
            entries += [Entry.model_validate(entry) for entry in answer.pop("entries")]
            facts.update(answer)
        return entries

    def ask_isolated(self, name: str, layer: LayerRequest) -> Dict[str, Any]:
        """The answer of a fresh worker of the run `name` to `run_isolated`."""
        self.turns_planned += 2
        calls = {"run_isolated": layer.model_dump(mode="json")}
        _, answer = self.ask_worker(name, ISOLATED, {}, calls)
        return answer

    def ask_worker(
        self, name: str, folder: str, wanted: Wanted, calls: Mapping[str, Dict[str, Any]]
    ) -> Iterator[Dict[str, Any]]:
        """Answers of a fresh worker of the run `name`: to `start`, then to the calls."""
        request = SideRequest(
            workload=self.plan.workload,
            contender=_create_contender(name),
            steps_per_epoch=self.plan.steps_per_epoch,
            dataset=self.dataset,
            folder=self.values / folder,
            steps=self.steps,
            checkpoint_step=max(1, self.steps // 2),
            wanted=wanted,
            perturbation_seed=PERTURBED_SEEDS.get(name),
            seeded_draws=self.seeded_draws,
        )
        worker = self.launch(request.contender)
        self.workers.append(worker)
        requests = {"start": request.model_dump(mode="json"), **calls}
        for call, arguments in requests.items():
            message = f"{self.plan.workload.model}, {name}: {call.replace('_', ' ')}"
            self.observe(message, self.turns_done, self.turns_planned)
            yield worker.ask(call, self.timeout_s, **arguments)
            self.turns_done += 1
        worker.ask("end", self.timeout_s)
        worker.close()


def _create_contender(run: str) -> Contender:
    """The contender of a run; a second run of a mode has the same name and log."""
    name = run[: -len(AGAIN)] if run.endswith(AGAIN) else run
    mode = GRAPH if name == GRAPH else EAGER
    return Contender(name=name, mode=mode, dtype="float64" if name == REFERENCE else "float32")


def create_check_document(plans: Sequence[Plan]) -> CheckDocument:
    """The document before the first model; asks OneFlow's BLAS for its kernel."""
    now = datetime.now(timezone.utc)
    models = [plan.workload.model.replace(":", "-") for plan in plans]
    subject = models[0] if len(models) == 1 else f"{len(models)}-models"
    contender = Contender(name="eager", mode="eager")
    return CheckDocument(
        run_id=create_run_id("check", subject),
        created=now.isoformat(timespec="seconds"),
        machine=describe_machine(),
        blas_kernel=RuntimeResolver().find_kernel(contender, contender.interpreter),
        oneflow=find_oneflow(contender.interpreter),
    )


def run_checks(
    plans: Sequence[Plan],
    document: CheckDocument,
    folder: Path,
    timeout_s: float,
    observe: Observe,
    check_model: CheckModel,
) -> None:
    """Check each plan, append the result to `document`, and save that to `folder` after each.

    Each model gets a folder named after it. If its worker fails or it turns out unusable, the error
    is noted and the next model is checked. Raises the first InputError if no model could be used,
    and Interrupted on Ctrl-C.
    """
    save_check(document, folder)
    refused: List[InputError] = []
    for number, plan in enumerate(plans, start=1):

        def show(message: str, done: int, total: int, number: int = number) -> None:
            observe(f"({number}/{len(plans)}) {message}", done, total)

        name = plan.workload.model.replace(":", "-")
        model_folder = folder / name
        try:
            model_folder.mkdir(exist_ok=True)
            check = check_model(plan, model_folder, timeout_s, show)
        except KeyboardInterrupt:
            raise Interrupted(
                f"ended by the user; the models checked until then are in {folder}"
            ) from None
        except (InputError, WorkerError, OSError) as error:
            if isinstance(error, InputError):
                refused.append(error)
            check = _failed(plan, error)
        if check.origin is not None and check.origin.script is not None:
            check.origin.script = f"{name}/{check.origin.script}"
        document.checks.append(check)
        if len(refused) == len(plans):
            raise refused[0]
        save_check(document, folder)


def _failed(plan: Plan, error: Exception) -> ModelCheck:
    tail = error.log_tail if isinstance(error, WorkerError) else ""
    return ModelCheck(
        model=plan.workload.model,
        workload=plan.workload,
        steps=plan.steps_per_epoch * plan.workload.epochs,
        verdict="inconclusive",
        reason="the check did not finish",
        reproducible=None,
        error=f"{error}\n{tail}".rstrip(),
    )
