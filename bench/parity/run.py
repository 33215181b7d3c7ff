"""Runs a parity check: two modes beside each other, and more runs only if they disagree.

`check_model` is the whole check. First eager and graph mode run, which answer with digests alone.
If these agree bit for bit, the check is over. If not, both run again, which shows whether each
repeats itself, together with eager mode in float64 as the reference; the values of the tensors that
differ are judged. If a tensor is different, perturbed eager runs show how far rounding alone
carries, and the layer of the first mismatch is run in isolation.
"""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from ..config import Contender
from ..errors import BenchError, InputError, Interrupted, WorkerError
from ..plan.plan import Plan
from ..record.machine import describe_machine
from ..worker.environment import RuntimeResolver
from ..worker.messages import Launcher, Worker
from ..worker.process import create_launcher
from ..worker.runtime_profile import find_oneflow
from .judge import AGAIN, EAGER, GRAPH, PERTURBED_SEEDS, REFERENCE, Comparison
from .locate import Isolation, locate_difference
from .result import CheckDocument, ModelCheck, SideFacts, save_check
from .tensors import Entry, LayerRequest, SideRequest

PARALLEL = 2  # a parity check times nothing, so both modes may run at once
WORKER_MODULE = "oneflow_bench.bench.parity.worker"
VALUES_FOLDER = "values"  # in the run's folder, while it runs
ISOLATED = "isolated-layer"  # its values, in that folder

# message, done, to do
Observe = Callable[[str, int, int], None]
# plan, folder of the model, longest wait in seconds, observer -> the result
CheckModel = Callable[[Plan, Path, float, Observe], ModelCheck]

_TURNS = ("start", "eval_forward", "first_step", "train", "resume", "validate")


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
    with _Checker(plan, folder, timeout_s, observe, launch or create_check_launcher(folder)) as run:
        check = run.check(steps)
    check.duration_s = time.monotonic() - start
    return check


class _Checker:
    def __init__(
        self, plan: Plan, folder: Path, timeout_s: float, observe: Observe, launch: Launcher
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._values = folder.resolve() / VALUES_FOLDER
        self._timeout_s = timeout_s
        self._observe = observe
        self._launch = launch
        self._workers: List[Worker] = []
        self._turns_done = self._turns_planned = 0
        self._facts: Dict[str, Dict[str, Any]] = {}  # by run, apart from tensors

    def __enter__(self) -> _Checker:
        self._dataset = self._plan.prepare_dataset(self._folder)
        return self

    def __exit__(self, *failure: Any) -> None:
        for worker in self._workers:
            if failure[0] is not None:
                worker.kill()
            worker.close()
        shutil.rmtree(self._folder / VALUES_FOLDER, ignore_errors=True)

    def check(self, steps: int) -> ModelCheck:
        self._steps = steps
        eager, graph = self._run_sides([EAGER, GRAPH], {})
        environment = self._facts[GRAPH]["environment"]
        comparison = Comparison(eager, graph, self._facts[EAGER]["environment"].get("oneflow"))
        evidence = comparison.settle(self._run_sides, self._values)
        origin = None
        if evidence is not None:
            isolation = Isolation(
                ask=self._ask_isolated,
                run_folder=self._folder,
                values_folder=self._values / ISOLATED,
                environment=environment.get("variables", {}),
                versions={name: environment[name] for name in ("oneflow", "numpy", "python")
                          if name in environment},
                op_names=self._facts[GRAPH]["op_names"],
                find_known_reason=comparison.find_known_reason,
            )  # fmt: skip
            origin = locate_difference(comparison, evidence, isolation)
        verdict, reason = comparison.conclude()
        return ModelCheck(
            model=self._plan.workload.model,
            workload=self._plan.workload,
            steps=steps,
            verdict=verdict,
            reason=reason,
            reproducible=comparison.reproducible,
            levels=comparison.levels,
            origin=origin,
            known=comparison.hits,
            eager=self._side_facts(EAGER),
            graph=self._side_facts(GRAPH),
        )

    def _side_facts(self, name: str) -> SideFacts:
        facts = self._facts[name]
        return SideFacts.model_validate({field: facts[field] for field in SideFacts.model_fields})

    def _run_sides(
        self, names: Sequence[str], wanted: Mapping[str, Sequence[str]]
    ) -> List[List[Entry]]:
        """Run each through all its turns, PARALLEL at a time."""
        self._turns_planned += len(names) * len(_TURNS)
        with ThreadPoolExecutor(PARALLEL) as pool:
            try:
                pending = [pool.submit(self._run_side, name, wanted) for name in names]
                return [future.result() for future in pending]
            except BaseException:
                for future in pending:
                    future.cancel()
                for worker in self._workers:
                    worker.kill()  # a thread that waits for its answer is told that it died
                raise

    def _run_side(self, name: str, wanted: Mapping[str, Sequence[str]]) -> List[Entry]:
        request = self._request(_create_contender(name), name, wanted)
        worker = self._start_worker(request.contender)
        entries: List[Entry] = []
        facts: Dict[str, Any] = {}
        for turn in _TURNS:
            message = f"{self._plan.workload.model}, {name}: {turn.replace('_', ' ')}"
            self._observe(message, self._turns_done, self._turns_planned)
            given = request.model_dump(mode="json") if turn == "start" else {}
            answer = worker.ask(turn, self._timeout_s, **given)
            entries += [Entry.model_validate(entry) for entry in answer.pop("entries")]
            facts.update(answer)
            self._turns_done += 1
        self._facts[name] = facts
        self._end_worker(worker)
        return entries

    def _start_worker(self, contender: Contender) -> Worker:
        worker = self._launch(contender)
        self._workers.append(worker)
        return worker

    def _end_worker(self, worker: Worker) -> None:
        worker.ask("end", self._timeout_s)
        worker.close()

    def _request(
        self, contender: Contender, name: str, wanted: Mapping[str, Sequence[str]]
    ) -> SideRequest:
        return SideRequest(
            workload=self._plan.workload,
            contender=contender,
            steps_per_epoch=self._plan.steps_per_epoch,
            dataset=self._dataset,
            folder=self._values / name,
            steps=self._steps,
            checkpoint_step=max(1, self._steps // 2),
            wanted={level: list(names) for level, names in wanted.items()},
            perturbation_seed=PERTURBED_SEEDS.get(name),
        )

    def _ask_isolated(
        self, name: str, calls: Sequence[str], layer: LayerRequest
    ) -> List[Dict[str, Any]]:
        """Answers of a fresh worker of the run `name` to `calls` of a layer, after its `start`."""
        contender = _create_contender(name)
        message = f"{self._plan.workload.model}, {name}: the layer in isolation"
        self._observe(message, self._turns_done, self._turns_planned + 1)
        worker = self._start_worker(contender)
        request = self._request(contender, ISOLATED, {})
        worker.ask("start", self._timeout_s, **request.model_dump(mode="json"))
        given = layer.model_dump(mode="json")
        answers = [worker.ask(call, self._timeout_s, **given) for call in calls]
        self._end_worker(worker)
        return answers


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
        run_id=f"check-{subject}-{now:%Y%m%d-%H%M%S}",
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
        except Interrupted:
            raise
        except (BenchError, OSError) as error:
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
