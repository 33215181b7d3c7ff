"""Classifies pictures in one or more modes, whose workers take turns, and reports it."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from pydantic import BaseModel
from scipy.special import softmax

from ....data import DataError, InputScale, read_picture
from ...config import Contender
from ...errors import InputError
from ...measure.order import Observer, generate_orders
from ...report.blocks import Block, Heading, Table, Text
from ...report.format import format_ms, format_percent, format_summary_ms
from ...verdict.statistics import Summary, summarize
from ...worker.messages import Launcher, Worker
from .plan import InferencePlan
from .worker import PassesRequest, SetupTimes

PROBABILITY_TOLERANCE = 1e-4  # the modes differ where their probabilities differ by more
_TURNS = 4  # of the steady passes, so that drift meets the modes alike


class ModeTimes(SetupTimes):
    """Seconds that one mode took; steady passes are of one batch."""

    mode: str
    first_s: float
    steady_s: Summary


class Prediction(BaseModel):
    """The most probable classes of one picture in one mode, best first.

    There are none where an output is NaN or infinite.
    """

    picture: str
    mode: str
    classes: List[int]
    names: List[str]
    probabilities: List[float]


class Agreement(BaseModel):
    """How far the second mode is from the first, over all classes of the pictures that have finite
    outputs in both.
    """

    agrees: bool
    same_top1: int
    pictures: int  # all of them
    max_probability_difference: float
    max_logit_difference: float
    bitwise_equal: bool


class InferenceResult(BaseModel):
    """The answer of `bench infer`, and its JSON."""

    model: str
    checkpoint: str
    batch_size: int
    times: List[ModeTimes]
    predictions: List[Prediction]
    agreement: Optional[Agreement] = None
    not_finite: List[str] = []  # a sentence for each mode that gives NaN or infinite outputs
    skipped: List[str] = []  # a sentence for each file that is no picture


def read_pictures(
    paths: Sequence[Path], scale: InputScale, observe: Observer
) -> Tuple[List[Tuple[Path, np.ndarray]], List[str]]:
    """The pictures that could be read, float32 (3, S, S), and a sentence for each other file.

    Raises InputError if none could.
    """
    pictures: List[Tuple[Path, np.ndarray]] = []
    skipped: List[str] = []
    for number, path in enumerate(paths):
        observe("reading the pictures", number, len(paths))
        try:
            pictures.append((path, read_picture(path, scale)))
        except DataError as error:
            skipped.append(str(error))
    if not pictures:
        raise InputError(f"none of the {len(paths)} files is a picture; the first: {skipped[0]}")
    return pictures, skipped


def run_inference(
    plan: InferencePlan,
    paths: Sequence[Path],
    contenders: Sequence[Contender],
    launch: Launcher,
    observe: Observer,
) -> InferenceResult:
    """Classify `paths` under each contender, in turns. Errors of the workers pass through."""
    workload, timeout_s = plan.workload, plan.timeout_s
    pictures, skipped = read_pictures(paths, plan.scale, observe)
    workers: Dict[str, Worker] = {}
    setups, logits = {}, {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        images = folder / "images.npy"
        np.save(images, np.stack([picture for _, picture in pictures]), allow_pickle=False)
        request = {"workload": workload.model_dump(), "images": str(images)}
        for one in contenders:
            observe(f"{one.name}: start, load, compile", 0, 0)
            worker = workers[one.name] = launch(one)
            stack.callback(worker.close)
            setups[one.name] = worker.ask("setup", timeout_s, contender=one.model_dump(), **request)
        parts = np.array_split(range(plan.iterations), _TURNS)
        turns = [PassesRequest(number=0, passes=n) for n in (1, *map(len, parts)) if n]
        durations = time_in_turns(workers, turns, workload.seed, timeout_s, observe)
        for name, worker in workers.items():
            observe(f"{name}: classifying", 0, 0)
            output = folder / f"{name}.npy"
            worker.ask("classify", timeout_s, path=str(output))
            logits[name] = np.load(output, allow_pickle=False)
    return InferenceResult(
        model=workload.model,
        checkpoint=str(workload.load_checkpoint),
        batch_size=workload.batch_size,
        times=[
            ModeTimes(mode=name, first_s=times[0], steady_s=summarize(times[1:]), **setups[name])
            for name, times in durations.items()
        ],
        predictions=[
            predict(path, name, logits[name][row], plan.names, plan.top)
            for row, (path, _) in enumerate(pictures)
            for name in logits
        ],
        agreement=compare_logits(*logits.values()) if len(logits) == 2 else None,
        not_finite=[
            f"{name}: the outputs of {bad.sum()} of {len(bad)} pictures are NaN or infinite, and "
            f"these have no classes. The first is {pictures[bad.argmax()][0]}. Check the weights."
            for name, values in logits.items()
            if (bad := ~_find_finite(values)).any()
        ],
        skipped=skipped,
    )


def time_in_turns(
    workers: Dict[str, Worker],
    turns: Sequence[PassesRequest],
    seed: int,
    timeout_s: float,
    observe: Observer,
) -> Dict[str, List[float]]:
    """Seconds of the passes that each worker is asked for in its turns, by name."""
    orders = generate_orders(list(workers), seed)
    durations: Dict[str, List[float]] = {name: [] for name in workers}
    for number, request in enumerate(turns):
        for name in next(orders):
            observe(f"{name}: timing", number, len(turns))
            answer = workers[name].ask("time", timeout_s, **request.model_dump())
            durations[name] += answer["durations_s"]
    return durations


def _find_finite(logits: np.ndarray) -> np.ndarray:
    """Whether all of each picture's logits (N, K) are finite, bool (N,)."""
    return np.asarray(np.isfinite(logits).all(axis=1))


def predict(
    path: Path, mode: str, logits: np.ndarray, names: Sequence[str], top: int
) -> Prediction:
    """The `top` classes of one picture from its logits (K,); equal ones by their number."""
    is_finite = np.isfinite(logits).all()
    probabilities = softmax(logits.astype(np.float64)) if is_finite else logits
    best = np.argsort(-probabilities, kind="stable")[: top if is_finite else 0]
    return Prediction(
        picture=str(path),
        mode=mode,
        classes=best.tolist(),
        names=[names[number] for number in best],
        probabilities=probabilities[best].tolist(),
    )


def compare_logits(baseline: np.ndarray, contender: np.ndarray) -> Agreement:
    """Of logits (N, K): they agree with equal best classes and probabilities within 1e-4.

    A picture whose logits are not finite has to be so in both.
    """
    left, right = _find_finite(baseline), _find_finite(contender)
    ours, theirs = baseline[left & right], contender[left & right]
    shares = [softmax(one.astype(np.float64), axis=-1) for one in (ours, theirs)]
    difference = float(np.abs(shares[0] - shares[1]).max(initial=0))
    same = int((ours.argmax(axis=1) == theirs.argmax(axis=1)).sum())
    return Agreement(
        agrees=np.array_equal(left, right)
        and same == len(ours)
        and difference <= PROBABILITY_TOLERANCE,
        same_top1=same,
        pictures=len(baseline),
        max_probability_difference=difference,
        max_logit_difference=float(np.abs(ours.astype(np.float64) - theirs).max(initial=0)),
        bitwise_equal=np.array_equal(baseline, contender, equal_nan=True),
    )


def report_inference(result: InferenceResult) -> List[Block]:
    """The classes of each picture, the times of each mode, and whether the modes agree."""
    modes, found = [one.mode for one in result.times], result.agreement
    times = [
        ["import", *(format_ms(one.import_s) for one in result.times)],
        ["build", *(format_ms(one.init_s) for one in result.times)],
        ["load weights", *(format_ms(one.load_s) for one in result.times)],
        ["compile", *(format_ms(one.compile_s) for one in result.times)],
        ["first pass", *(format_ms(one.first_s) for one in result.times)],
        ["steady pass", *(format_summary_ms(one.steady_s) for one in result.times)],
    ]
    classes = _list_classes(result, len(modes))
    return [
        Heading(f"{result.model}: classes of the pictures"),
        *([Table(["picture", "class", *modes], classes, right=modes)] if classes else []),
        *([Text(result.not_finite)] if result.not_finite else []),
        Heading(f"Times in ms, batches of {result.batch_size}"),
        Table(["", *modes], times, right=modes),
        *([Text([_describe_agreement(found)])] if found else []),
    ]


def _list_classes(result: InferenceResult, modes: int) -> List[List[str]]:
    """A row for each of the best classes of a picture in the first mode that has some, best first.

    A dash is a class that is not among the best of another mode.
    """
    rows = []
    for start in range(0, len(result.predictions), modes):
        of_picture = result.predictions[start : start + modes]
        shares = [dict(zip(one.classes, one.probabilities)) for one in of_picture]
        first = max(of_picture, key=lambda one: bool(one.classes))
        for rank, (number, name) in enumerate(zip(first.classes, first.names)):
            cells = [format_percent(of_mode.get(number)) for of_mode in shares]
            rows.append([first.picture if rank == 0 else "", name, *cells])
    return rows


def _describe_agreement(found: Agreement) -> str:
    verdict = f"The modes {'agree' if found.agrees else 'do not agree'}. "
    if found.bitwise_equal:
        return verdict + "All outputs are bitwise equal."
    same, most = found.same_top1, found.max_probability_difference
    same_best = f"The best class is the same for {same} of {found.pictures} pictures. "
    return f"{verdict}{same_best}Probabilities differ by at most {most:.3g}."
