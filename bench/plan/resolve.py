"""From what was typed to the contenders of a run: what can be run here, and what is run beside it.

A strategy that would end its process with this OneFlow is left out before anything is started.
Others are refused by their worker, whose error then begins with NOT_AVAILABLE.
"""

from __future__ import annotations

from importlib import metadata
from typing import Dict, List, NamedTuple, Optional, Sequence

from ..config import Contender, Workload
from ..errors import InputError
from .checks import check_accumulation, check_cores
from .modes import count_ranks, find_mode_of

REFERENCE = "reference"  # name of the run in float64
REFERENCE_MODE = "eager"
# a worker's InputError begins with this where OneFlow lacks what a strategy needs for the model
NOT_AVAILABLE = "not available: "

# the newest OneFlow that was seen to end all ranks at the first step of a graph with ZeRO, by
# device: "Check failed: separated_header_mem_ptr() == nullptr"; benchmarks/zero_probe.py tries it
_ZERO_ABORTS_UP_TO = {"cpu": (0, 9)}


class Availability(NamedTuple):
    """Contenders that can be run, and why the others cannot, by name."""

    contenders: List[Contender]
    unavailable: Dict[str, str]


def explain_zero(version: str, device: str) -> Optional[str]:
    """Why a graph with ZeRO would end the process with this OneFlow; None where it need not."""
    number = tuple(int(part) for part in version.split(".")[:2])
    if number > _ZERO_ABORTS_UP_TO.get(device, (0, 0)):
        return None
    return f"OneFlow {version} aborts the process of a graph with ZeRO on {device}"


def split_available(contenders: Sequence[Contender]) -> Availability:
    """Leave out what would end its process; raises InputError where nothing would be left.

    The first contender is the baseline, which cannot be left out. Another interpreter's OneFlow
    is left to its workers, which know its version.
    """
    found = [(one, _explain(one)) for one in contenders]
    missing = [(one, reason) for one, reason in found if reason is not None]
    left = [one for one, reason in found if reason is None]
    if missing and (contenders[0] not in left or len(left) < min(2, len(contenders))):
        one, reason = missing[0]
        raise InputError(f"{find_mode_of(one).name} is not available here: {reason}; use graph-dp")
    return Availability(left, {one.name: reason for one, reason in missing})


def _explain(contender: Contender) -> Optional[str]:
    if contender.strategy != "zero" or contender.python is not None:
        return None
    try:
        version = metadata.version("oneflow")
    except metadata.PackageNotFoundError:  # the worker says that it is missing
        return None
    return explain_zero(version, contender.device)


def is_unavailable(contender: Contender, error: InputError) -> bool:
    """Whether a worker's error says that its strategy cannot be had, and nothing else is wrong."""
    return contender.strategy is not None and str(error).startswith(NOT_AVAILABLE)


class RankRequest(NamedTuple):
    """What the flags say of ranks."""

    ranks: Optional[int]  # of the contenders that do not say it themselves
    oversubscribe: bool
    weak: bool
    usable_cores: Optional[int] = None  # of this machine; None: a cluster has its own
    cluster: Optional[str] = None  # the address of its head, or auto; None: this machine alone
    placement: str = "spread"  # of the ranks over its nodes


def resolve_contenders(contenders: Sequence[Contender], request: RankRequest) -> Availability:
    """Check the contenders beside the flags and the machine; what cannot be run here is left out.

    Raises InputError for numbers of ranks that cannot be had, and for contenders that cannot run on
    a cluster.
    """
    ranks = count_ranks(contenders)
    if request.cluster is not None:
        _check_cluster(request.cluster, contenders, ranks)
    if ranks == 1:
        for flag, given in (("--ranks", (request.ranks or 1) > 1), ("--weak", request.weak)):
            if given:
                raise InputError(
                    f"{flag} was given and no contender trains in several ranks; give such as "
                    "--contender ddp or --contender graph-dp"
                )
    if request.usable_cores is not None:
        check_cores(ranks, request.usable_cores, request.oversubscribe)
    if request.weak and contenders[0].ranks > 1:
        raise InputError(
            f"--weak sets several ranks against one process and the baseline {contenders[0].name} "
            f"has {contenders[0].ranks} ranks; give --baseline eager or graph"
        )
    return split_available(contenders)


def _check_cluster(cluster: str, contenders: Sequence[Contender], ranks: int) -> None:
    if ranks == 1:
        raise InputError(
            f"--cluster {cluster} was given and no contender trains in several ranks; give "
            "--ranks, such as --ranks 2 --contender ddp"
        )
    for one in contenders:
        if one.python is not None:
            raise InputError(
                f"contender {one.name} has python={one.python}, which is a path of one machine, "
                "and --cluster was given; run Ray with that interpreter everywhere"
            )


def complete_contenders(
    contenders: Sequence[Contender], workload: Workload, weak: bool, compared: bool
) -> List[Contender]:
    """The contenders with what several ranks are measured by.

    In weak scaling one process takes the batch of one rank. Otherwise, where contenders are
    compared, the reference joins the training: one process, eager in float64. Raises InputError
    for batches that cannot be split and where its name is taken.
    """
    ranks = count_ranks(contenders)
    completed = list(contenders)
    if weak:
        share = {"batch_size": workload.batch_size // ranks}
        completed = [c if c.ranks > 1 else c.model_copy(update=share) for c in contenders]
    elif compared and ranks > 1:
        completed.append(_create_reference(contenders))
    check_accumulation(workload, completed)
    return completed


def _create_reference(contenders: Sequence[Contender]) -> Contender:
    if any(one.name == REFERENCE for one in contenders):
        raise InputError(
            f"a contender is called {REFERENCE}, which is the name of the run in float64 that "
            "several ranks are compared with; give it another name"
        )
    baseline = contenders[0]
    return Contender(
        name=REFERENCE,
        mode=REFERENCE_MODE,
        dtype="float64",
        runtime=baseline.runtime,
        python=baseline.python,
        env=baseline.env if baseline.mode == REFERENCE_MODE else {},
        reference=True,
    )
