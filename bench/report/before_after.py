"""The comparisons of a record, and of the contenders of two: before and after a change."""

from __future__ import annotations

import json
from typing import List, Optional, Tuple

from pydantic import BaseModel

from ..config import Measuring
from ..errors import InputError
from ..record.machine import list_own_code
from ..record.run import RunRecord
from ..record.side import Side
from ..verdict.across_runs import RunsJudgement, judge_runs
from ..verdict.judge import INCONCLUSIVE, SLOWER
from ..verdict.statistics import Ratio
from .blocks import Block, Heading, Table, Text
from .compare import build_report, conclude
from .comparison import Comparison, compare_contenders
from .format import format_median_ms, format_sentence, format_short_interval
from .run_key import NONE, SHOWN_DIGITS, UNKNOWN, Key, create_series_key, find_differences

# fields that say whether two runs measured the same work on the same machine
SAME_WORK = (
    "model", "model_args", "batch_size", "image_size", "num_classes", "data", "feed", "loss",
    "optimizer", "dtype", "device", "ranks", "accumulation_steps", "processor", "cores", "memory",
)  # fmt: skip
NOT_IN_RATIO = (
    "The intervals do not contain a change of the machine's speed between the two runs. Turns in "
    "one `bench compare` do."
)


class BeforeAfter(BaseModel):
    """Two runs: what differs between them, and a comparison for each pair of contenders."""

    before: str  # run ids
    after: str
    differences: List[Tuple[str, str, str]]  # field, before, after
    left_out: List[str]  # contenders that only one run has
    comparisons: List[Comparison]
    judgements: List[RunsJudgement]  # of the comparisons, in their order
    gate: Optional[float]  # the slowdown that is allowed
    slower: List[str]  # contenders that are slower by more than the gate

    lost: List[str]  # contenders of the first run that the second does not have
    unfinished: List[str]  # runs that are not complete, each with its status

    @property
    def untold(self) -> Optional[str]:
        """Why a gate without a slowdown cannot pass, as a sentence; None if it can."""
        if self.unfinished:
            return f"not every run came to its end: {', '.join(self.unfinished)}"
        if self.unmeasured:
            return f"the runs do not both hold a step time of {', '.join(self.unmeasured)}"
        untimed = [one.reason for one in self.judgements if one.speedup is None]
        return untimed[0] if untimed else None

    @property
    def unmeasured(self) -> List[str]:
        """The contenders of the first run without a step time in both."""
        untimed = [one.contender.name for one in self.comparisons if one.speedup is None]
        return [*untimed, *self.lost]


def compare_record(record: RunRecord) -> List[Comparison]:
    """Every contender of a record against its first one.

    A reference, which is trained to judge the others by, is left out.
    """
    first, *others = record.racing_names()
    return [compare_contenders(record, first, record, other) for other in others]


def pair_contenders(before: RunRecord, after: RunRecord) -> List[Tuple[str, str]]:
    """Contenders of the same name, or the only ones. Raises InputError where there is no pair."""
    ours, theirs = before.racing_names(), after.racing_names()
    if len(ours) == len(theirs) == 1:
        return [(ours[0], theirs[0])]
    common = [(name, name) for name in ours if name in theirs]
    if not common:
        raise InputError(
            f"run {before.document.run_id} has {', '.join(ours)} and run {after.document.run_id} "
            f"has {', '.join(theirs)}, and no name is in both; give two runs with a contender of "
            "the same name, or two runs of one contender each"
        )
    return common


def compare_runs(before: RunRecord, after: RunRecord, gate: Optional[float] = None) -> BeforeAfter:
    """Pair by pair. `gate` is a slowdown, such as 0.05. Raises as `pair_contenders`."""
    pairs = pair_contenders(before, after)
    differences = find_differences(describe_run(before), describe_run(after))
    other = [name for name, _, _ in differences if name.split(" of ")[0] in SAME_WORK]
    comparisons, judgements, slower = [], [], []
    for ours, theirs in pairs:
        comparison = compare_contenders(before, ours, after, theirs)
        judged = _judge(before, ours, after, theirs, before.document.measuring, other)
        judgements.append(judged)
        comparisons.append(_with_verdict(comparison, judged))
        if gate is not None:
            margins = before.document.measuring.model_copy(update={"margin": gate})
            gated = _judge(before, ours, after, theirs, margins, other)
            slower += [theirs] if gated.verdict == SLOWER else []
    paired = {name for pair in pairs for name in pair}
    names = dict.fromkeys([*before.racing_names(), *after.racing_names()])
    return BeforeAfter(
        before=before.document.run_id,
        after=after.document.run_id,
        differences=differences,
        left_out=[name for name in names if name not in paired],
        lost=[name for name in before.racing_names() if name not in paired],
        unfinished=[
            f"{one.document.run_id} is {one.document.status}"
            for one in (before, after)
            if one.document.status != "complete"
        ],
        comparisons=comparisons,
        judgements=judgements,
        gate=gate,
        slower=slower,
    )


def describe_run(record: RunRecord) -> Key:
    """The fields of a series, and those that may change within one."""
    machine, workload = record.document.environment_start, record.document.workload
    project = machine.get("project") or {}
    return {
        **create_series_key(record),
        "seed": str(workload.seed),
        "resume": workload.resume or NONE,
        "folder of the data": workload.data,
        "platform": str(machine.get("platform") or UNKNOWN),
        "Python of the suite": str(machine.get("python") or UNKNOWN),
        "commit of the suite": str(machine.get("git_commit") or UNKNOWN),
        "commit": str(project.get("commit") or NONE),
        **_describe_code(record),
    }


def _describe_code(record: RunRecord) -> Key:
    """The digests of the user's files, as JSON for each contender. Old records have none."""
    key: Key = {}
    if list_own_code(record.document.workload):
        for name in record.contender_names():
            code = Side(record, name).environment.get("code")
            short = {file: digest[:SHOWN_DIGITS] for file, digest in (code or {}).items()}
            key[f"{name}.code"] = UNKNOWN if code is None else json.dumps(short, sort_keys=True)
    return key


def _judge(
    before: RunRecord,
    ours: str,
    after: RunRecord,
    theirs: str,
    margins: Measuring,
    other: List[str],
) -> RunsJudgement:
    judged = judge_runs(before, ours, after, theirs, margins)
    if not other:
        return judged
    reason = f"the runs did not do the same work on the same machine ({', '.join(other)})"
    return judged.model_copy(update={"verdict": INCONCLUSIVE, "reason": reason})


def _with_verdict(comparison: Comparison, judged: RunsJudgement) -> Comparison:
    """Under the names `graph (before)` and `graph (after)`."""
    update = {
        "baseline": _rename(comparison, "baseline", "before"),
        "contender": _rename(comparison, "contender", "after"),
    }
    if judged.speedup is not None:
        ends = judged.speedup.model_dump(include={"ratio", "low", "high"})
        count = min(judged.processes)
        ratio = Ratio(**ends, count=count, paired=False, smallest_effect=None)
        update.update(speedup=ratio, speed_verdict=judged.verdict, speed_reason=judged.reason)
    return comparison.model_copy(update=update)


def _rename(comparison: Comparison, side: str, when: str) -> object:
    summary = getattr(comparison, side)
    return summary.model_copy(update={"name": f"{summary.name} ({when})"})


def build_runs_report(found: BeforeAfter, tables: bool = True) -> List[Block]:
    """The differences, a line for each pair, `tables` of each pair, notes, and the verdicts."""
    rows = [list(row) for row in found.differences]
    same = "Nothing that the records hold differs but the time."
    blocks: List[Block] = [
        Heading(f"{found.before} (before) and {found.after} (after)"),
        Table(["differs", "before", "after"], rows) if rows else Text([same]),
    ]
    titles = ["contender", "before, ms", "after, ms", "speedup (95 % interval)", "speed", "parity"]
    lines = [
        [
            one.contender.name.rpartition(" (")[0],
            format_median_ms(one.baseline.train_step_time_s),
            format_median_ms(one.contender.train_step_time_s),
            format_short_interval(one.speedup),
            one.speed_verdict,
            one.parity,
        ]
        for one in found.comparisons
    ]
    blocks.append(Table(titles, lines, titles[1:4]))
    if tables:
        for one in found.comparisons:
            blocks += build_report([one])
    notes = [f"{name} is in one of the runs alone and was left out." for name in found.left_out]
    fixed = [judged.fixed_work for judged in found.judgements if judged.fixed_work is not None]
    notes.append(
        f"A fixed piece of work took {fixed[0]:.3f} times as long in the second run."
        if fixed
        else "A record does not say how fast the machine was, so its change is in the ratios."
    )
    verdicts = [line for one in found.comparisons for line in conclude(one, True)]
    if found.gate is not None:
        slower = ", ".join(found.slower)
        limit = f"{found.gate * 100:g} %"
        verdicts.append(
            f"Gate: {slower} became slower by more than {limit}."
            if slower
            else f"Gate: not passed. {format_sentence(found.untold)}"
            if found.untold
            else f"Gate: no slowdown beyond {limit} is supported by these runs."
        )
    return [*blocks, Text([*notes, NOT_IN_RATIO]), Text(verdicts)]


def dump_runs(found: BeforeAfter) -> str:
    """JSON."""
    return json.dumps(found.model_dump(), indent=1)
