"""Runs a parity check: two modes beside each other, and a third witness only where they disagree.

The whole check can be read in `check_model`. First eager and graph mode, digests alone. Where they
agree bit for bit nothing more is asked. Where not, both run again, which shows that each repeats
itself, with eager in float64 as the reference, and the tensors that differ are written out and
judged. Where something is different, eager runs from slightly moved weights say how far rounding
alone carries, and the layer at which it begins is run alone.
"""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ..config import Contender
from ..errors import InputError
from ..plan.plan import Plan
from ..worker.environment import RuntimeResolver
from ..worker.launch import create_launcher
from .case import Case, conclude, may_be_rounding
from .judge import Evidence
from .known import load_known_differences
from .locate import Alone, examine, find_origin, find_suspect
from .pairs import find_unrepeated, pair_entries
from .result import ModelCheck, Origin, SideFacts
from .tensors import Entry

EAGER, GRAPH, REFERENCE = "eager", "graph", "reference"
WITNESSES = 2
PARALLEL = 2  # a parity check times nothing, so both modes may run at once
WORKER_MODULE = "oneflow_bench.bench.parity.worker"
VALUES_FOLDER = "values"  # in the run's folder, while it runs

Observe = Callable[[str, int, int], None]
# contender, name of the run -> a started worker
Launch = Callable[[Contender], Any]

_TURNS: Tuple[str, ...] = ("start", "eval_forward", "first_step", "train", "resume", "validate")


@dataclass
class Side:
    """What one run of one contender gave."""

    entries: List[Entry] = field(default_factory=list)
    facts: Dict[str, Dict[str, Any]] = field(default_factory=dict)  # by turn


def create_check_launcher(folder: Path) -> Launch:
    """Starts the workers of a check; logs go to `folder`/logs."""
    return create_launcher(folder, RuntimeResolver(), WORKER_MODULE)


def check_model(
    plan: Plan,
    folder: Path,
    timeout_s: float,
    observe: Observe = lambda message, done, total: None,
    launch: Optional[Launch] = None,
) -> ModelCheck:
    """Check one planned workload; what is written goes to `folder`.

    Raises InputError for a plan of a single step, and WorkerError where a worker fails.
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
        self, plan: Plan, folder: Path, timeout_s: float, observe: Observe, launch: Launch
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._timeout_s = timeout_s
        self._observe = observe
        self._launch = launch
        self._workers: List[Any] = []
        self._turns_done = self._turns_planned = 0

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
        self._checkpoint_step = max(1, steps // 2)
        eager, graph = self._run_sides(
            [(_contender(EAGER, "eager"), "eager"), (_contender(GRAPH, "graph"), "graph")], {}
        )
        case = Case(
            pair_entries(eager.entries, graph.entries),
            load_known_differences(),
            eager.facts["start"]["environment"].get("oneflow"),
        )
        wanted = case.list_inexact()
        unrepeated: Optional[Tuple[str, Entry]] = None
        origin: Optional[Origin] = None
        if wanted:
            evidence, unrepeated = self._gather(eager, graph, wanted)
            case.keep_levels_before(unrepeated)
            case.judge(evidence)
            if may_be_rounding(case.levels):
                evidence = self._call_witnesses(evidence, wanted)
                case.judge(evidence)
            origin = self._locate(case, evidence, graph)
        else:
            case.judge(None)
        verdict, reason = conclude(case.levels, unrepeated)
        return ModelCheck(
            model=self._plan.workload.model,
            workload=self._plan.workload,
            steps=steps,
            verdict=verdict,
            reason=reason,
            reproducible=unrepeated is None if wanted else None,
            levels=case.levels,
            origin=origin,
            known=case.hits,
            eager=_side_facts(eager),
            graph=_side_facts(graph),
        )

    def _locate(self, case: Case, evidence: Evidence, graph: Side) -> Optional[Origin]:
        """Where the modes begin to differ; may find a layer that had passed as rounding."""
        op_names = graph.facts["resume"].get("op_names", [])
        alone = self._create_alone(case, graph.facts["start"]["environment"])
        suspect = find_suspect(case.pairs, case.levels)
        if suspect is not None:
            origin = examine(suspect, op_names, alone, is_suspect=True)
            if origin.alone == "reproduced":
                case.judge(evidence, {suspect.key: origin.alone_reason})
                return origin
        return find_origin(case.levels, op_names, alone)

    def _create_alone(self, case: Case, environment: Mapping[str, Any]) -> Alone:
        return Alone(
            ask=self._ask_alone,
            run_folder=self._folder,
            values_folder=self._values("alone"),
            environment=environment.get("variables", {}),
            versions={k: environment[k] for k in ("oneflow", "numpy", "python")
                      if k in environment},
            known=case.find_reason,
        )  # fmt: skip

    def _gather(
        self, eager: Side, graph: Side, wanted: Mapping[str, Sequence[str]]
    ) -> Tuple[Evidence, Optional[Tuple[str, Entry]]]:
        """Both modes again and the reference, with values; what was not repeated, if anything."""
        again = self._run_sides(
            [
                (_contender(EAGER, "eager"), "eager-again"),
                (_contender(GRAPH, "graph"), "graph-again"),
                (_contender(REFERENCE, "eager", "float64"), "reference"),
            ],
            wanted,
        )
        evidence = Evidence(
            self._values("eager-again"), self._values("graph-again"), self._values("reference")
        )
        for name, first, second in ((EAGER, eager, again[0]), (GRAPH, graph, again[1])):
            entry = find_unrepeated(first.entries, second.entries)
            if entry is not None:
                return evidence, (name, entry)
        return evidence, None

    def _call_witnesses(self, evidence: Evidence, wanted: Mapping[str, Sequence[str]]) -> Evidence:
        names = [f"witness-{number}" for number in range(1, WITNESSES + 1)]
        self._run_sides([(_contender(name, "eager"), name) for name in names], wanted)
        return replace(evidence, witnesses=[self._values(name) for name in names])

    def _values(self, name: str) -> Path:
        return self._folder.resolve() / VALUES_FOLDER / name

    def _run_sides(
        self, sides: Sequence[Tuple[Contender, str]], wanted: Mapping[str, Sequence[str]]
    ) -> List[Side]:
        """Run contenders through all their turns, PARALLEL at a time."""
        self._turns_planned += len(sides) * len(_TURNS)
        with ThreadPoolExecutor(PARALLEL) as pool:
            try:
                pending = [pool.submit(self._run_side, c, name, wanted) for c, name in sides]
                return [future.result() for future in pending]
            except BaseException:
                for future in pending:
                    future.cancel()
                for worker in self._workers:
                    worker.kill()  # what still waits for an answer is told that it died
                raise

    def _run_side(
        self, contender: Contender, name: str, wanted: Mapping[str, Sequence[str]]
    ) -> Side:
        worker = self._start_worker(contender)
        side = Side()
        request = self._request(contender, name)
        request["wanted"] = {level: list(names) for level, names in wanted.items()}
        if name.startswith("witness-"):
            request["witness"] = int(name.rpartition("-")[2])
        for turn in _TURNS:
            self._observe(
                f"{self._plan.workload.model}, {name}: {turn.replace('_', ' ')}",
                self._turns_done,
                self._turns_planned,
            )
            answer = worker.ask(turn, self._timeout_s, **request)
            side.entries += [Entry.model_validate(entry) for entry in answer.pop("entries")]
            side.facts[turn] = answer
            self._turns_done += 1
        worker.ask("end", self._timeout_s)
        worker.close()
        return side

    def _start_worker(self, contender: Contender) -> Any:
        worker = self._launch(contender)
        self._workers.append(worker)
        return worker

    def _request(self, contender: Contender, name: str) -> Dict[str, Any]:
        return {
            "workload": self._plan.workload.model_dump(),
            "contender": contender.model_dump(),
            "steps_per_epoch": self._plan.steps_per_epoch,
            "dataset": None if self._dataset is None else str(self._dataset),
            "folder": str(self._values(name)),
            "steps": self._steps,
            "checkpoint_step": self._checkpoint_step,
        }

    def _ask_alone(
        self, mode: str, dtype: str, calls: Sequence[Dict[str, Any]]
    ) -> List[Dict[str, Any]]:
        """Answers of a fresh worker to `start` and then `calls`."""
        names = {"float64": REFERENCE, "float32": GRAPH if mode == "graph" else EAGER}
        contender = _contender(names[dtype], mode, dtype)
        self._observe(f"{self._plan.workload.model}, {mode}: the layer alone",
                      self._turns_done, self._turns_planned + 1)  # fmt: skip
        worker = self._start_worker(contender)
        worker.ask("start", self._timeout_s, **self._request(contender, "alone"), wanted={})
        answers = [worker.ask(timeout_s=self._timeout_s, **call) for call in calls]
        worker.ask("end", self._timeout_s)
        worker.close()
        return answers


def _contender(name: str, mode: str, dtype: str = "float32") -> Contender:
    return Contender(name=name, mode=mode, dtype=dtype)


def _side_facts(side: Side) -> SideFacts:
    validated, resumed = side.facts["validate"], side.facts["resume"]
    return SideFacts(
        losses=side.facts["train"]["losses"],
        resumed_losses=resumed["losses"],
        accuracy=validated["accuracy"],
        validation_loss=validated["validation_loss"],
        parameters_digest=validated["parameters_digest"],
        graph_ops=resumed["graph_ops"],
        compile_s=resumed["compile_s"] if resumed["graph_ops"] else None,
        peak_rss_bytes=validated["peak_rss_bytes"],
        environment=side.facts["start"]["environment"],
    )
