"""`bench compare --continue`: from a stored run to its record with more fresh processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import click

from ..config import CODE_FIELDS, Measuring, Workload
from ..errors import InputError
from ..measure.continuation import list_open, read_progress
from ..measure.execution import create_document, execute_continuation
from ..plan.checks import validated
from ..plan.contenders import read_blas
from ..plan.fields import flag_of
from ..plan.modes import load_run
from ..plan.plan import Plan, create_plan
from ..record.events import SetupEvent
from ..record.machine import list_own_code
from ..record.run import Document, RunRecord
from ..report.before_after import describe_run
from ..report.commands import spell_continuation
from ..report.run_key import find_differences
from ..worker.environment import RuntimeResolver, may_a_file_set
from ..worker.process import check_contenders
from .console import VERDICTS, ProgressBar
from .options import find_given_flag
from .run import open_launcher, take_ranks, told_parity

CHANGED = ("budget_s", "until", "replicates", "timeout_s")  # of `Measuring`
# flags that a continued run may be given; the others stay as they were
KEPT = (*CODE_FIELDS, *CHANGED, "continue_run", "blas", "out", "as_json", "detail")
# they say which version of a user's own code was measured
OF_OWN_CODE = ("branch", "commit")


def continue_run(flags: Dict[str, Any]) -> RunRecord:
    """Measure more of a stored run, in a new folder. The record has the old and the new samples.

    Raises InputError, before anything is started, for a run that cannot be continued or that was
    measured on another machine.
    """
    folder = Path(flags["continue_run"])
    given = find_given_flag(KEPT)
    if given:
        raise InputError(
            f"{given} was given, and --continue keeps what {folder} was run with; leave one out"
        )
    record = load_run(folder)
    _check_trust(record, flags)
    measuring = _check(record, flags)
    plan = plan_again(record.document.workload)
    contenders, environments = record.document.contenders, RuntimeResolver()
    check_contenders(contenders, environments)
    document = create_document("compare", plan, measuring, contenders, environments)
    document.unavailable = record.document.unavailable
    _check_same(record, document)
    document.environment_start["continues"] = record.document.run_id
    out = Path(flags["out"] or Path("results") / document.run_id)
    launcher = open_launcher(take_ranks({}), plan, document, out, environments)
    told = told_parity(out, flags["as_json"])
    with told, launcher as launch, ProgressBar("steps", flags["detail"] == VERDICTS) as bar:
        return execute_continuation(record, plan, document, out, launch, bar.seconds)


def _check(record: RunRecord, flags: Dict[str, Any]) -> Measuring:
    """How it is measured now. Raises InputError for a run that cannot be continued."""
    document, folder = record.document, record.folder
    if len(record.racing_names()) < 2:
        raise InputError(
            f"--continue {folder}: the run has one contender and no comparison; give a run of "
            "bench compare"
        )
    if "nodes" in document.environment_start:
        raise InputError(
            f"--continue {folder}: the run was measured on a cluster, and only runs of one machine "
            "can be continued; run bench compare --cluster anew"
        )
    replicates = read_progress(record).replicates
    list_open(record)
    changed = {name: flags[name] for name in CHANGED if flags[name] is not None}
    measuring = validated(Measuring, {**document.measuring.model_dump(), **changed})
    if replicates >= measuring.replicates:
        raise InputError(
            f"--continue {folder}: the run has {replicates} replicates and --replicates is "
            f"{measuring.replicates}; give more"
        )
    return measuring


def _check_trust(record: RunRecord, flags: Dict[str, Any]) -> None:
    """Raise InputError for code that the stored run names and the command line does not."""
    folder, workload = record.folder, record.document.workload
    own_code = list_own_code(workload)
    for name in CODE_FIELDS:
        stored, given = getattr(workload, name), flags[name]
        if given not in (None, stored):
            raise InputError(
                f"--continue {folder}: {flag_of(name)} was {stored} and {given} was given; leave "
                "it out, or run bench compare anew"
            )
        if name in own_code and given is None:
            raise InputError(
                f"--continue {folder}: the run's {name} is {stored}, and a file runs no code that "
                f"you do not name; if you trust it, give {spell_continuation(record)}"
            )
    _check_contenders(record, flags["blas"])


def _check_contenders(record: RunRecord, blas: Optional[str]) -> None:
    """Raise InputError for a library, interpreter or variable that only the stored run names."""
    given = None if blas is None else read_blas(blas, f"--blas {blas}")
    contenders, folder = record.document.contenders, record.folder
    for one in contenders:
        if one.blas not in (None, given):
            raise InputError(
                f"--continue {folder}: {one.name} preloads {one.blas}, and a file loads no code; "
                f"give --blas {one.blas} if you trust it"
            )
        own = [name for name in one.env if not may_a_file_set(name)]
        if own or one.python is not None:
            named = f"{own[0]}={one.env[own[0]]}" if own else f"python={one.python}"
            raise InputError(
                f"--continue {folder}: {one.name} has {named}, and a file loads no code; run bench "
                "compare anew"
            )
    if given is not None and all(one.blas is None for one in contenders):
        raise InputError(
            f"--blas {blas} was given, and no contender of {folder} preloads a BLAS; leave it out"
        )


def plan_again(workload: Workload) -> Plan:
    """The plan of a stored workload. Raises InputError for data that are no longer there."""
    return create_plan(workload.model_dump(), typed=())


def _check_same(record: RunRecord, document: Document) -> None:
    """Raise InputError if the machine, the workload or the versions of the suite are others."""
    now = RunRecord(document, record.events)
    differences = find_differences(describe_run(record), describe_run(now))
    work = document.workload
    own_code = bool(list_own_code(work))
    setups = record.of_kind(SetupEvent)
    if own_code and not any(one.environment.get("code") for one in setups):
        click.echo(
            f"note: {record.folder} has no digest of your code, so a change of it since then is "
            "not noticed",
            err=True,
        )
    found: List[Tuple[str, str, str]] = [
        one for one in differences if own_code or one[0] not in OF_OWN_CODE
    ]
    if found:
        name, before, after = found[0]
        raise InputError(
            f"--continue {record.folder}: {name} was {before} and is {after} now, so old and new "
            "samples are not of one kind; run bench compare anew"
        )
