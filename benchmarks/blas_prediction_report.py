"""The tables of the predictions: gains, their check, more cores, and the time above the floor."""

from __future__ import annotations

from statistics import median
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from blas_study_report import TUNED, find_ratio, format_ratio, select_quickest
from study import Row

from oneflow_bench.bench.report.format import format_percent
from oneflow_bench.bench.tools.profile.document import LayerProfile, LimitsDocument, ProfileDocument
from oneflow_bench.bench.tools.profile.excess import (
    PARTS,
    split_layers,
    split_step,
    sum_excess,
)
from oneflow_bench.bench.verdict.statistics import summarize

OWN = "own"
SINGLE = "-1"  # ends the name of a BLAS on one thread
CORES = (16, 64)
SHOWN_LAYERS = 5


def sum_products(row: Row, name: str) -> Optional[float]:
    """Seconds of all products of a step by the BLAS `name`, the faster of its two passes.

    None if it was not measured.
    """
    measured = row["products"].get(name)
    if measured is None:
        return None
    layers = ProfileDocument.model_validate(row["profile"]).layers
    counts = [product.count for layer in layers for product in layer.products]
    return min(sum(n * t for n, t in zip(counts, times)) for times in measured["times_s"])


def predict_gain(step_s: float, own_s: float, other_s: float) -> float:
    """The step time over that with the products' time replaced."""
    return step_s / (step_s - own_s + other_s)


def find_serial_share(single_s: float, several_s: float, threads: int) -> float:
    """The part of the products that more threads do not shorten, from one thread and several.

    It is the experimentally determined serial fraction of Karp and Flatt (Communications of the ACM
    33, 1990), within 0 and 1.
    """
    share = (several_s / single_s - 1 / threads) / (1 - 1 / threads)
    return min(1.0, max(0.0, share))


def predict_cores(
    step_s: float, own_s: float, single_s: float, serial_share: float, cores: int
) -> float:
    """The gain on so many cores by Amdahl's law. The rest of the step stays on one core."""
    products_s = single_s * (serial_share + (1 - serial_share) / cores)
    return predict_gain(step_s, own_s, products_s)


class Case(NamedTuple):
    """A model in a mode: its predictions, its tuned step, and the study's row if there is one."""

    row: Row
    mode: str
    step_s: float
    measured: Optional[Row]

    @property
    def label(self) -> str:
        return f"| {self.row['model']} | {self.mode} "


def list_cases(rows: Sequence[Row], measured: Sequence[Row]) -> List[Case]:
    """Eager and graph, with the tuned step of the study. Eager alone without it, as profiled."""
    found = []
    for row in rows:
        size = [row[name] for name in ("model", "batch_size", "image_size")]
        fitting = [m for m in measured if [m["model"], m["batch_size"], m["image_size"]] == size]
        known = select_quickest(fitting)
        for one in known:
            step_s = summarize(one["step_time_s"][TUNED]).median
            found.append(Case(row, one["mode"], step_s, one))
        if "eager" not in {one["mode"] for one in known}:
            found.append(Case(row, "eager", median(row["profile"]["parts"]["step_s"]), None))
    return found


def list_others(row: Row) -> List[str]:
    """The other libraries, without those on one thread."""
    names = [name for name in row["products"] if name != OWN]
    return [name for name in names if not (name.endswith(SINGLE) and name[:-2] in names)]


def render(rows: Sequence[Row], measured: Sequence[Row]) -> str:
    cases = list_cases(rows, measured)
    blocks = [_list_gains(cases), _list_cores(cases), _list_excess(rows), _list_layers(rows)]
    return "\n".join(line for block in blocks for line in [*block, ""])


def _list_gains(cases: Sequence[Case]) -> List[str]:
    lines = [
        "Predicted gain of a preloaded BLAS, beside the measured one with its 95 % interval. The "
        "prediction replaces the time of the products alone:",
        "",
        "| model | mode | tuned, ms | products | BLAS | threads | its products | predicted | "
        "measured |",
        "|---|---|---:|---:|---|---:|---:|---:|---:|",
    ]
    for case, name in _pair_with_others(cases):
        own_s, other_s = (sum_products(case.row, one) or 0.0 for one in (OWN, name))
        shown = [f"{1e3 * case.step_s:.0f}", format_percent(own_s / case.step_s, 0), name]
        shown += [str(count_threads(case.row, name)), f"{own_s / other_s:.2f} times as fast"]
        shown.append(f"{predict_gain(case.step_s, own_s, other_s):.2f}")
        known = case.measured is not None and name in case.measured["step_time_s"]
        ratio = find_ratio(case.measured, TUNED, name) if known and case.measured else None
        lines.append(f"{case.label}| {' | '.join([*shown, format_ratio(ratio)])} |")
    return lines


def _pair_with_others(cases: Sequence[Case]) -> Iterator[Tuple[Case, str]]:
    return ((case, name) for case in cases for name in list_others(case.row))


def count_threads(row: Row, name: str) -> int:
    blas = row["products"][name]["blas"] or {}
    return blas.get("threads") or 1


def _list_cores(cases: Sequence[Case]) -> List[str]:
    lines = [
        "Gain over the tuned step on more cores: **calculated, not measured**. By Amdahl's law, "
        "with the products as the parallel share, and with the serial share of the BLAS at these "
        "shapes from one thread and several. The bound is that of products that take no time:",
        "",
        f"| model | mode | parallel share | BLAS | threads: gain | serial share | "
        f"{' | '.join(f'{n} cores' for n in CORES)} | bound |",
        f"|---|---|---:|---|---:|---:|{'---:|' * len(CORES)}---:|",
    ]
    for case, name in _pair_with_others(cases):
        own_s = sum_products(case.row, OWN) or 0.0
        single_s, several_s = (sum_products(case.row, one) for one in (name + SINGLE, name))
        threads = count_threads(case.row, name)
        if single_s is None or several_s is None or threads < 2:
            continue
        serial = find_serial_share(single_s, several_s, threads)
        gains = [predict_cores(case.step_s, own_s, single_s, serial, n) for n in CORES]
        gains.append(predict_gain(case.step_s, own_s, 0.0))
        shown = [format_percent(own_s / case.step_s, 0), name]
        shown += [f"{threads}: {single_s / several_s:.2f}", format_percent(serial, 0)]
        lines.append(f"{case.label}| {' | '.join([*shown, *(f'{g:.2f}' for g in gains)])} |")
    return lines


def _read_profiles(
    rows: Sequence[Row],
) -> Iterator[Tuple[str, ProfileDocument, LimitsDocument]]:
    """Model, profile and its limits."""
    for row in rows:
        document = ProfileDocument.model_validate(row["profile"])
        assert document.limits is not None
        yield row["model"], document, document.limits


def _list_excess(rows: Sequence[Row]) -> List[str]:
    lines = [
        "The time of the eager step above the floor on all cores, and the share of each part in "
        "it, as `bench profile --limits` shows them:",
        "",
        f"| model | step, ms | floor, ms | {' | '.join(PARTS)} |",
        f"|---|---:|---:|{'---:|' * len(PARTS)}",
    ]
    for model, document, limits in _read_profiles(rows):
        step = split_step(document, limits, split_layers(document, limits))
        shares = [format_percent(value / step.above_s, 0) for value in step.parts.values()]
        shown = [model, f"{1e3 * step.time_s:.0f}", f"{1e3 * step.floor_s:.0f}", *shares]
        lines.append(f"| {' | '.join(shown)} |")
    return lines


def _describe_kind(layer: LayerProfile) -> str:
    """The class, and for a convolution whether it has groups, which are a product each."""
    is_grouped = any(one.count > layer.output_shape[0] for one in layer.products)
    return f"{layer.kind}, grouped" if is_grouped else layer.kind


def _list_layers(rows: Sequence[Row]) -> List[str]:
    lines = [
        f"The {SHOWN_LAYERS} kinds of layers with most time above the floor, in ms of a step:",
        "",
        f"| model | kind | layers | time | floor | {' | '.join(PARTS)} |",
        f"|---|---|---:|---:|---:|{'---:|' * len(PARTS)}",
    ]
    for model, document, limits in _read_profiles(rows):
        kinds: Dict[str, List[Any]] = {}
        for layer, one in zip(document.layers, split_layers(document, limits)):
            kinds.setdefault(_describe_kind(layer), []).append(one)
        sums = [(kind, len(several), sum_excess(kind, several)) for kind, several in kinds.items()]
        for kind, count, one in sorted(sums, key=lambda s: -s[2].above_s)[:SHOWN_LAYERS]:
            times = [one.time_s, one.floor_s, *one.parts.values()]
            shown = [model, kind, str(count), *(f"{1e3 * t:.1f}" for t in times)]
            lines.append(f"| {' | '.join(shown)} |")
    return lines
