"""The matrix products of a layer: their shapes, as OneFlow 0.9.0 calls its BLAS with them.

A convolution is a product for each image and group, between the filters and the columns that im2col
makes of the image: forward W C, gradient of the input W^T dY, gradient of the filters dY C^T, which
is added up over the images. A linear layer is one product a pass: X W^T, dY W and dY^T X.
"""

from __future__ import annotations

import math
from typing import Dict, List, Optional

from typing_extensions import Literal

from .work import CallShape, LayerTrace, Part

FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT = "forward", "input_gradient", "weight_gradient"


class Product(Part):
    """A product of (rows, inner) by (inner, columns), made `count` times in a step."""

    of: Literal["forward", "input_gradient", "weight_gradient"]
    transposed_left: bool
    transposed_right: bool
    adds: bool  # to what the result holds
    rows: int
    columns: int
    inner: int
    count: int
    time_s: Optional[float] = None  # of one, by the BLAS alone; None if it was not measured

    @property
    def shape(self) -> List[int]:
        """As `time_products` takes it."""
        flags = map(int, (self.transposed_left, self.transposed_right, self.adds))
        return [*flags, self.rows, self.columns, self.inner]

    @property
    def flops(self) -> int:
        """Of all of them."""
        return 2 * self.count * self.rows * self.columns * self.inner

    @property
    def total_s(self) -> float:
        return self.count * (self.time_s or 0.0)


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
