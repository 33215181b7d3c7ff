"""The parity phase: the judge of `bench check` on the contenders of a training.

It stores `check.json` in the run's folder, and reports read that. Where both contenders trained the
same bits it runs FEWEST_JUDGED steps, and digests are enough. Else it runs SPARE_STEPS more steps
than the training needed to part, at most MOST_JUDGED. A training that parted after LATE_STEP is
judged from the last state in which both contenders had the same bits. docs/methodology.md explains
the verdict.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Callable, List, Optional

from ..config import Contender
from ..errors import InputError, WorkerError
from ..parity.causes import DepartedError, describe_failure, find_departure, find_obstacle
from ..parity.result import CheckDocument, ModelCheck, save_check
from ..parity.run import FEWEST_STEPS, Observe, check_pair
from ..parity.tensors import EAGER, GRAPH, ContenderPair, LateStart
from ..record.checkpoint import load_training_state
from ..record.events import ParametersEvent
from ..record.run import Document, RecordWriter, RunRecord, load_record
from ..record.side import Side
from ..worker.messages import Launcher
from .training_phase import EQUAL_STATE, EQUAL_STATES

PARITY_FOLDER = "parity"  # in the run's folder: logs and scripts, a folder for each contender
FEWEST_JUDGED, MOST_JUDGED = 6, 200
SPARE_STEPS = 2
LATE_STEP = FEWEST_JUDGED + 4


def judge_training(
    writer: RecordWriter, dataset: Optional[Path], launch: Launcher, observe: Observe
) -> None:
    """Judge each contender of a training against the baseline, and write `check.json`.

    `launch` starts workers of a check. A failed worker is a result of its contender.
    """
    record, folder = load_record(writer.folder), writer.folder
    baseline, *others = [one for one in record.document.contenders if not one.reference]
    pairs = [
        _create_pair(record, baseline, one, dataset)
        for one in others
        if find_obstacle(baseline, one) is None
    ]
    checks: List[ModelCheck] = []
    for pair in pairs:
        place = folder / PARITY_FOLDER / pair.contender.name
        place.mkdir(parents=True, exist_ok=True)

        def show(message: str, done: int, total: int) -> None:
            observe(f"parity of {message}", done, total)

        timeout_s = record.document.measuring.timeout_s
        run = partial(check_pair, folder=place, timeout_s=timeout_s, observe=show, launch=launch)
        try:
            check = _check_from_start(pair, run)
        except (InputError, WorkerError, OSError) as error:
            check = describe_failure(pair, error)
        if check.origin is not None and check.origin.script is not None:
            check.origin.script = str((place / check.origin.script).relative_to(folder))
        checks.append(check)
        save_check(_create_document(record.document, checks), folder)


def _check_from_start(
    pair: ContenderPair, run: Callable[[ContenderPair], ModelCheck]
) -> ModelCheck:
    """The result of `run`, from the first step on where the late start is not repeated."""
    try:
        return run(pair)
    except DepartedError as error:
        assert pair.start is not None
        check = run(replace(pair, steps=pair.start.other_steps, start=None))
        check.reason += f"; {error}, so the run was judged from its first step"
        return check


def _create_pair(
    record: RunRecord, baseline: Contender, contender: Contender, dataset: Optional[Path]
) -> ContenderPair:
    """With as many steps as the losses need, or else the weights that were compared by epochs."""
    document, folder = record.document, record.folder
    assert folder is not None
    losses = [Side(record, one.name).list_losses() for one in (baseline, contender)]
    needed = count_needed(*losses)
    for event in record.of_kind(ParametersEvent, contender.name):
        if needed is None and event.max_abs != 0:
            needed = (event.epoch + 1 - document.start_epoch) * document.steps_per_epoch
    needed, trained = needed or 0, max(FEWEST_STEPS, len(losses[0]))
    pair = ContenderPair(
        workload=document.workload,
        steps_per_epoch=document.steps_per_epoch,
        steps=min(max(FEWEST_JUDGED, needed + SPARE_STEPS), MOST_JUDGED, trained),
        dataset=dataset,
        baseline=baseline,
        contender=contender,
    )
    state = (folder / EQUAL_STATES / contender.name / EQUAL_STATE).resolve()
    if needed <= LATE_STEP or not state.is_file():
        return pair
    done = load_training_state(state).step
    if trained - done < FEWEST_STEPS:
        return pair
    after = {side: one[done:] for side, one in zip((EAGER, GRAPH), losses)}
    wanted = max(FEWEST_JUDGED, needed + SPARE_STEPS - done)
    return replace(
        pair,
        steps=min(wanted, MOST_JUDGED, trained - done),
        start=LateStart(state, done, after, other_steps=pair.steps),
    )


def count_needed(ours: List[Optional[float]], theirs: List[Optional[float]]) -> Optional[int]:
    """Steps up to the first difference, and to those that rounding alone does not explain.

    The latter are a loss that is finite on one side only, and the first of `find_departure` where
    the judge can reach it. None if all losses are equal. A loss of None is not finite.
    """
    steps = list(enumerate(zip(ours, theirs), start=1))
    parted = [step for step, (a, b) in steps if a != b][:1]
    one_sided = [step for step, (a, b) in steps if (a is None) != (b is None)][:1]
    departed = [step for step in [find_departure(ours, theirs)] if 0 < step <= MOST_JUDGED]
    return max(parted + one_sided + departed, default=None)


def _create_document(document: Document, checks: List[ModelCheck]) -> CheckDocument:
    machine = document.environment_start
    side = next((one for one in (checks[-1].graph, checks[-1].eager) if one is not None), None)
    return CheckDocument(
        run_id=document.run_id,
        created=document.created,
        machine={name: value for name, value in machine.items() if name != "blas_kernel"},
        blas_kernel=machine.get("blas_kernel", {}).get(checks[-1].baseline),
        oneflow=None if side is None else side.environment.get("oneflow"),
        checks=checks,
    )
