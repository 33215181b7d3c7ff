"""Made-up records with known answers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from fakes import create_document

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.record.events import (
    BlockEvent,
    ConditionsEvent,
    EndEvent,
    EvalEvent,
    InterimAnalysisEvent,
    ParametersEvent,
    SetupEvent,
    SpeedBlockEvent,
    SpeedEndEvent,
    SpeedSetupEvent,
)
from oneflow_bench.bench.record.run import RecordWriter, RunRecord

BLOCK_STEPS = 5


def edit_document(path: Path, **fields: Any) -> None:
    """Change fields of a stored document as a person would, who deletes its checksum."""
    document = json.loads(path.read_text())
    document.pop("crc32", None)
    path.write_text(json.dumps({**document, **fields}))


def create_events(
    name: str,
    step_time_s: float = 0.1,
    blocks: int = 24,
    noise: float = 0.0,
    loss_shift: float = 0.0,
    shift_from: int = 0,
    correct: Optional[int] = 90,
    metrics: Optional[Dict[str, Optional[float]]] = None,
    compile_s: float = 0.0,
    weights: str = "w",
    batches: str = "b",
    loss: Optional[float] = 2.0,
    epochs: int = 2,
    seed: int = 0,
) -> List[Any]:
    """Events of one contender: `blocks` steady blocks an epoch, losses falling from `loss`."""
    source = random.Random(f"{name}{seed}")
    events: List[Any] = [
        SetupEvent(
            contender=name,
            import_s=1.0,
            build_s=0.5,
            compile_train_s=compile_s,
            compile_eval_s=0.0,
            initial_digest=weights,
            num_params=10,
        )
    ]
    step = block = 0
    for epoch in range(epochs):
        for _ in range(blocks):
            losses = [
                None if loss is None else loss / (1 + s) + (loss_shift if s >= shift_from else 0.0)
                for s in range(step, step + BLOCK_STEPS)
            ]
            events.append(
                BlockEvent(
                    contender=name,
                    epoch=epoch,
                    block=block,
                    turn=2 * block,
                    kind="first" if block == 0 else "steady",
                    first_step=step,
                    steps=BLOCK_STEPS,
                    duration_s=BLOCK_STEPS * step_time_s * (1 + source.gauss(0, noise)),
                    cpu_s=0.5,
                    started_s=float(block),
                    losses=losses,
                    lr=[0.1] * BLOCK_STEPS,
                    labels_digest=f"{batches}{block}",
                    images_digest=f"{batches}{block}",
                )
            )
            step += BLOCK_STEPS
            block += 1
        events.append(
            EvalEvent(
                contender=name,
                epoch=epoch,
                duration_s=0.3,
                steps=3,
                samples=100,
                correct=correct,
                loss=0.4,
                metrics=metrics,
            )
        )
    events.append(EndEvent(contender=name, peak_rss_bytes=400 * 2**20))
    return events


def create_speed_events(
    baseline: float = 0.1,
    contender: float = 0.1,
    control: float = 0.1,
    replicates: int = 4,
    abba_pairs: int = 4,
    spread: float = 0.002,
    compile_s: float = 0.5,
    seed: int = 0,
    **block: Any,
) -> List[Any]:
    """One wave of the speed phase; the roles' step times in seconds."""
    source = random.Random(seed)
    names = {"baseline": "eager", "contender": "graph", "control": "eager"}
    times = {"baseline": baseline, "contender": contender, "control": control}
    events: List[Any] = [_create_conditions("before", 0.0)]
    processes = {}
    for replicate in range(replicates):
        for role, name in names.items():
            who = {"contender": name, "role": role, "replicate": replicate, "wave": 0}
            processes[role, replicate] = (who, times[role] * (1 + source.gauss(0, spread)))
            events += _create_warmup(who, times[role])
            events.append(
                SpeedSetupEvent(
                    **who,
                    import_s=1.0,
                    build_s=0.3,
                    compile_train_s=compile_s * (1 + source.gauss(0, 0.1)) * (name == "graph"),
                    compile_eval_s=0.0,
                    sync_s=1e-4,
                    loader_step_time_s=0.001,
                )
            )
    for pair in range(2 * abba_pairs):
        for turn, (who, step_time_s) in enumerate(processes.values()):
            events.append(
                _create_speed_block(
                    who, "scored", step_time_s, pair=pair, turn=turn, started_s=1.0 + pair, **block
                )
            )
    events.append(
        InterimAnalysisEvent(number=1, replicates=replicates, started_s=9.0, action="stop")
    )
    events += [SpeedEndEvent(**who, peak_rss_bytes=2**28) for who, _ in processes.values()]
    return [*events, _create_conditions("after", 10.0)]


def _create_conditions(when: Any, started_s: float) -> ConditionsEvent:
    quiet = {"load": 0.5, "cores": 2, "steal_s": 0.0, "frequency_hz": 2e9, "temperature_c": 50.0}
    return ConditionsEvent(when=when, started_s=started_s, conditions=quiet)


def _create_warmup(who: Any, step_time_s: float) -> List[SpeedBlockEvent]:
    factors = [3.0, 1.5, *[1.0] * 10]
    return [
        _create_speed_block(who, "warmup", factor * step_time_s, started_s=0.0)
        for factor in factors
    ]


def _create_speed_block(who: Any, kind: Any, step_time_s: float, **fields: Any) -> SpeedBlockEvent:
    duration_s = BLOCK_STEPS * step_time_s
    given = {"turn": 0, "steps": BLOCK_STEPS, "untimed_steps": 1, "cpu_s": duration_s, **fields}
    return SpeedBlockEvent(**who, kind=kind, duration_s=duration_s, **given)


def create_record(
    *sides: List[Any],
    max_abs: float = 0.0,
    folder: Optional[Path] = None,
    more: Sequence[Any] = (),
):
    """A record of the given contenders' events, with `more` behind them."""
    names = tuple(side[0].contender for side in sides)
    document = create_document(names)
    document.status = "complete"
    events = [event for side in sides for event in side]
    if len(names) > 1:
        events += [
            ParametersEvent(
                epoch=epoch,
                baseline=names[0],
                contender=name,
                max_abs=max_abs,
                mean_abs=max_abs / 2,
                relative_l2=max_abs,
                largest_in="features.0.weight",
                digests={},
            )
            for epoch in range(2)
            for name in names[1:]
        ]
    return RunRecord(document, [*events, *more], folder)


def save_record(record: RunRecord, folder: Path) -> Path:
    """Write a made-up record as a run folder, to be read back."""
    writer = RecordWriter(folder, record.document)
    for event in record.events:
        writer.append(event)
    writer.close()
    return folder


RANKS = {
    "ddp": ("eager", "ddp"),
    "graph-dp": ("graph", "dp"),
    "graph-tp": ("graph", "tp"),
    "reference": ("eager", None),
}
RANK_PEAKS = [200 * 2**20, 260 * 2**20]


def create_rank_record(
    contenders: Sequence[str] = ("ddp",),
    shift: float = 1e-7,
    reference: bool = True,
    kinds: Sequence[str] = ("Conv2d",),
    more: Sequence[Any] = (),
    **events: Any,
) -> RunRecord:
    """One process, the given strategies in 2 ranks, and the reference.

    Relative to the reference's the losses of one process are off by 2e-7 and those of the ranks by
    `shift`; rank 1 takes a tenth longer than rank 0.
    """
    names = ["eager", *contenders, *(["reference"] if reference else [])]
    losses = {"eager": 2.0 * (1 + 2e-7), "reference": 2.0}
    sides = [
        create_events(name, loss=losses.get(name, 2.0 * (1 + shift)), **events) for name in names
    ]
    record = create_record(*sides, more=more)
    document = record.document
    document.contenders = [document.contenders[0], *map(_create_side, names[1:])]
    document.workload = document.workload.model_copy(update={"readers": 2})
    record.events = [_of_ranks(event, list(kinds)) for event in record.events]
    return record


def _create_side(name: str) -> Contender:
    mode, strategy = RANKS[name]
    if strategy is None:
        return Contender(name=name, mode=mode, dtype="float64", reference=True)
    return Contender(name=name, mode=mode, ranks=2, strategy=strategy)


def _of_ranks(event: Any, kinds: List[str]) -> Any:
    """The event with what it holds besides where it is one of several ranks."""
    update: Any = {}
    if isinstance(event, SetupEvent):
        update = {"module_kinds": kinds, "environment": {"oneflow": "0.9.0"}}
    if getattr(event, "contender", None) in RANKS and event.contender != "reference":
        if isinstance(event, (BlockEvent, SpeedBlockEvent)):
            update = {"rank_durations_s": [event.duration_s / 1.1, event.duration_s]}
        if isinstance(event, SetupEvent):
            update["rank_cores"] = [[0], [1]]
        if isinstance(event, EndEvent):
            update = {"rank_peak_rss_bytes": RANK_PEAKS}
    return event.model_copy(update=update)
