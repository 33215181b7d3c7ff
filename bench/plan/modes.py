"""The registry of modes: how one process, or several together, can execute a workload.

A mode is one file with a class that does the work (`training.modes.Mode`) and one entry here, which
says its name, where the class is, and what a contender of it may ask for. The controller reads the
entries alone. A worker imports the class, and OneFlow with it. A strategy is a mode that several
ranks execute together; `bench.distributed` registers those. docs/adding-a-mode.md walks through it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from ..config import Contender
from ..errors import InputError, RecordError
from ..record.run import RunRecord, load_record
from .graph_options import suggest


@dataclass(frozen=True)
class ModeSpec:
    """One mode as the controller knows it."""

    name: str  # as a contender begins with it
    implementation: str  # package.module:class, imported by the workers alone
    is_compiled: bool = False  # takes the switches of nn.Graph's config
    dtypes: Tuple[str, ...] = ("float32",)
    strategy: Optional[str] = None  # how several ranks share it; None: one process
    shared_mode: Optional[str] = None  # of a strategy: the mode that the ranks share

    @property
    def mode(self) -> str:
        """The mode of its contenders."""
        return self.shared_mode or self.name


MODES: Dict[str, ModeSpec] = {}


def register_mode(spec: ModeSpec) -> None:
    """Make a mode known under its name; another of that name is replaced."""
    MODES[spec.name] = spec


register_mode(
    ModeSpec("eager", "oneflow_bench.bench.training.eager:EagerMode", dtypes=("float32", "float64"))
)
register_mode(ModeSpec("graph", "oneflow_bench.bench.training.graph:GraphMode", is_compiled=True))


def find_mode(name: str) -> ModeSpec:
    """Raises InputError, with the known modes, for one that is not registered."""
    if name not in MODES:
        raise InputError(f"unknown mode '{name}'; {suggest(name, list(MODES))}")
    return MODES[name]


def find_mode_of(contender: Contender) -> ModeSpec:
    """The mode that executes a contender. Raises InputError as `find_mode`."""
    return find_mode(spell_strategy(contender.mode, contender.strategy))


def load_run(folder: Path) -> RunRecord:
    """`load_record`, and RecordError for a run of a mode that is not registered."""
    record = load_record(folder)
    for one in record.document.contenders:
        mode = spell_strategy(one.mode, one.strategy)
        if mode not in MODES:
            raise RecordError(
                f"the contender {one.name} of {record.folder} has the mode {mode}, which is not "
                "known here; use the version of the suite that wrote it"
            )
    return record


def list_modes() -> List[str]:
    return [name for name, spec in MODES.items() if spec.strategy is None]


def list_strategies(mode: Optional[str] = None) -> List[str]:
    """Names of the modes of several ranks, all or those that share `mode`; the default first."""
    shared = [spec for spec in MODES.values() if spec.strategy is not None]
    return [spec.name for spec in shared if mode in (None, spec.mode)]


def spell_strategy(mode: str, strategy: Optional[str]) -> str:
    """The name of a strategy: ddp, or such as graph-dp; of one process its mode."""
    return mode if strategy is None else strategy if strategy == "ddp" else f"{mode}-{strategy}"


def count_ranks(contenders: Sequence[Contender]) -> int:
    """The number that all contenders of several ranks have; 1 where there are none.

    Raises InputError for two numbers: a run's readers give one global batch to all its contenders.
    """
    numbers: List[int] = sorted({one.ranks for one in contenders if one.ranks > 1})
    if len(numbers) > 1:
        given = " and ".join(f"{number}" for number in numbers)
        raise InputError(
            f"contenders of {given} ranks were given and a run has one number, as its batches are "
            "read for that many; run bench compare once for each"
        )
    return numbers[0] if numbers else 1
