"""The time and the shapes of each layer: a context manager around a few iterations, on OneFlow.

    with profile_layers(model) as profile:
        for _ in range(5):
            train_step()
    profile.layers[0].forward_s

Forward times are taken in place: a synchronisation before and after each leaf's forward. Backward
times are not: OneFlow 0.9.0 runs the backward of parallel branches interleaved and gives no hook
around one of them. They are taken when the context ends, from a copy of each leaf on the input and
the output gradient that it had in the last iteration, alone; a leaf as a graph likewise.
"""

from __future__ import annotations

import time
import types
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Type

import oneflow as flow
from oneflow import nn

from ....models.counting import count_macs_per_output
from ...training.clock import synchronize
from ...training.layer_graph import replace_forwards
from ...training.nest import flatten
from ...worker.blas import read_loaded_blas
from ...worker.product_times import time_products
from .alone import (
    UNKNOWN,
    Call,
    ComputingThread,
    measure_backward,
    measure_graph,
    measure_thin_convolution,
    requires_grad,
)
from .document import LayerProfile
from .excess import list_products
from .report import LayerTable
from .work import CallShape, LayerTrace, Operation, Product

_OPERATIONS: Dict[Operation, Tuple[Type[nn.Module], ...]] = {
    "product": (nn.Conv2d, nn.Linear),
    "norm": (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    "max_pool": (nn.MaxPool2d,),
    "avg_pool": (nn.AvgPool2d,),
    "adaptive_pool": (nn.AdaptiveAvgPool2d,),
    "element_wise": (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh,
                   nn.Sigmoid, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Dropout),
    "reshape": (nn.Identity, nn.Flatten),
}  # fmt: skip


@dataclass
class _Leaf:
    name: str
    module: Any
    forward_s: List[float] = field(default_factory=list)  # one an iteration: the sum over its calls
    computing_s: List[float] = field(default_factory=list)  # of it, by the thread that computes
    calls: List[Call] = field(default_factory=list)  # of the last iteration

    @property
    def kind(self) -> str:
        return type(self.module).__name__


class Profile(LayerTable):
    """The result of `profile_layers`; `layers` is filled when the context ends.

    `layers` has the leaves in the order of their first call; times in seconds, a value for each
    iteration (forward) or repeat (backward).
    """

    def __init__(self, model: nn.Module, iteration: nn.Module, thread: ComputingThread) -> None:
        self.layers: List[LayerProfile] = []
        self.iterations = 0
        self._model, self._iteration, self._thread = model, iteration, thread
        self._alone: Dict[str, List[float]] = {}
        self._thin_s: Dict[str, float] = {}
        leaves = [each for each in model.named_modules() if next(each[1].children(), None) is None]
        self._leaves = [_Leaf(name or type(module).__name__, module) for name, module in leaves]
        self._start = time.perf_counter()

    def _wrap(self, module: nn.Module, leaf: Optional[_Leaf]) -> Any:
        """A forward that is bound to the module, as nn.Graph expects of every forward."""
        original = module.forward

        def forward(_: nn.Module, *inputs: Any, **named: Any) -> Any:
            if module is self._iteration:
                self._begin_iteration((inputs, named))
            if leaf is None:
                return original(*inputs, **named)
            return self._record(leaf, original, inputs, named)

        return types.MethodType(forward, module)

    def _begin_iteration(self, inputs: Any) -> None:
        if any(value.is_lazy for value in flatten(inputs)[0]):
            raise ValueError(
                "profile_layers was given an iteration inside nn.Graph, where layers have no time "
                "of their own; run the model eagerly, or use bench profile --mode graph"
            )
        self.iterations += 1
        for leaf in self._leaves:
            leaf.forward_s.append(0.0)
            leaf.computing_s.append(0.0)
            leaf.calls = []

    def _record(self, leaf: _Leaf, original: Callable[..., Any], inputs: Any, named: Any) -> Any:
        synchronize()
        before, start = self._thread.read(), time.perf_counter()
        output = original(*inputs, **named)
        synchronize()
        span_s = time.perf_counter() - start
        leaf.forward_s[-1] += span_s
        leaf.computing_s[-1] += min(span_s, self._thread.read() - before)
        shape = list(output.shape) if isinstance(output, flow.Tensor) else None
        call = Call(tuple(inputs), shape, start - self._start, span_s)
        leaf.calls.append(call)
        if requires_grad(output):
            output.register_hook(lambda gradient: setattr(call, "gradient", gradient))
        return output

    def _finish(self) -> None:
        self._leaves = [leaf for leaf in self._leaves if leaf.calls]
        self._leaves.sort(key=lambda leaf: leaf.calls[0].start_s)
        self.layers = [self._describe(leaf) for leaf in self._leaves]

    def _describe(self, leaf: _Leaf) -> LayerProfile:
        """The forward times of a leaf, and its backward, measured now."""
        repeated = [call for call in leaf.calls if call.can_be_repeated]
        backward = [measure_backward(leaf.module, call, self._thread) for call in repeated]
        is_known = self._thread.path is not None
        return LayerProfile(
            name=leaf.name,
            kind=leaf.kind,
            calls=len(leaf.calls),
            output_shape=leaf.calls[0].output or [],
            num_params=sum(p.numel() for p in leaf.module.parameters()),
            param_sizes=[p.numel() for p in leaf.module.parameters() if p.requires_grad],
            forward_s=leaf.forward_s,
            backward_s=_sum([[span.wall_s for span in spans] for spans in backward]),
            forward_computing_s=leaf.computing_s if is_known else [],
            backward_computing_s=_sum([[s.computing_s for s in spans] for spans in backward])
            if is_known
            else [],
            products=list_products(_trace_leaf(leaf)),
            starts_s=[call.start_s for call in leaf.calls],
            spans_s=[call.span_s for call in leaf.calls],
        )

    def trace(self) -> List[LayerTrace]:
        """The leaves as the last iteration used them, in the order of `layers`.

        A module that has children and parameters of its own follows as one without calls: its
        parameters are updated, and its computation with them is not counted.
        """
        found = [_trace_leaf(leaf) for leaf in self._leaves]
        for name, module in self._model.named_modules():
            own = [p.numel() for p in module.parameters(recurse=False) if p.requires_grad]
            if own and next(module.children(), None) is not None:
                kind = type(module).__name__
                found.append(LayerTrace(name or kind, kind, "parameter", [], sum(own)))
        return found

    def measure_graph(self, number: int) -> Tuple[List[float], List[float]]:
        """Layer `number` compiled alone: seconds of forward, and of forward with backward.

        Calls of one leaf are added up. Layers of one kind and size are compiled once.
        """
        module, calls = self._leaves[number].module, self._leaves[number].calls
        forward = [self._measure_once(module, c, False) for c in calls if len(c.inputs) == 1]
        both = [self._measure_once(module, c, True) for c in calls if c.can_be_repeated]
        return _sum(forward), _sum(both)

    def measure_split(self) -> List[Dict[str, Any]]:
        """For each layer the seconds of its products by the BLAS alone, and those of its im2col.

        im2col is the time of a convolution of one filter a group, less its own thin products.
        """
        thin = [self._measure_thin(leaf) for leaf in self._leaves]
        wanted = [*(layer.products for layer in self.layers), *(products for _, products in thin)]
        shapes = [product.shape for products in wanted for product in products]
        blas = read_loaded_blas()
        clock = time.thread_time if blas is None or blas["threads"] == 1 else time.perf_counter
        times_s = dict(zip(map(tuple, shapes), time_products(shapes, clock)))
        found = []
        for layer, (computing_s, products) in zip(self.layers, thin):
            own, less = (
                [one.model_copy(update={"time_s": times_s[tuple(one.shape)]}) for one in several]
                for several in (layer.products, products)
            )
            im2col_s = None
            if computing_s is not None:
                im2col_s = max(0.0, computing_s - sum(one.total_s for one in less))
            found.append({"products": [one.model_dump() for one in own], "im2col_s": im2col_s})
        return found

    def _measure_thin(self, leaf: _Leaf) -> Tuple[Optional[float], List[Product]]:
        """Computing seconds of a thin convolution's forward and backward, and its products."""
        calls = [call for call in leaf.calls if call.can_be_repeated]
        if self._thread.path is None or not calls or not isinstance(leaf.module, nn.Conv2d):
            return None, []
        total_s, shapes = 0.0, []
        for call in calls:
            shape = list(call.inputs[0].shape)
            key = f"{leaf.module!r} {shape} {call.needs_input_gradient}"
            if key not in self._thin_s:
                spans = measure_thin_convolution(leaf.module, call, self._thread)
                self._thin_s[key] = sum(median(s.computing_s for s in each) for each in spans)
            total_s += self._thin_s[key]
            images, _, *pixels = call.output or []
            output = [images, leaf.module.groups, *pixels]
            shapes.append(CallShape(shape, output, call.needs_input_gradient))
        return total_s, list_products(_trace_leaf(leaf)._replace(calls=shapes))

    def _measure_once(self, module: nn.Module, call: Call, with_backward: bool) -> List[float]:
        shape = tuple(call.inputs[0].shape)
        key = f"{module!r} {shape} {call.needs_input_gradient} {with_backward}"
        if key not in self._alone:
            self._alone[key] = measure_graph(module, call, with_backward)
        return self._alone[key]


@contextmanager
def profile_layers(
    model: nn.Module,
    iteration: Optional[nn.Module] = None,
    thread: ComputingThread = UNKNOWN,
) -> Iterator[Profile]:
    """Profile the leaves of `model` in the iterations run inside the context.

    An iteration is one call of the module `iteration`, by default of `model`, eagerly. At exit,
    also by an exception, the model is as it was: nothing but instance attributes `forward` is put
    on it, and backward is measured on copies. Raises ValueError for an iteration inside `nn.Graph`,
    whose leaves run at no time of their own. The processor time of a known `thread` is kept too.
    """
    profile = Profile(model, iteration or model, thread)
    leaves: Dict[nn.Module, Optional[_Leaf]] = {leaf.module: leaf for leaf in profile._leaves}
    with replace_forwards() as replace:
        for module, leaf in {profile._iteration: None, **leaves}.items():
            replace(module, profile._wrap(module, leaf))
        yield profile
    profile._finish()


def _trace_leaf(leaf: _Leaf) -> LayerTrace:
    module, shapes = leaf.module, []
    known = (op for op, kinds in _OPERATIONS.items() if isinstance(module, kinds))
    operation: Operation = next(known, "other")
    window = 0
    if operation in ("max_pool", "avg_pool"):
        size = module.kernel_size
        window = size * size if isinstance(size, int) else size[0] * size[1]
    for call in leaf.calls:
        if call.output is not None and isinstance(next(iter(call.inputs), None), flow.Tensor):
            taken = list(call.inputs[0].shape)
            shapes.append(CallShape(taken, call.output, call.needs_input_gradient))
    return LayerTrace(
        name=leaf.name,
        kind=leaf.kind,
        operation=operation,
        calls=shapes,
        num_params=sum(p.numel() for p in module.parameters() if p.requires_grad),
        has_bias=operation == "product" and module.bias is not None,
        macs_per_output=count_macs_per_output(module),
        window=window,
        groups=module.groups if isinstance(module, nn.Conv2d) else 0,
    )


def _sum(times: List[List[float]]) -> List[float]:
    """Repeat by repeat; empty for none."""
    return [sum(values) for values in zip(*times)]
