"""Operations and least bytes of a train step, layer by layer, and the least time for them.

A floating-point operation is an add, a multiply or a comparison; a multiply-add is two. Some are
counted too low (a sigmoid counts one an element). So the floor may be too low, never too high.

The floor is the roofline model (Williams, Waterman and Patterson 2009):

    attainable time = max(operations / peak rate, bytes / bandwidth)

of each layer's forward, backward and update, which wait for each other, summed over the layers,
which run one after the other. Peak and bandwidth are the best measured rates.
"""

from __future__ import annotations

import math
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence

from pydantic import BaseModel
from typing_extensions import Literal

FLOAT_BYTES = 4  # float32
Operation = Literal["product", "norm", "max_pool", "avg_pool", "adaptive_pool", "element_wise",
                    "reshape", "parameter", "other"]  # fmt: skip
FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT = "forward", "input_gradient", "weight_gradient"
MATMUL, COPY = "matmul", "copy"
_NO_TRAFFIC = ("element_wise", "reshape", "parameter")


class Part(BaseModel, extra="forbid", frozen=True, protected_namespaces=()):
    pass


class CallShape(NamedTuple):
    """Shapes of one use of a leaf in a step."""

    input_shape: List[int]
    output_shape: List[int]
    needs_input_gradient: bool  # not the first layer's


class LayerTrace(NamedTuple):
    """A leaf as it was used in a train step."""

    name: str
    kind: str  # the module's class
    operation: Operation
    calls: List[CallShape]
    num_params: int  # trainable elements
    has_bias: bool = False
    macs_per_output: int = 0  # of a product
    window: int = 0  # pixels that a pooling looks at for one output
    groups: int = 0  # of a convolution; 0 for other layers


class Work(Part):
    """Floating-point operations, and the bytes that at least move between memory and processor."""

    flops: int = 0
    bytes: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(flops=self.flops + other.flops, bytes=self.bytes + other.bytes)

    @property
    def intensity(self) -> float:
        """Operations a byte; 0 where nothing is computed or moved."""
        return self.flops / self.bytes if self.bytes else 0.0


class LayerWork(Part):
    """The work of a leaf in one train step.

    `counted` is False if its operations are not known and count 0.
    """

    name: str
    kind: str
    calls: int
    num_params: int
    macs: int  # multiply-adds of the forward pass
    counted: bool
    forward: Work
    input_gradient: Work
    weight_gradient: Work
    update: Work

    @property
    def backward(self) -> Work:
        return self.input_gradient + self.weight_gradient

    @property
    def total(self) -> Work:
        return self.forward + self.backward + self.update


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


class UpdateRule(NamedTuple):
    """Stochastic gradient descent, as the recipe has it."""

    momentum: bool
    weight_decay: bool


class _Sizes(NamedTuple):
    """Elements, summed over a leaf's calls."""

    inputs: int
    outputs: int
    macs: int
    window: int


# operations of the forward pass, of the gradient of the inputs, and of that of the weights
_Count = Callable[[_Sizes], int]
_FLOPS: Dict[Operation, List[_Count]] = {
    # y = W x + b, dx = W^T dy, dW = dy x^T: three products of as many multiply-adds, for a
    # convolution N C_out H_out W_out C_in / groups k_h k_w (Chetlur et al. 2014, arXiv:1410.0759,
    # section 2; gradients: Goodfellow et al., Deep Learning, 2016, section 6.5)
    "product": [lambda s: 2 * s.macs, lambda s: 2 * s.macs, lambda s: 2 * s.macs],
    # sum and sum of squares, a x + c; then dx = a dy + b x + c; then sum dy and sum dy x, linear
    # forms of a channel (Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1)
    "norm": [lambda s: 5 * s.inputs, lambda s: 4 * s.inputs, lambda s: 3 * s.inputs],
    # comparisons, or adds and a multiply, of each window; adaptive pooling sees each input once
    "max_pool": [lambda s: (s.window - 1) * s.outputs, lambda s: s.outputs, lambda s: 0],
    "avg_pool": [lambda s: s.window * s.outputs, lambda s: s.outputs, lambda s: 0],
    "adaptive_pool": [lambda s: s.inputs, lambda s: s.outputs, lambda s: 0],
    "element_wise": [lambda s: s.outputs, lambda s: s.outputs, lambda s: 0],
}
_NO_FLOPS: List[_Count] = [lambda s: 0, lambda s: 0, lambda s: 0]


def count_layer(trace: LayerTrace, rule: UpdateRule) -> LayerWork:
    """Operations and least bytes of one leaf in one train step.

    `_FLOPS` has the operations. A bias is the first addend of its sum; its gradient is an add for
    each output. Bytes: a layer writes its output once, in the forward pass; the backward pass reads
    its input once if the weights have a gradient, and writes the gradient of the input once;
    parameters are read forward, and again for the gradient of the inputs; their gradient is
    written once. Element-wise layers and reshapes move nothing, as a fused kernel does them.
    """
    whole = _sum_sizes(trace, trace.calls)
    wanted = _sum_sizes(trace, [call for call in trace.calls if call.needs_input_gradient])
    forward, input_gradient, weight_gradient = _FLOPS.get(trace.operation, _NO_FLOPS)
    moves, params = trace.operation not in _NO_TRAFFIC, trace.num_params
    read_again = params if trace.operation == "product" and wanted.inputs else 0
    weight_flops = weight_gradient(whole) + (whole.outputs if trace.has_bias else 0)
    return LayerWork(
        name=trace.name,
        kind=trace.kind,
        calls=len(trace.calls),
        num_params=params,
        macs=whole.macs,
        counted=trace.operation in _FLOPS or trace.operation in _NO_TRAFFIC,
        forward=_work(forward(whole), moves * (whole.outputs + params)),
        input_gradient=_work(input_gradient(wanted), moves * (wanted.inputs + read_again)),
        weight_gradient=_work(weight_flops, moves * (whole.inputs + params)) if params else Work(),
        update=count_update(params, rule),
    )


def _sum_sizes(trace: LayerTrace, calls: Sequence[CallShape]) -> _Sizes:
    inputs = sum(math.prod(call.input_shape) for call in calls)
    outputs = sum(math.prod(call.output_shape) for call in calls)
    return _Sizes(inputs, outputs, outputs * trace.macs_per_output, trace.window)


def _work(flops: int, elements: int) -> Work:
    return Work(flops=flops, bytes=elements * FLOAT_BYTES)


def count_update(num_params: int, rule: UpdateRule) -> Work:
    """Stochastic gradient descent: g += d w; v = m v + g; w -= lr v (Sutskever et al. 2013).

    Two operations a parameter for each of the three. Gradient and weight are read and the weight is
    written; with momentum its buffer is read and written too.
    """
    flops = 2 + 2 * rule.momentum + 2 * rule.weight_decay
    return _work(flops * num_params, (3 + 2 * rule.momentum) * num_params)


class Ceiling(Part):
    """A rate at which the machine was measured."""

    what: str  # MATMUL, in operations a second, or COPY, in bytes a second
    library: str  # oneflow or numpy
    threads: int
    size: int  # rows of the square matrices, or bytes of the buffer
    rates: List[float]  # run by run

    @property
    def best(self) -> float:
        return max(self.rates)


class Roof(NamedTuple):
    """Ceilings on a number of threads: operations and bytes a second."""

    threads: int
    peak: float
    bandwidth: float

    def time_s(self, work: Work) -> float:
        """The least seconds for `work`, which is done at once."""
        return max(work.flops / self.peak, work.bytes / self.bandwidth)

    def floor_s(self, layers: Iterable[LayerWork]) -> float:
        """The least seconds for the forward, backward and update of each layer in turn."""
        times = [map(self.time_s, (each.forward, each.backward, each.update)) for each in layers]
        return sum(map(sum, times))

    def describe(self) -> str:
        return "one core" if self.threads == 1 else f"{self.threads} cores"

    def attainable(self, intensity: float) -> float:
        """Operations a second at so many operations a byte."""
        return min(self.peak, intensity * self.bandwidth)

    def limit_of(self, work: Work) -> str:
        """The longer of the two, compute or memory; a dash for no work."""
        if work == Work():
            return "-"
        return "compute" if work.flops / self.peak >= work.bytes / self.bandwidth else "memory"


def create_roof(ceilings: Sequence[Ceiling], threads: int) -> Roof:
    """The best rates on at most `threads` threads, of any library and size.

    Raises ValueError if one of the two was not measured.
    """
    measured = [ceiling for ceiling in ceilings if ceiling.threads <= threads]
    if {MATMUL, COPY} - {ceiling.what for ceiling in measured}:
        raise ValueError(f"no product or no copy was measured on up to {threads} threads")
    best = [max(c.best for c in measured if c.what == what) for what in (MATMUL, COPY)]
    return Roof(threads, *best)


def create_roofs(ceilings: Sequence[Ceiling], cores: int) -> List[Roof]:
    return [create_roof(ceilings, threads) for threads in sorted({1, cores})]


def sum_work(layers: Iterable[LayerWork]) -> Work:
    return sum((layer.total for layer in layers), Work())
