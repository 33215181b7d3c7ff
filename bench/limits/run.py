"""Everything that `bench limits` measures, in order."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Optional, Sequence

from oneflow_bench.config import Contender, Workload
from oneflow_bench.documents import load_document
from oneflow_bench.errors import InputError
from oneflow_bench.limits.ceilings import measure_ceilings
from oneflow_bench.limits.document import LayerTime, LimitsDocument
from oneflow_bench.limits.floor import sum_work
from oneflow_bench.limits.steps import Fleet, compare_steps, run_witness, time_steps
from oneflow_bench.limits.work import LayerTrace, LayerWork, UpdateRule, count_layer
from oneflow_bench.machine import describe_machine, read_cpu
from oneflow_bench.profile_record import SCHEMA_VERSION as PROFILE_VERSION
from oneflow_bench.profile_record import ProfileDocument, layer_rows

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
    times = [] if profile is None else read_layer_times(profile, workload, layers, contenders)
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


def load_profile(folder: Path) -> ProfileDocument:
    """Read `profile.json` of `folder`. Raises RecordError where it cannot be used."""
    document: ProfileDocument = load_document(
        folder / "profile.json",
        ProfileDocument,
        [PROFILE_VERSION],
        "profile",
        "give the folder of a `bench profile`",
    )
    return document


def read_layer_times(
    profile: ProfileDocument,
    workload: Workload,
    layers: Sequence[LayerWork],
    contenders: Sequence[Contender],
) -> List[LayerTime]:
    """Layer times of a profile of this very workload. Raises InputError for one of another."""
    has = {
        "model": profile.model,
        "batch_size": profile.batch_size,
        "image_size": profile.image_size,
    }
    for name, value in has.items():
        wanted = getattr(workload, name)
        if value != wanted:
            flag = name.replace("_", "-")
            raise InputError(
                f"--profile is of --{flag} {value} and this run has {wanted}; profile this one, "
                "or leave --profile out"
            )
    if profile.mode not in [contender.mode for contender in contenders]:
        raise InputError(
            f"--profile is of --mode {profile.mode}, which this run does not time; give that mode "
            "or both"
        )
    params = {layer.name: layer.num_params for layer in layers}
    if any(params.get(layer.name) != layer.num_params for layer in profile.layers):
        raise InputError(
            "--profile has other layers or parameters than this model; profile it with the same "
            "--num-classes and --model-arg"
        )
    return [
        LayerTime(
            name=row.layer.name,
            forward_s=row.forward.median,
            backward_s=None if row.backward is None else row.backward.median,
        )
        for row in layer_rows(profile)
    ]
