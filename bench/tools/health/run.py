"""Examines models in both modes, judges what their workers saw, and reports it.

The bounds are wide: they find what keeps a model from training, and leave tuning alone.
`results/health/table.md` says how the models of the suite lie in them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from pydantic import BaseModel

from ...config import STEP_DATA, Contender, Workload
from ...errors import (
    EXIT_DIFFERENT,
    EXIT_DONE,
    EXIT_WORKER_FAILED,
    InputError,
    Interrupted,
    WorkerError,
    worst_status,
)
from ...measure.order import Observer
from ...plan.plan import Plan
from ...record.run import save_text
from ...report.blocks import Block, Heading, Table, Text
from ...worker.environment import RuntimeResolver
from ...worker.messages import ask
from ...worker.process import create_launcher
from .worker import HealthRequest, ModeHealth

MODES = ("eager", "graph")
HEALTH_NAME = "health.json"
WORKER_MODULE = "oneflow_bench.bench.tools.health.worker"
# a batch is learned by heart by any model that can learn, with a rate that suits most
HEALTH_DEFAULTS: Dict[str, Any] = {
    "epochs": 1, "steps_per_epoch": 100, "optimizer": "adam", "lr": 0.001, "schedule": "constant",
    "weight_decay": 0.0,
}  # fmt: skip

FARTHEST_FIRST_LOSS = 1.25  # over ln(classes), and under it
SMALLEST_GRADIENT = 1e-5  # of the largest of any weight
# of the channels of an activation; chance alone turns half of them off where images look alike
MOST_DEAD = 0.75
BY_HEART = 0.1  # of the first loss

Judged = Tuple[str, Optional[bool], str]  # the fields of a finding but its mode


class Finding(BaseModel):
    """One thing that was judged in one mode; `healthy` is None where it cannot be judged."""

    aspect: str
    mode: str
    healthy: Optional[bool]
    value: str


class ModelHealth(BaseModel):
    """What was found about one model; a worker that failed is a result too."""

    workload: Workload
    modes: List[ModeHealth] = []
    findings: List[Finding] = []
    error: Optional[str] = None

    @property
    def healthy(self) -> bool:
        return self.error is None and all(one.healthy is not False for one in self.findings)

    @property
    def verdict(self) -> str:
        """One word or two."""
        word = "healthy" if self.healthy else "unhealthy"
        return word if self.error is None else "not examined"


class HealthDocument(BaseModel):
    """The content of `health.json`."""

    models: List[ModelHealth] = []

    @property
    def exit_status(self) -> int:
        """1 for an unhealthy model, before 4 for a worker that failed."""
        statuses = {True: EXIT_DONE, False: EXIT_DIFFERENT}
        return worst_status(
            [EXIT_WORKER_FAILED if one.error else statuses[one.healthy] for one in self.models]
        )


def judge_health(workload: Workload, found: ModeHealth) -> List[Finding]:
    """The findings of one mode."""
    judged = [
        _judge_first_loss(workload, found),
        _judge_gradients(found.gradient_norms),
        _judge_dead(found.dead_shares),
        _judge_learning(workload, found.losses),
    ]
    return [
        Finding(aspect=aspect, mode=found.mode, healthy=healthy, value=value)
        for aspect, healthy, value in judged
    ]


def _judge_learning(work: Workload, losses: Sequence[Optional[float]]) -> Judged:
    """A loss other than cross entropy may end above zero, so of that only a fall is asked."""
    aspect, first, last = "batch by heart", losses[0], losses[-1]
    if first is None or last is None:
        return aspect, False, f"not finite at step {len(losses)}"
    if last <= BY_HEART * first:
        return aspect, True, f"in {len(losses) - 1} steps"
    value = f"loss {last:.3g} after {len(losses)} steps"
    if last < first and (work.data == STEP_DATA or work.loss != "cross_entropy"):
        return aspect, None, f"not judged; {value}"
    return aspect, False, value


def _judge_first_loss(work: Workload, found: ModeHealth) -> Judged:
    """That of equal probabilities is ln(K), counted once for each head with its weight."""
    aspect, first = "first loss over ln(classes)", found.losses[0]
    if first is None:
        return aspect, False, "not finite"
    started = work.load_checkpoint or work.resume
    if work.data == STEP_DATA or work.loss not in ("cross_entropy", "label_smoothing") or started:
        return aspect, None, f"not judged; the first loss is {first:.3g}"
    ratio = first / (found.loss_weights * math.log(work.num_classes))
    return aspect, 1 / FARTHEST_FIRST_LOSS <= ratio <= FARTHEST_FIRST_LOSS, f"{ratio:.2f}"


def _judge_gradients(norms: Dict[str, Optional[float]]) -> Judged:
    aspect = "smallest gradient over largest"
    broken = next((name for name, norm in norms.items() if norm is None), None)
    if broken is not None:
        return aspect, False, f"{broken}: not finite"
    if not norms:
        return aspect, None, "no weights"
    name = min(norms, key=lambda one: norms[one] or 0.0)
    largest = max(norm or 0.0 for norm in norms.values())
    share = (norms[name] or 0.0) / largest if largest else 0.0
    healthy = share >= SMALLEST_GRADIENT
    return aspect, healthy, f"{share:.1e}" + f" ({name})" * (not healthy)


def _judge_dead(shares: Dict[str, float]) -> Judged:
    if not shares:
        return "most dead units of a layer", None, "no ReLU"
    name = max(shares, key=lambda one: shares[one])
    healthy = shares[name] <= MOST_DEAD
    value = f"{100 * shares[name]:.0f} %" + f" ({name})" * (not healthy)
    return "most dead units of a layer", healthy, value


def examine_model(plan: Plan, folder: Path, timeout_s: float, observe: Observer) -> ModelHealth:
    """Both modes, one after the other, in a fresh worker each. Raises as the workers do."""
    launch = create_launcher(folder, RuntimeResolver(), WORKER_MODULE)
    dataset = plan.prepare_dataset(folder)
    health = ModelHealth(workload=plan.workload)
    for number, mode in enumerate(MODES):
        observe(f"{plan.workload.model}: {mode}", number, len(MODES))
        contender = Contender(name=mode, mode=mode)
        request = HealthRequest(
            workload=plan.workload,
            contender=contender,
            steps_per_epoch=plan.steps_per_epoch,
            dataset=None if dataset is None else str(dataset),
            steps=plan.steps_per_epoch * plan.workload.epochs,
            by_heart=BY_HEART,
        )
        worker = launch(contender)
        try:
            found = ask(worker, "examine", timeout_s, ModeHealth, request)
        finally:
            worker.close()
        health.modes.append(found)
        health.findings += judge_health(plan.workload, found)
    return health


def examine_models(
    plans: Sequence[Plan], folder: Path, timeout_s: float, observe: Observer
) -> HealthDocument:
    """Each model; `health.json` in `folder` is written after each.

    A worker that fails is noted, and the next model is examined. Raises Interrupted on Ctrl-C, and
    InputError for a model that cannot be used if it is the only one.
    """
    document = HealthDocument()
    for plan in plans:
        place = folder / plan.workload.model.replace(":", "-")
        place.mkdir(exist_ok=True)
        try:
            health = examine_model(plan, place, timeout_s, observe)
        except KeyboardInterrupt:
            raise Interrupted(
                f"ended by the user; the models examined until then are in {folder}"
            ) from None
        except (InputError, WorkerError) as error:
            if isinstance(error, InputError) and len(plans) == 1:
                raise
            health = ModelHealth(workload=plan.workload, error=str(error))
        document.models.append(health)
        text = document.model_dump_json(indent=1) + "\n"
        save_text(folder / HEALTH_NAME, text, "give --out a folder you may write to")
    return document


def report_health(document: HealthDocument) -> List[Block]:
    """A table for each model, with a row for each aspect and a column for each mode."""
    blocks: List[Block] = []
    for health in document.models:
        blocks.append(Heading(f"{health.workload.model}: {health.verdict}"))
        if health.error is not None:
            blocks.append(Text([health.error]))
        if health.findings:
            blocks.append(_tabulate(health))
    return blocks


def _tabulate(health: ModelHealth) -> Table:
    modes = [found.mode for found in health.modes]
    cells = {(one.aspect, one.mode): one for one in health.findings}
    rows = []
    for aspect in dict.fromkeys(one.aspect for one in health.findings):
        found = [cells[aspect, mode] for mode in modes]
        judged = [one.healthy for one in found]
        word = "no" if False in judged else "not judged" if None in judged else "yes"
        rows.append([aspect, *(one.value for one in found), word])
    return Table(["", *modes, "healthy"], rows)
