"""Checks one model after another; what is done is on disk before the next begins."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, List, Sequence

from ..errors import BenchError, InputError, Interrupted, WorkerError
from ..plan.plan import Plan
from .documents import save_check
from .result import CheckDocument, ModelCheck

# (what is going on, done, to do)
Observer = Callable[[str, int, int], None]
# plan, folder of the model, longest wait in seconds, observer -> what was found
CheckModel = Callable[[Plan, Path, float, Observer], ModelCheck]


def run_checks(
    plans: Sequence[Plan],
    document: CheckDocument,
    folder: Path,
    timeout_s: float,
    observe: Observer,
    check_model: CheckModel,
) -> None:
    """Check each plan into `document`, which is saved to `folder` after each.

    A model gets a folder of its own, named after it. One whose worker fails, or that turns out
    unusable, is noted with the error, and the next model is checked. Raises the first InputError
    where no model at all could be used, and Interrupted on Ctrl-C.
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
                f"ended by the user; what was checked until then is in {folder}"
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
        reason="the check did not come to its end",
        reproducible=None,
        error=f"{error}\n{tail}".rstrip(),
    )
