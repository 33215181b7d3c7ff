"""Measures one layer outside its step: its backward, its graph, and its im2col.

The processor time of the thread that computes tells how long operators ran. The rest of the time
between two synchronisations is that of OneFlow's scheduler.
"""

from __future__ import annotations

import glob
import time
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import oneflow as flow
from oneflow import nn

from ...training.clock import synchronize
from ...training.layer_graph import ForwardGraph, GradientGraph, LayerAlone, copy_layer

ALONE_REPEATS = 7  # a median has an interval from six values on
_WARMUP_REPEATS = 2
_FINDING_SIZE = 2**20  # elements of an operator in which the thread that computes is looked for
_ENOUGH_TICKS, _LONGEST_FINDING_S = 20, 5.0  # a tick is 10 ms
_TASKS = "/proc/self/task"


@dataclass
class Call:
    """One use of a leaf in an iteration, with its tensors, so that it can be repeated."""

    inputs: Tuple[Any, ...]
    output: Optional[List[int]]  # its shape; None if it is no tensor
    start_s: float  # since the profile began
    span_s: float
    gradient: Optional[flow.Tensor] = None  # of the output

    @property
    def needs_input_gradient(self) -> bool:
        return bool(self.inputs) and requires_grad(self.inputs[0])

    @property
    def can_be_repeated(self) -> bool:
        """One tensor in, and a gradient came back: else the backward has no time of its own."""
        one = len(self.inputs) == 1 and isinstance(self.inputs[0], flow.Tensor)
        return one and self.gradient is not None


def requires_grad(value: Any) -> bool:
    return isinstance(value, flow.Tensor) and bool(value.requires_grad)


class ComputingThread:
    """The thread of this process that computes eager operators; `path` is None if none is known."""

    def __init__(self, path: Optional[str] = None) -> None:
        self.path = path

    def read(self) -> float:
        """Its processor seconds so far; exact while it waits, as after a synchronisation."""
        if self.path is None:
            return 0.0
        with open(f"{self.path}/schedstat") as file:
            return int(file.read().split()[0]) * 1e-9


UNKNOWN = ComputingThread()


def find_computing_thread() -> ComputingThread:
    """The thread that works most in user mode while an operator of one thread is repeated.

    The scheduler's thread spins meanwhile, which is work in system calls. A BLAS has threads of its
    own, so no product is taken.
    """
    data = flow.randn(_FINDING_SIZE)
    before, used = _read_ticks(), {"": 0}
    end = time.perf_counter() + _LONGEST_FINDING_S
    while max(used.values()) < _ENOUGH_TICKS and time.perf_counter() < end:
        result = flow.exp(data)
        synchronize()
        del result
        used = {path: ticks - before.get(path, 0) for path, ticks in _read_ticks().items()}
        used = used or {"": 0}
    found = ComputingThread(max(used, key=lambda path: used[path]))
    try:
        found.read()
    except (OSError, IndexError):  # a system that does not count it
        return UNKNOWN
    return found


def _read_ticks() -> Dict[str, int]:
    """Clock ticks of each thread in user mode, less those in the system."""
    ticks = {}
    for path in glob.glob(f"{_TASKS}/*"):
        with open(f"{path}/stat") as file:
            user, system = file.read().rpartition(")")[2].split()[11:13]
        ticks[path] = int(user) - int(system)
    return ticks


class Span(NamedTuple):
    """Seconds between two synchronisations, and those of them in which the thread computed."""

    wall_s: float
    computing_s: float


def measure_span(run: Callable[[], Any], thread: ComputingThread) -> Span:
    synchronize()
    before, start = thread.read(), time.perf_counter()
    # held until all is computed: OneFlow crashes when a running graph's outputs are freed
    outputs = run()
    synchronize()
    wall_s = time.perf_counter() - start  # the thread may go on for a moment
    span = Span(wall_s, min(wall_s, thread.read() - before))
    del outputs
    return span


def _repeat(run: Callable[[], Span]) -> List[Span]:
    return [run() for _ in range(_WARMUP_REPEATS + ALONE_REPEATS)][_WARMUP_REPEATS:]


def measure_backward(module: nn.Module, call: Call, thread: ComputingThread) -> List[Span]:
    """A leaf's backward alone, eagerly; the forward before it is not counted."""
    leaf = copy_layer(module)
    data = call.inputs[0].detach()
    data.requires_grad = call.needs_input_gradient
    wanted = [tensor for tensor in (*leaf.parameters(), data) if tensor.requires_grad]

    def run() -> Span:
        output = leaf(data.clone() if _is_in_place(leaf) else data)
        return measure_span(lambda: flow.autograd.grad([output], wanted, [call.gradient]), thread)

    return _repeat(run)


def measure_thin_convolution(
    module: nn.Conv2d, call: Call, thread: ComputingThread
) -> Tuple[List[Span], List[Span]]:
    """Forward and backward of a convolution like `module`, with one filter a group and no bias.

    It makes the same columns of the same images, and multiplies them by one row of weights. The
    call must have a gradient.
    """
    thin = nn.Conv2d(
        module.in_channels, module.groups, module.kernel_size, module.stride, module.padding,
        module.dilation, module.groups, bias=False,
    )  # fmt: skip
    thin.weight.requires_grad = module.weight.requires_grad
    forward = _repeat(lambda: measure_span(lambda: thin(call.inputs[0].detach()), thread))
    assert call.gradient is not None
    images, _, *pixels = call.gradient.shape
    gradient = flow.ones(images, module.groups, *pixels)
    return forward, measure_backward(thin, replace(call, gradient=gradient), thread)


def _is_in_place(layer: nn.Module) -> bool:
    """An in-place layer may not overwrite a tensor whose gradient is wanted."""
    return bool(getattr(layer, "inplace", False))


def measure_graph(module: nn.Module, call: Call, with_backward: bool) -> List[float]:
    """Seconds of a leaf compiled alone; compiling is not counted."""
    leaf, needed = copy_layer(module), [call.needs_input_gradient]
    run: Callable[[], Any]
    if with_backward:
        alone = LayerAlone(leaf, call.inputs, needed, call.gradient, _is_in_place(leaf))
        run = GradientGraph(alone)
    else:
        data, forward = call.inputs[0].detach().clone(), ForwardGraph(leaf)

        def run() -> Any:
            return forward(data)

    spans = _repeat(lambda: measure_span(run, UNKNOWN))
    return [span.wall_s for span in spans]
