"""Latency and throughput of a `TrainingStep` by batch size, in modes whose workers take turns."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import numpy as np
from pydantic import BaseModel

from ...config import Contender, Workload
from ...measure.order import Observer
from ...report.blocks import Block, Heading, Table, Text
from ...report.format import format_ms, format_short_interval, format_summary_ms
from ...verdict.statistics import Ratio, Summary, paired_log_ratio, summarize
from ...worker.messages import Launcher, Worker, ask
from .run import time_in_turns
from .worker import OutputsRequest, PassesRequest, PreparedBatches, StepSetup

# the modes differ where an output differs by more, relative to the largest of its tensor
OUTPUT_TOLERANCE = 1e-4


class ModeLatency(BaseModel):
    """One mode at one batch size. Times in seconds."""

    mode: str
    compile_s: float
    first_s: float
    latency_s: Summary  # of a pass with nothing else in flight
    samples_per_s: float  # the batch size over the median latency


class OutputDifference(BaseModel):
    """The output that differs most between the modes."""

    output: str
    bitwise_equal: bool
    relative: float  # largest |second - first| over the largest |first| of the tensor

    @property
    def agrees(self) -> bool:
        return self.relative <= OUTPUT_TOLERANCE  # False for nan


class BatchInference(BaseModel):
    """One batch size; `speedup` and `difference` are of the second mode beside the first."""

    batch_size: int
    inputs: str
    resized: List[str] = []  # places of the tensors whose rows were repeated or cut
    modes: List[ModeLatency]
    speedup: Optional[Ratio] = None
    difference: Optional[OutputDifference] = None


class StepInference(BaseModel):
    """The answer of `bench infer` for a `TrainingStep`, and its JSON."""

    model: str
    checkpoint: Optional[str]
    iterations: int
    batches: List[BatchInference]

    @property
    def agrees(self) -> bool:
        return all(one.difference is None or one.difference.agrees for one in self.batches)


def run_step_inference(
    workload: Workload,
    batch_sizes: Sequence[int],
    iterations: int,
    contenders: Sequence[Contender],
    launch: Launcher,
    timeout_s: float,
    observe: Observer,
) -> StepInference:
    """Time `iterations` passes of each mode at each batch size. Errors of the workers pass."""
    workers: Dict[str, Worker] = {}
    prepared: Dict[str, PreparedBatches] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for one in contenders:
            observe(f"{one.name}: start, compile", 0, 0)
            worker = workers[one.name] = launch(one)
            stack.callback(worker.close)
            setup = StepSetup(workload=workload, contender=one, batch_sizes=list(batch_sizes))
            prepared[one.name] = ask(worker, "setup_step", timeout_s, PreparedBatches, setup)
        batches = []
        for number, ready in enumerate(next(iter(prepared.values())).batches):
            turns = [PassesRequest(number=number)] * (1 + iterations)
            durations = time_in_turns(workers, turns, workload.seed, timeout_s, observe)
            outputs = _read_outputs(workers, number, folder, timeout_s)
            pairs = [times[1:] for times in durations.values()]
            batches.append(
                BatchInference(
                    **ready.model_dump(exclude={"compile_s"}),
                    modes=[
                        _summarize(name, prepared[name], number, times)
                        for name, times in durations.items()
                    ],
                    speedup=paired_log_ratio(*pairs) if len(pairs) == 2 else None,
                    difference=compare_outputs(*outputs) if len(outputs) == 2 else None,
                )
            )
    checkpoint = workload.load_checkpoint
    return StepInference(
        model=workload.model, checkpoint=checkpoint, iterations=iterations, batches=batches
    )


def _summarize(
    name: str, prepared: PreparedBatches, number: int, times: List[float]
) -> ModeLatency:
    batch, latency = prepared.batches[number], summarize(times[1:])
    return ModeLatency(
        mode=name,
        compile_s=batch.compile_s,
        first_s=times[0],
        latency_s=latency,
        samples_per_s=batch.batch_size / latency.median,
    )


def _read_outputs(
    workers: Dict[str, Worker], number: int, folder: Path, timeout_s: float
) -> List[Dict[str, np.ndarray]]:
    found = []
    for name, worker in workers.items():
        path = folder / f"{name}-{number}.npz"
        request = OutputsRequest(number=number, path=str(path))
        worker.ask("predict", timeout_s, **request.model_dump())
        with np.load(path, allow_pickle=False) as stored:
            found.append(dict(stored))
    return found


def compare_outputs(
    first: Dict[str, np.ndarray], second: Dict[str, np.ndarray]
) -> OutputDifference:
    """The output that differs most, of outputs by name, relative to its largest finite value.

    Another shape, and a value that is finite in one of the two alone, differ without bound.
    """
    worst = OutputDifference(output=next(iter(first), "output"), bitwise_equal=True, relative=0.0)
    for name in {**first, **second}:
        ours, theirs = first.get(name), second.get(name)
        if ours is None or theirs is None or ours.shape != theirs.shape:
            return OutputDifference(output=name, bitwise_equal=False, relative=float("inf"))
        if np.array_equal(ours, theirs, equal_nan=True):
            continue
        wide, other = ours.astype(np.float64), theirs.astype(np.float64)
        apart = ~((wide == other) | (np.isnan(wide) & np.isnan(other)))
        largest = np.abs(wide[np.isfinite(wide)]).max(initial=0) or 1.0
        relative = float(np.abs(other[apart] - wide[apart]).max(initial=0) / largest)
        relative = relative if np.isfinite(relative) else float("inf")
        if worst.bitwise_equal or not relative <= worst.relative:
            worst = OutputDifference(output=name, bitwise_equal=False, relative=relative)
    return worst


def report_step_inference(result: StepInference) -> List[Block]:
    """A row for each batch size and mode, and whether the modes agree."""
    rows, lines = [], []
    for one in result.batches:
        for mode in one.modes:
            of_graph = mode is not one.modes[0]
            rows.append([
                str(one.batch_size), mode.mode, format_ms(mode.compile_s), format_ms(mode.first_s),
                format_summary_ms(mode.latency_s), f"{mode.samples_per_s:,.1f}",
                format_short_interval(one.speedup) if of_graph else "",
            ])  # fmt: skip
        if one.difference is not None:
            lines.append(f"Batch {one.batch_size}: {describe_difference(one.difference)}")
    resized = dict.fromkeys(place for one in result.batches for place in one.resized)
    if resized:
        lines.append(
            f"Rows were repeated or cut in the first dimension of {', '.join(resized)}. Other "
            "tensors are as the step gives them."
        )
    numbers = ["compile", "first pass", "latency", "samples a second", "speedup (95 %)"]
    return [
        Heading(f"{result.model}: times of a forward pass in ms"),
        Table(["batch", "mode", *numbers], rows, right=["batch", *numbers]),
        Text([*lines, f"The inputs of the first batch: {result.batches[0].inputs}."]),
    ]


def describe_difference(found: OutputDifference) -> str:
    """Whether the outputs agree, in a sentence."""
    if found.bitwise_equal:
        return "the modes agree, all outputs are bitwise equal."
    if found.relative == float("inf"):
        return (
            f"the modes do not agree, {found.output} has another shape or is finite in one of them "
            "alone."
        )
    verdict = "agree" if found.agrees else "do not agree"
    return (
        f"the modes {verdict}, {found.output} differs most, by {found.relative:.2g} of its largest "
        "value."
    )
