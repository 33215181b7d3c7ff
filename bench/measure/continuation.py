"""Goes on from the speed phase of a stored run.

The analyses go on with their numbers, so the sequential interval keeps its 1 % over both parts:
analysis j may spend 1 % / (j (j + 1)), and the sum over any number of analyses stays below 1 %. A
user who has read the report of an interrupted run has seen one more analysis than the record has.
It is counted too.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, NamedTuple, Sequence

from ..errors import InputError
from ..record.events import (
    InterimAnalysisEvent,
    Prepared,
    ProcessEvent,
    SetupEvent,
    SpeedBlockEvent,
)
from ..record.run import RunRecord
from ..verdict.judge import INCONCLUSIVE
from ..verdict.stopping import START_FRESH, USE_REMAINING
from ..verdict.summary import count_analyses, judge_record_speed, select_contender


class Progress(NamedTuple):
    """A stored speed phase at its end; all zero for one that is new."""

    blocks: Sequence[SpeedBlockEvent] = ()
    analyses: int = 0  # that the record has
    analyses_of: Dict[str, int] = {}  # that each contender has paid for
    is_analysed: bool = True  # whether the last analysis has seen all blocks
    waves: int = 0
    replicates: int = 0
    turns: int = 0
    steps: int = 0  # of a block
    abba_pairs: int = 0  # of a whole wave; 0 before the first analysis
    duration_s: float = 0.0

    def create_analysis(self) -> InterimAnalysisEvent:
        """The analysis that the report on a phase without one at its end was."""
        return InterimAnalysisEvent(
            number=self.analyses + 1,
            replicates=self.replicates,
            started_s=self.duration_s,
            action=START_FRESH,
        )


def read_progress(record: RunRecord) -> Progress:
    """Raises InputError for a record without a scored block, or without a training."""
    events = record.events
    blocks = [e for e in events if isinstance(e, SpeedBlockEvent)]
    scored = [block for block in blocks if block.kind == "scored"]
    status = record.document.status
    if not scored and record.document.measuring.speed and status != "complete":
        ended = "killed" if status == "running" else status
        raise InputError(
            f"--continue {record.folder}: the run was {ended} before the first scored block of its "
            "speed phase; run bench compare anew"
        )
    if not scored:
        raise InputError(
            f"--continue {record.folder}: the run has no blocks of a speed phase; run bench "
            "compare again without --no-speed"
        )
    first, *others = record.racing_names()
    trained = {e.contender for e in events if isinstance(e, SetupEvent)}
    if not {first, *others} <= trained:
        raise InputError(
            f"--continue {record.folder}: the run trained nothing, so its record lacks the "
            "versions that it ran on; run bench compare anew"
        )
    analyses = [e for e in events if isinstance(e, InterimAnalysisEvent)]
    last = max((i for i, e in enumerate(events) if isinstance(e, InterimAnalysisEvent)), default=-1)
    rest = next((e.started_s for e in analyses if e.action == USE_REMAINING), math.inf)
    pairs = [block.pair or 0 for block in scored if block.started_s < rest]
    processes = [e for e in events if isinstance(e, ProcessEvent)]
    return Progress(
        blocks=blocks,
        analyses=analyses[-1].number if analyses else 0,
        analyses_of={name: count_analyses(select_contender(events, name)) for name in others},
        is_analysed=not any(e is scored[-1] for e in events[last + 1 :]),
        waves=1 + max(e.wave for e in processes),
        replicates=1 + max(e.replicate for e in processes),
        turns=1 + max(block.turn for block in blocks),
        steps=scored[0].steps,
        abba_pairs=(1 + max(pairs)) // 2 if analyses else 0,
        duration_s=max(block.started_s + block.duration_s for block in blocks),
    )


def list_open(record: RunRecord) -> List[str]:
    """The contenders without a verdict. Raises InputError where there are none."""
    first, *others = record.racing_names()
    verdicts: Dict[str, str] = {}
    for name in others:
        judgement = judge_record_speed(record, first, name)
        verdicts[name] = judgement.verdict if judgement else INCONCLUSIVE
    found = [name for name, verdict in verdicts.items() if verdict == INCONCLUSIVE]
    if not found:
        told = ", ".join(f"{name} is {verdict}" for name, verdict in verdicts.items())
        raise InputError(
            f"--continue {record.folder}: the run has its verdict ({told}), and nothing is left to "
            "measure; give an inconclusive run"
        )
    return found


def check_prepared(events: Sequence[Any], contender: str, prepared: Prepared) -> None:
    """Raise InputError for a fresh process that is not what the run's training started.

    Its versions and variables must be the same, its initial weights, and the files of the user's
    code. A record of an older suite has no digest of those.
    """
    setup = next(e for e in events if isinstance(e, SetupEvent) and e.contender == contender)
    before, now = _name_files(setup.environment), _name_files(prepared.environment)
    if setup.initial_weights is None:  # else they were drawn by another OneFlow
        before["initial weights"] = setup.initial_digest[:12]
        now["initial weights"] = prepared.initial_digest[:12]
    for name in before:
        if name in now and before[name] != now[name]:
            raise InputError(
                f"--continue: {name} of {contender} was {before[name]} and is {now[name]} now; "
                "give a run of the same versions and model, or run bench compare anew"
            )


def _name_files(environment: Dict[str, Any]) -> Dict[str, Any]:
    files = {f"the SHA-256 of {file}": d[:12] for file, d in environment.get("code", {}).items()}
    return {**{name: value for name, value in environment.items() if name != "code"}, **files}
