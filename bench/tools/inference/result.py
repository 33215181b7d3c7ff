"""The answer of `bench infer`: times, predictions, whether the modes agree, and its report."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional, Sequence

import numpy as np
from pydantic import BaseModel

from ...report.blocks import Block, Heading, Table, Text
from ...verdict.statistics import Summary

# the modes differ where their probabilities differ by more
PROBABILITY_TOLERANCE = 1e-4


class ModeTimes(BaseModel):
    """Seconds that one mode took; steady passes are of one batch."""

    mode: str
    import_s: float
    init_s: float
    load_s: float
    compile_s: float
    first_s: float
    steady_s: Summary


class Prediction(BaseModel):
    """The most probable classes of one picture in one mode, best first."""

    picture: str
    mode: str
    classes: List[int]
    names: List[str]
    probabilities: List[float]


class Agreement(BaseModel):
    """How far the second mode is from the first, over all pictures and classes."""

    agrees: bool
    same_top1: int
    pictures: int
    max_probability_difference: float
    max_logit_difference: float
    bitwise_equal: bool


class InferenceResult(BaseModel):
    """What `bench infer` says, and its JSON."""

    model: str
    checkpoint: str
    batch_size: int
    times: List[ModeTimes]
    predictions: List[Prediction]
    agreement: Optional[Agreement] = None
    skipped: List[str] = []  # one sentence for each file that is no picture


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (..., K) in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    probabilities: np.ndarray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities


def predict(
    path: Path, mode: str, logits: np.ndarray, names: Sequence[str], top: int
) -> Prediction:
    """The `top` classes of one picture from its logits (K,); equal ones by their number."""
    probabilities = softmax(logits)
    best = np.argsort(-probabilities, kind="stable")[:top]
    return Prediction(
        picture=str(path),
        mode=mode,
        classes=[int(number) for number in best],
        names=[names[number] for number in best],
        probabilities=[float(probabilities[number]) for number in best],
    )


def compare_logits(baseline: np.ndarray, contender: np.ndarray) -> Agreement:
    """Of logits (N, K): they agree with equal best classes and probabilities within 1e-4."""
    difference = float(np.abs(softmax(baseline) - softmax(contender)).max())
    same = int((baseline.argmax(axis=1) == contender.argmax(axis=1)).sum())
    return Agreement(
        agrees=bool(same == len(baseline) and difference <= PROBABILITY_TOLERANCE),
        same_top1=same,
        pictures=len(baseline),
        max_probability_difference=difference,
        max_logit_difference=float(np.abs(baseline.astype(np.float64) - contender).max()),
        bitwise_equal=bool(np.array_equal(baseline, contender)),
    )


def report_inference(result: InferenceResult) -> List[Block]:
    """The classes of each picture, the times of each mode, and whether the modes agree."""
    modes = [times.mode for times in result.times]
    blocks: List[Block] = [
        Heading(f"{result.model}: classes of the pictures"),
        Table(["picture", "class", *modes], _list_classes(result, len(modes)), right=modes),
        Heading(f"Times in ms, batches of {result.batch_size}"),
        Table(["", *modes], _list_times(result.times), right=modes),
    ]
    return [*blocks, Text([_describe_agreement(result.agreement)])] if result.agreement else blocks


def _list_classes(result: InferenceResult, modes: int) -> List[List[str]]:
    """A row for each of the best classes of a picture in the first mode, best first."""
    rows = []
    for start in range(0, len(result.predictions), modes):
        of_picture = result.predictions[start : start + modes]
        by_mode = [dict(zip(p.classes, p.probabilities)) for p in of_picture]
        first = of_picture[0]
        for rank, (number, name) in enumerate(zip(first.classes, first.names)):
            shown = [_percent(values.get(number)) for values in by_mode]
            rows.append([first.picture if rank == 0 else "", name, *shown])
    return rows


def _percent(probability: Optional[float]) -> str:
    """None is a class that is not among the best of that mode."""
    return "-" if probability is None else f"{probability * 100:.2f} %"


def _list_times(times: Sequence[ModeTimes]) -> List[List[str]]:
    parts = {
        "import": "import_s",
        "build": "init_s",
        "load weights": "load_s",
        "compile": "compile_s",
        "first pass": "first_s",
    }
    rows = [[title, *(_ms(getattr(t, name)) for t in times)] for title, name in parts.items()]
    return [*rows, ["steady pass", *(_describe_steady(t.steady_s) for t in times)]]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}"


def _describe_steady(summary: Summary) -> str:
    if summary.low is None or summary.high is None:
        return _ms(summary.median)
    return f"{_ms(summary.median)} ({_ms(summary.low)} to {_ms(summary.high)})"


def _describe_agreement(found: Agreement) -> str:
    said = "agree" if found.agrees else "do not agree"
    if found.bitwise_equal:
        return f"The modes {said}. All outputs are bitwise equal."
    return (
        f"The modes {said}. The best class is the same for {found.same_top1} of {found.pictures} "
        f"pictures. Probabilities differ by at most {found.max_probability_difference:.3g}."
    )
