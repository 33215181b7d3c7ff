"""Starts all ranks of a contender on this machine."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Dict, List

from oneflow_bench.config import Contender
from oneflow_bench.errors import BenchError
from oneflow_bench.ranks import cores as rank_cores
from oneflow_bench.ranks.group import RankGroup
from oneflow_bench.ranks.identity import Identity
from oneflow_bench.ranks.merging import merge_answers
from oneflow_bench.ranks.rank_process import RankProcess
from oneflow_bench.ranks.rendezvous import PortReservation, create_rank_variables, is_listening

THREADS = "OMP_NUM_THREADS"


def start_group(
    contender: Contender,
    command: List[str],
    environment: Dict[str, str],
    logs: Path,
    divide_threads: bool,
) -> RankGroup:
    """The group of a contender; each rank has a log and a progress file of its own in `logs`.

    `divide_threads`: OMP_NUM_THREADS becomes the number of a rank's cores. Raises WorkerError where
    a rank cannot be started.
    """
    cores = rank_cores.divide_cores(sorted(os.sched_getaffinity(0)), contender.ranks)
    reservation = PortReservation()
    members: List[RankProcess] = []
    try:
        for rank, own in enumerate(cores):
            identity = Identity(rank, contender.ranks)
            variables = {
                **create_rank_variables(identity, reservation.address, local_rank=rank),
                rank_cores.VARIABLE: rank_cores.format_cores(own),
                **({THREADS: str(len(own))} if divide_threads else {}),
            }
            members.append(
                RankProcess(contender.name, identity, command, {**environment, **variables}, logs)
            )
    except (BenchError, OSError, KeyboardInterrupt):
        for member in members:
            member.kill()
            member.close()
        reservation.release()
        raise
    return RankGroup(
        contender.name,
        members,
        partial(merge_answers, strategy=contender.strategy, cores=cores),
        partial(is_listening, reservation.address),
        reservation.release,
    )
