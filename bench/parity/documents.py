"""`check.json` on disk: written after each model, read for a report without OneFlow."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Sequence

from ..config import Contender
from ..errors import InputError
from ..plan.plan import Plan
from ..record.machine import describe_machine
from ..record.run import load_document, save_text
from ..worker.environment import RuntimeResolver
from ..worker.runtime_profile import find_oneflow
from .result import CHECK_NAME, READABLE_VERSIONS, CheckDocument


def create_check_document(plans: Sequence[Plan]) -> CheckDocument:
    """The document as it stands before the first model; asks OneFlow's BLAS for its kernel."""
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


def save_check(document: CheckDocument, folder: Path) -> None:
    """Write `check.json` into `folder`; a reader sees the old document or the new one."""
    save_text(
        folder / CHECK_NAME,
        document.model_dump_json(indent=1) + "\n",
        "give --out a folder you may write to",
    )


def load_check(run: Path) -> CheckDocument:
    """Read a check's folder, or the `check.json` in it.

    Raises RecordError where it is missing, damaged, of another schema version, or holds no model.
    """
    path = run if run.name == CHECK_NAME else run / CHECK_NAME
    document: CheckDocument = load_document(
        path, CheckDocument, READABLE_VERSIONS, "check", "give a folder made by bench check"
    )
    if not document.checks:
        raise InputError(f"{path} holds no finished model; run bench check again")
    return document
