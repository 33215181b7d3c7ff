"""Everything that `bench limits` measures, in order."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Optional, Sequence

from ...config import Contender, Workload
from ...record.machine import describe_machine, read_cpu
from ..profile.document import ProfileDocument
from .ceilings import measure_ceilings
from .document import LimitsDocument
from .floor import sum_work
from .profile_times import read_layer_times
from .steps import Fleet, compare_steps, time_steps
from .witness import run_witness
from .work import LayerTrace, LayerWork, UpdateRule, count_layer

Observer = Callable[[str, int, int], None]


class Measuring(NamedTuple):
    """How much is measured."""

    blocks: int  # of steps, of each contender
    witness_steps: int
    timeout_s: float


def run_limits(
    workload: Workload,
    contenders: Sequence[Contender],
    launch: Callable[[Contender], Any],
    launch_torch: Optional[Callable[[str], Any]],
    measuring: Measuring,
    created: str,
    profile: Optional[ProfileDocument],
    profile_folder: Optional[Path],
    observe: Observer,
) -> LimitsDocument:
    """Count, measure the ceilings, time the step, and ask PyTorch where it is there.

    Raises InputError for a profile of another model, and what the workers of OneFlow raise.
    """
    fleet = Fleet(workload, contenders, launch, launch_torch, measuring.timeout_s, observe)
    layers = count_layers(fleet)
    times = [] if profile is None else read_layer_times(profile, layers)
    machine = describe_machine()
    runtime, cores = contenders[0].runtime, read_cpu()["cores"]
    ceilings = measure_ceilings(
        launch, runtime, cores, sum_work(layers).bytes, measuring.timeout_s, observe
    )
    # the weights of a large model are hundreds of megabytes; nobody needs them afterwards
    with tempfile.TemporaryDirectory(prefix="bench-limits-") as scratch:
        witness = None
        if launch_torch is not None:
            weights, inputs = (str(Path(scratch) / f"{n}.npz") for n in ("weights", "inputs"))
            witness = run_witness(fleet, measuring.witness_steps, weights, inputs)
        steps = time_steps(fleet, witness.start if witness else None, measuring.blocks)
    return LimitsDocument(
        created=created,
        workload=workload,
        runtime=runtime,
        machine=machine,
        cores=cores,
        layers=layers,
        ceilings=ceilings,
        steps=steps,
        ratios=compare_steps(steps),
        witness=witness.losses if witness else [],
        dropout_layers=witness.dropout_layers if witness else 0,
        profile=None if profile_folder is None else str(profile_folder),
        layer_times=times,
    )


def count_layers(fleet: Fleet) -> List[LayerWork]:
    """Trace a step in a process of its own and count it.

    Its own, because a graph after an eager pass on the same module silently does not train.
    """
    workload = fleet.workload
    rule = UpdateRule(momentum=workload.momentum > 0, weight_decay=workload.weight_decay > 0)
    eager = fleet.contenders[0].model_copy(update={"mode": "eager", "name": "trace"})
    tracer = fleet.start_oneflow(eager, "count")
    try:
        traced = tracer.ask("trace")["layers"]
        tracer.ask("end")
    finally:
        tracer.close()
    return [count_layer(LayerTrace.model_validate(layer), rule) for layer in traced]
