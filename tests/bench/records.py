"""Made-up records with known answers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, List, Optional

from fakes import create_document

from oneflow_bench.record import (
    BlockEvent,
    EndEvent,
    EvalEvent,
    ParametersEvent,
    RecordWriter,
    RunRecord,
    SetupEvent,
)

BLOCK_STEPS = 5


def create_events(
    name: str,
    step_time_s: float = 0.1,
    blocks: int = 24,
    noise: float = 0.0,
    loss_shift: float = 0.0,
    shift_from: int = 0,
    correct: int = 90,
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
            )
        )
    events.append(EndEvent(contender=name, peak_rss_bytes=400 * 2**20))
    return events


def create_record(*sides: List[Any], max_abs: float = 0.0, folder: Optional[Path] = None):
    """A record of the given contenders' events."""
    names = tuple(side[0].contender for side in sides)
    document = create_document(names)
    document.status = "complete"
    events = [event for side in sides for event in side]
    if len(names) > 1:
        events += [
            ParametersEvent(
                epoch=epoch,
                baseline=names[0],
                contender=names[1],
                max_abs=max_abs,
                mean_abs=max_abs / 2,
                relative_l2=max_abs,
                largest_in="features.0.weight",
                digests={},
            )
            for epoch in range(2)
        ]
    return RunRecord(document, events, folder)


def save_record(record: RunRecord, folder: Path) -> Path:
    """Write a made-up record as a run folder, to be read back."""
    writer = RecordWriter(folder, record.document)
    for event in record.events:
        writer.append(event)
    writer.close()
    return folder
