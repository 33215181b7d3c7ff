"""The time above the floor: what each layer loses to one core, shapes, im2col, operators, waiting.

    time = floor on all cores + one core + shape + im2col + operators + scheduler

`operators` is what remains, so the sum holds. It may be negative, since some parts are measured
alone. The times are those of the eager step. `shape` is of the matrix products that a layer makes.
"""

from __future__ import annotations

import math
from typing import Dict, List, NamedTuple, Optional, Sequence

from ...report.blocks import Block, Heading, Table, Text
from ...report.format import format_ms, format_percent
from ...verdict.statistics import summarize
from .document import LayerRow, LimitsDocument, ProfileDocument, create_rows, select_rows
from .work import (
    FORWARD,
    INPUT_GRADIENT,
    WEIGHT_GRADIENT,
    CallShape,
    LayerTrace,
    LayerWork,
    Product,
    Roof,
    create_roof,
)

PARTS = ("one core", "shape", "im2col", "operators", "scheduler")


class Excess(NamedTuple):
    """Seconds of a layer, or of several."""

    name: str
    time_s: float
    floor_s: float  # on all cores, of the passes that were timed
    one_core_s: float  # the floor on the cores that products use, less that on all
    shape_s: float  # products, less their floor on the cores that they use
    im2col_s: float
    scheduler_s: float  # the thread that computes did not

    @property
    def above_s(self) -> float:
        return self.time_s - self.floor_s

    @property
    def parts(self) -> Dict[str, float]:
        known = (self.one_core_s, self.shape_s, self.im2col_s)
        operators_s = self.above_s - sum(known) - self.scheduler_s
        return dict(zip(PARTS, (*known, operators_s, self.scheduler_s)))


def split_layers(document: ProfileDocument, limits: LimitsDocument) -> List[Excess]:
    """One for each layer, in the order of the profile."""
    used, every = _create_roofs(document, limits)
    works = {work.name: work for work in limits.layers}
    rows = create_rows(document.layers)  # of the eager step in either mode
    return [_split(row, works[row.layer.name], used, every) for row in rows]


def _create_roofs(document: ProfileDocument, limits: LimitsDocument) -> List[Roof]:
    """Those of the cores that products use, and of all."""
    cores = (min(count_product_cores(document), limits.cores), limits.cores)
    return [create_roof(limits.ceilings, number) for number in cores]


def count_product_cores(document: ProfileDocument) -> int:
    """The threads of the preloaded BLAS; 1 without one, as OneFlow's own has no more."""
    blas = document.environment.get("blas") or {}
    return blas.get("threads") or 1


def _split(row: LayerRow, work: LayerWork, used: Roof, every: Roof) -> Excess:
    layer = row.layer
    passes = [(work.forward, [one for one in layer.products if one.of == FORWARD])]
    if row.backward is not None:
        passes.append((work.backward, [one for one in layer.products if one.of != FORWARD]))
    used_s, every_s = (sum(roof.time_s(done) for done, _ in passes) for roof in (used, every))
    computing_s = sum(
        summarize(times).median
        for times in (layer.forward_computing_s, layer.backward_computing_s)
        if times
    )
    return Excess(
        name=layer.name,
        time_s=row.total_s,
        floor_s=every_s,
        one_core_s=used_s - every_s,
        shape_s=sum(_exceed(products, used.time_s(done)) for done, products in passes),
        im2col_s=layer.im2col_s or 0.0,
        scheduler_s=row.total_s - computing_s,
    )


def _exceed(products: Sequence[Product], floor_s: float) -> float:
    """Seconds of the products above the floor; none of a pass that its bytes limit."""
    return max(0.0, sum(one.total_s for one in products) - floor_s)


def sum_excess(name: str, several: Sequence[Excess]) -> Excess:
    return Excess(name, *(sum(values) for values in list(zip(*several))[1:]))


def split_step(
    document: ProfileDocument, limits: LimitsDocument, layers: Sequence[Excess]
) -> Excess:
    """The eager step with nothing wrapped, with the layers' own products and im2col.

    Its operators include those outside the layers, its floor the update.
    """
    assert document.computing is not None
    step_s, computing_s = (summarize(times).median for _, times in document.computing)
    used, every = _create_roofs(document, limits)
    floor_s = every.floor_s(limits.layers)
    return sum_excess("the step", layers)._replace(
        time_s=step_s,
        floor_s=floor_s,
        one_core_s=used.floor_s(limits.layers) - floor_s,
        scheduler_s=step_s - computing_s,
    )


def list_products(trace: LayerTrace) -> List[Product]:
    """The products of a layer in one train step; none for a layer that multiplies no matrices."""
    if trace.operation != "product":
        return []
    counts: Dict[Product, int] = {}
    for call in trace.calls:
        for product in _list_of_call(trace, call):
            one = product.model_copy(update={"count": 1})
            counts[one] = counts.get(one, 0) + product.count
    return [one.model_copy(update={"count": count}) for one, count in counts.items()]


def _list_of_call(trace: LayerTrace, call: CallShape) -> List[Product]:
    """The products of one call, as OneFlow 0.9.0 calls its BLAS with them.

    A convolution is a product for each image and group, between the filters and the columns that
    im2col makes of the image: forward W C, gradient of the input W^T dY, gradient of the filters
    dY C^T, which is added up over the images. A linear layer is one a pass: X W^T, dY W, dY^T X.
    """
    inner, groups = trace.macs_per_output, trace.groups
    if groups:
        images, filters, *pixels = call.output_shape
        rows, columns, count = filters // groups, math.prod(pixels), images * groups
        shapes = [
            (FORWARD, "--", rows, columns, inner),
            (INPUT_GRADIENT, "T-", inner, columns, rows),
            (WEIGHT_GRADIENT, "-T", rows, inner, columns),
        ]
    else:
        *outer, columns = call.output_shape
        rows, count = math.prod(outer), 1
        shapes = [
            (FORWARD, "-T", rows, columns, inner),
            (INPUT_GRADIENT, "--", rows, inner, columns),
            (WEIGHT_GRADIENT, "T-", columns, inner, rows),
        ]
    wanted = {FORWARD: True, INPUT_GRADIENT: call.needs_input_gradient}
    return [
        Product.model_validate(
            dict(of=of, transposed_left=sides[0] == "T", transposed_right=sides[1] == "T",
                 adds=bool(groups) and of == WEIGHT_GRADIENT, rows=rows, columns=columns,
                 inner=inner, count=count)
        )
        for of, sides, rows, columns, inner in shapes
        if wanted.get(of, trace.num_params > 0)
    ]  # fmt: skip


def report_excess(
    document: ProfileDocument, limits: LimitsDocument, top: Optional[int]
) -> List[Block]:
    """The table, with the step and the shares of its time above the floor, and the definitions."""
    if document.computing is None:  # a profile made without --limits, or an older one
        return []
    title = "The time above the floor on all cores, eager"
    if not document.computing.computing_s:
        reason = "Not split: this system does not count the processor time of threads."
        return [Heading(title), Text([reason])]
    layers = split_layers(document, limits)
    step = split_step(document, limits, layers)
    shown = {row.layer.name for row in select_rows(create_rows(document.layers), top)}
    listed = [one for one in layers if one.name in shown]
    others = [one for one in layers if one.name not in shown]
    listed += [sum_excess(f"{len(others)} other layers", others)] if others else []
    listed += [sum_excess("all layers", layers), step]
    rows = [
        [one.name, *_format(one), format_percent(one.above_s / step.above_s, 1)] for one in listed
    ]
    shares = [format_percent(value / step.above_s, 1) for value in step.parts.values()]
    rows.append(["share", "", "", *shares, "100.0 %"])
    columns = ["layer", "ms", "floor", *PARTS, "share"]
    return [
        Heading(title),
        Table(columns, rows, right=columns[1:]),
        Text(describe_excess(count_product_cores(document))),
    ]


def _format(one: Excess) -> List[str]:
    return [format_ms(seconds, 2) for seconds in (one.time_s, one.floor_s, *one.parts.values())]


def describe_excess(cores: int) -> List[str]:
    used = "one core" if cores == 1 else f"{cores} cores"
    return [
        f"one core: the floor on {used}, which the products use here, less the floor on all.",
        "shape: the products at the layer's shapes by the BLAS alone, less their floor.",
        "im2col: copies of the image into columns and back, measured with one filter a group.",
        "operators: the rest. Bias, batch norm, activation and pooling run on one core. Page "
        "faults and cold caches cannot be told from them. Negative: parts alone took longer.",
        "scheduler: the thread that computes operators did not run, or waited for a core.",
        "A layer is timed between two synchronisations, and waits more than in the step. The last "
        "rows are of the step with nothing wrapped, and include loss, update and sums of branches.",
        "In graph mode several threads compute, so the time between operators cannot be told.",
    ]
