"""From what was typed to the contenders of a run in which some train in several ranks."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence

from ..config import Contender, Workload
from ..distributed.machines.nodes import Nodes, check_contenders_of_nodes
from ..errors import InputError
from .availability import Availability, split_available
from .shares import check_accumulation, check_cores
from .strategies import count_ranks

REFERENCE = "reference"


class RankRequest(NamedTuple):
    """What the flags say of ranks."""

    ranks: Optional[int]  # of the contenders that do not say it themselves
    oversubscribe: bool
    weak: bool
    nodes: Nodes


def arrange_ranks(
    contenders: Sequence[Contender], request: RankRequest, usable_cores: int
) -> Availability:
    """Check the contenders beside the flags and the machine; what cannot be run here is left out.

    Raises InputError for numbers of ranks that cannot be had.
    """
    check_contenders_of_nodes(request.nodes, contenders)
    ranks = count_ranks(contenders)
    if ranks == 1:
        for flag, given in (("--ranks", (request.ranks or 1) > 1), ("--weak", request.weak)):
            if given:
                raise InputError(
                    f"{flag} was given and no contender trains in several ranks; give such as "
                    "--contender ddp or --contender graph-dp"
                )
    check_cores(ranks // request.nodes.nodes, usable_cores, request.oversubscribe)
    if request.weak and contenders[0].ranks > 1:
        raise InputError(
            f"--weak sets several ranks against one process and the baseline {contenders[0].name} "
            f"has {contenders[0].ranks} ranks; give --baseline eager or graph"
        )
    return split_available(contenders)


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
        share = workload.batch_size // ranks
        completed = [
            one if one.ranks > 1 else one.model_copy(update={"batch_size": share})
            for one in contenders
        ]
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
        mode="eager",
        dtype="float64",
        runtime=baseline.runtime,
        python=baseline.python,
        env=baseline.env if baseline.mode == "eager" else {},
        reference=True,
    )
