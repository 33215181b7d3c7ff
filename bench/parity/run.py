"""Runs a parity check: two contenders beside each other, and more runs only if they disagree.

Both answer with digests alone. `Comparison.settle` asks for more runs if these differ: the sides
again, and eager mode in float64 and perturbed, on the runtime of the baseline, the side `eager`.
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
from ..record.machine import describe_machine, read_available_bytes
from ..record.run import create_run_id
from ..worker.environment import RuntimeResolver
from ..worker.messages import Launcher, Worker
from ..worker.process import create_launcher
from ..worker.runtime_profile import find_oneflow
from . import causes
from .judge import AGAIN, EAGER, GRAPH, PERTURBED_SEEDS, REFERENCE, Comparison
from .locate import Isolation, locate_difference
from .result import CheckDocument, ModelCheck, SideFacts, save_check
from .tensors import SUBSTITUTE_SEED, ContenderPair, Entry, LayerRequest, SideRequest, Wanted

FEWEST_STEPS = 2  # a second update is to be seen
# a check times nothing, so runs may go side by side: both modes, and then more if they are small
PARALLEL, MOST_PARALLEL = 2, 3
SMALL_SHARE = 0.1  # of the available memory, for the larger of both modes
WORKER_MODULE = "oneflow_bench.bench.parity.worker"
VALUES_FOLDER, ISOLATED = "values", "isolated-layer"  # in the run's folder, while it runs

Observe = Callable[[str, int, int], None]  # message, done, to do
CheckModel = Callable[[Plan, Path, float, Observe], ModelCheck]  # folder of the model, timeout in s
_VERSIONS = ("oneflow", "numpy", "python")
_TURNS = ("eval_forward", "first_step", "train", "resume", "validate")  # after the start


def create_check_launcher(folder: Path, environments: Optional[RuntimeResolver] = None) -> Launcher:
    """Starts the workers of a check; logs go to `folder`/logs."""
    return create_launcher(folder, environments or RuntimeResolver(), WORKER_MODULE)


def check_model(
    plan: Plan,
    folder: Path,
    timeout_s: float,
    observe: Observe = lambda message, done, total: None,
    launch: Optional[Launcher] = None,
) -> ModelCheck:
    """Check a planned workload in eager and graph mode; scripts and logs are written to `folder`.

    Raises InputError for a plan of a single step, and WorkerError if a worker fails.
    """
    steps = plan.steps_per_epoch * plan.workload.epochs
    if steps < FEWEST_STEPS:
        raise InputError(
            f"a check of {steps} step was asked for and one needs at least 2, to see a second "
            "update; give --epochs or --steps-per-epoch"
        )
    pair = ContenderPair(plan.workload, plan.steps_per_epoch, steps, plan.prepare_dataset(folder))
    return check_pair(pair, folder, timeout_s, observe, launch or create_check_launcher(folder))


def check_pair(
    pair: ContenderPair, folder: Path, timeout_s: float, observe: Observe, launch: Launcher
) -> ModelCheck:
    """As `check_model`, of any two contenders. Raises DepartedError as `causes.check_start`."""
    start = time.monotonic()
    with _Checker(pair, folder, timeout_s, observe, launch) as run:
        check = run.check()
    check.duration_s = time.monotonic() - start
    return check


@dataclass
class _Checker:
    pair: ContenderPair
    folder: Path
    timeout_s: float
    observe: Observe
    launch: Launcher
    workers: List[Worker] = field(default_factory=list)
    turns_done: int = 0
    turns_planned: int = 0
    seeded_draws: bool = False
    no_reference: Optional[str] = None  # why float64 failed
    facts: Dict[str, Dict[str, Any]] = field(default_factory=dict)  # by run, apart from tensors

    def __enter__(self) -> _Checker:
        self.values = self.folder.resolve() / VALUES_FOLDER
        return self

    def __exit__(self, *failure: Any) -> None:
        for worker in self.workers:
            if failure[0] is not None:
                worker.kill()
            worker.close()
        shutil.rmtree(self.values, ignore_errors=True)

    def check(self) -> ModelCheck:
        check = self.compare()
        if check.cause is None or check.cause.kind != causes.RANDOM:
            return check
        self.seeded_draws = True  # a fault may hide behind the noise
        seeded, left = self.compare(), self.forward(GRAPH)
        verdict, reason = causes.conclude_seeded(check.cause, seeded.verdict, seeded.reason, left)
        found = check if left.random_ops else seeded
        cause = seeded.cause if verdict == "different" else check.cause
        return found.model_copy(update={"verdict": verdict, "reason": reason, "cause": cause})

    def compare(self) -> ModelCheck:
        eager, graph = self.run_sides([EAGER, GRAPH], {})
        causes.check_start(self.pair, self.facts)
        environment = self.facts[GRAPH]["environment"]
        comparison = Comparison(eager, graph, environment.get("oneflow"), sides=self.pair.sides)
        pairs, evidence, origin = comparison.pairs, None, None
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
                name_layer=partial(causes.name_gradient_layer, eager=self.forward(EAGER)),
                sides=self.pair.sides,
            )
            origin = locate_difference(comparison, evidence, isolation)
        verdict, reason = comparison.conclude()
        reason += causes.describe_substitute(self.no_reference)
        idle = [option for s in (EAGER, GRAPH) for option in self.facts[s]["idle_options"]]
        for option in dict.fromkeys(idle):
            reason += f"; no effect: the operators compile to the same without {option}"
        first = comparison.first_different or comparison.unrepeated
        cause = causes.explain(pairs, first, self.forward(EAGER), self.forward(GRAPH))
        return ModelCheck(
            model=self.pair.workload.model,
            baseline=self.pair.baseline.name,
            contender=self.pair.contender.name,
            workload=self.pair.workload,
            steps=self.pair.steps,
            start_step=self.pair.start.step if self.pair.start else 0,
            verdict=verdict,
            reason=reason if cause is None else f"{reason}; {causes.describe_cause(cause)}",
            cause=cause,
            reproducible=comparison.reproducible,
            levels=comparison.levels,
            origin=origin,
            known=comparison.hits,
            eager=self.side_facts(EAGER),
            graph=self.side_facts(GRAPH),
        )

    def forward(self, name: str) -> causes.ForwardFacts:
        return causes.ForwardFacts.model_validate(self.facts[name].get("forward", {}))

    def side_facts(self, name: str) -> SideFacts:
        return SideFacts.model_validate({f: self.facts[name][f] for f in SideFacts.model_fields})

    def run_sides(self, names: Sequence[str], wanted: Wanted) -> List[List[Entry]]:
        """Run each through all its turns, as many side by side as the memory allows."""
        self.turns_planned += len(names) * (1 + len(_TURNS))
        peaks = [facts.get("peak_rss_bytes") or 0 for facts in self.facts.values()]
        small = peaks and max(peaks) < SMALL_SHARE * (read_available_bytes() or 0)
        with ThreadPoolExecutor(MOST_PARALLEL if small else PARALLEL) as pool:
            try:
                pending = [pool.submit(self.run_side, name, wanted) for name in names]
                return [future.result() for future in pending]
            except BaseException:
                self.no_reference = "ended"  # with nothing in its place
                for future in pending:
                    future.cancel()
                for worker in self.workers:
                    worker.kill()  # a thread that waits for its answer is told that it died
                raise

    def run_side(self, name: str, wanted: Wanted) -> List[Entry]:
        entries: List[Entry] = []
        facts = self.facts[name] = {}
        try:
            for answer in self.ask_worker(name, name, wanted, dict.fromkeys(_TURNS, {})):
                entries += [Entry.model_validate(entry) for entry in answer.pop("entries")]
                facts.update(answer)
        except (InputError, WorkerError) as error:
            if name != REFERENCE or self.no_reference:
                raise
            self.no_reference = str(error)
            return self.run_side(name, wanted)  # a perturbed run takes its place
        return entries

    def ask_isolated(self, name: str, layer: LayerRequest) -> Dict[str, Any]:
        """The answer of a fresh worker of the run `name` to `run_isolated`."""
        self.turns_planned += 2
        calls = {"run_isolated": layer.model_dump(mode="json")}
        return list(self.ask_worker(name, ISOLATED, {}, calls))[1]

    def ask_worker(
        self, name: str, folder: str, wanted: Wanted, calls: Mapping[str, Dict[str, Any]]
    ) -> Iterator[Dict[str, Any]]:
        """Answers of a fresh worker of the run `name`: to `start`, then to the calls."""
        pair, contender = self.pair, self.create_contender(name)
        substitute = SUBSTITUTE_SEED if self.no_reference else None
        request = SideRequest(
            workload=pair.create_workload(contender),
            contender=contender,
            steps_per_epoch=pair.steps_per_epoch,
            dataset=pair.dataset,
            folder=self.values / folder,
            steps=pair.steps,
            checkpoint_step=max(1, pair.steps // 2),
            wanted=wanted,
            perturbation_seed={**PERTURBED_SEEDS, REFERENCE: substitute}.get(name),
            perturbation_ulps=pair.sides.ulps,
            seeded_draws=self.seeded_draws,
        )
        worker = self.launch(request.contender)
        self.workers.append(worker)
        for call, arguments in {"start": request.model_dump(mode="json"), **calls}.items():
            message = f"{pair.workload.model}, {contender.name}: {call.replace('_', ' ')}"
            self.observe(message, self.turns_done, self.turns_planned)
            yield worker.ask(call, self.timeout_s, **arguments)
            self.turns_done += 1
        worker.ask("end", self.timeout_s)  # it exits by itself, while others work

    def create_contender(self, run: str) -> Contender:
        name = run[: -len(AGAIN)] if run.endswith(AGAIN) else run  # of the same name and log
        if name in (EAGER, GRAPH):
            return self.pair.baseline if name == EAGER else self.pair.contender
        dtype = "float32" if self.no_reference else "float64"
        wide = {"mode": EAGER, "dtype": dtype, "graph_options": {}} if name == REFERENCE else {}
        return self.pair.baseline.model_copy(update={"name": name, **wide})


def create_check_document(plans: Sequence[Plan]) -> CheckDocument:
    """The document before the first model; asks OneFlow's BLAS for its kernel."""
    models = [plan.workload.model.replace(":", "-") for plan in plans]
    subject = models[0] if len(models) == 1 else f"{len(models)}-models"
    contender = Contender(name="eager", mode="eager")
    return CheckDocument(
        run_id=create_run_id("check", subject),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
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
        try:
            (folder / name).mkdir(exist_ok=True)
            check = check_model(plan, folder / name, timeout_s, show)
        except KeyboardInterrupt:
            raise Interrupted(
                f"ended by the user; the models checked until then are in {folder}"
            ) from None
        except (InputError, WorkerError, OSError) as error:
            if isinstance(error, InputError):
                refused.append(error)
            steps = plan.steps_per_epoch * plan.workload.epochs
            check = causes.describe_failure(ContenderPair(plan.workload, 0, steps, None), error)
        if check.origin is not None and check.origin.script is not None:
            check.origin.script = f"{name}/{check.origin.script}"
        document.checks.append(check)
        save_check(document, folder)
        if len(refused) == len(plans):
            raise refused[0]
