"""The place of a rank in its group and on its machine, and how another machine is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple

from ..config import Contender
from ..training.identity import Identity
from . import cores as rank_cores
from .rendezvous import Address, create_rank_variables

THREADS = "OMP_NUM_THREADS"


class Seat(NamedTuple):
    """Where a rank is."""

    identity: Identity
    local_rank: int  # among those that rank 0 sees at one address
    master: Address  # where rank 0 listens
    cores: List[int]  # of its machine, that it may use


def create_seat_variables(seat: Seat, divide_threads: bool) -> Dict[str, str]:
    """What a rank's environment has over its contender's."""
    return {
        **create_rank_variables(seat.identity, seat.master, seat.local_rank),
        rank_cores.VARIABLE: rank_cores.format_cores(seat.cores),
        **({THREADS: str(len(seat.cores))} if divide_threads else {}),
    }


def store_seat(seat: Seat, contender: Contender) -> Dict[str, Any]:
    """As another machine is told; it knows the contender by all but the name of its processes."""
    return {"seat": list(seat), "name": contender.name, "contender": _identify(contender)}


def restore_seat(message: Mapping[str, Any]) -> Seat:
    """The seat of a message; TypeError or ValueError where it is none."""
    identity, local_rank, master, cores = message["seat"]
    return Seat(Identity(*identity), int(local_rank), Address(*master), [int(c) for c in cores])


def find_contender(message: Mapping[str, Any], contenders: List[Contender]) -> Contender:
    """The one that is meant, of those that this machine was started with.

    So nothing is run here that was not typed here. Raises ValueError where there is none.
    """
    name = str(message["name"])
    for one in contenders:
        if _identify(one) == message["contender"] and Path(name).name == name:
            return one.model_copy(update={"name": name})
    raise ValueError("machine 0 asks for a contender that this machine was not started with")


def _identify(contender: Contender) -> Dict[str, Any]:
    return contender.model_dump(mode="json", exclude={"name"})
