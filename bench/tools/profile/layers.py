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
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import oneflow as flow
from oneflow import nn

from ....models.counting import count_macs_per_output
from ...training.clock import synchronize
from ...training.layer_graph import (
    ForwardGraph,
    GradientGraph,
    LayerAlone,
    copy_layer,
    replace_forwards,
)
from .document import LayerProfile
from .work import (
    ADAPTIVE_POOL,
    AVG_POOL,
    ELEMENT_WISE,
    MAX_POOL,
    NORM,
    OTHER,
    PARAMETER,
    PRODUCT,
    RESHAPE,
    CallShape,
    LayerTrace,
)

_OPERATIONS = {
    PRODUCT: (nn.Conv2d, nn.Linear),
    NORM: (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    MAX_POOL: (nn.MaxPool2d,),
    AVG_POOL: (nn.AvgPool2d,),
    ADAPTIVE_POOL: (nn.AdaptiveAvgPool2d,),
    ELEMENT_WISE: (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh,
                   nn.Sigmoid, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Dropout),
    RESHAPE: (nn.Identity, nn.Flatten),
}  # fmt: skip
ALONE_REPEATS = 7  # a median has an interval from six values on
_WARMUP_REPEATS = 2


class _Call:
    """One use of a leaf in an iteration, with its tensors, so that it can be repeated."""

    def __init__(self, inputs: Tuple[Any, ...], output: Any) -> None:
        self.inputs = inputs
        self.output_shape = list(output.shape) if isinstance(output, flow.Tensor) else None
        self.gradient: Optional[flow.Tensor] = None
        self.needs_input_gradient = bool(inputs) and _requires_grad(inputs[0])

    @property
    def can_be_repeated(self) -> bool:
        """One tensor in, and a gradient came back: else the backward has no time of its own."""
        one = len(self.inputs) == 1 and isinstance(self.inputs[0], flow.Tensor)
        return one and self.gradient is not None

    @property
    def shape(self) -> Optional[CallShape]:
        """None if the input or the output is no tensor."""
        if self.output_shape is None or not isinstance(next(iter(self.inputs), None), flow.Tensor):
            return None
        return CallShape(list(self.inputs[0].shape), self.output_shape, self.needs_input_gradient)


def _requires_grad(value: Any) -> bool:
    return isinstance(value, flow.Tensor) and bool(value.requires_grad)


class _Leaf:
    def __init__(self, name: str, module: nn.Module) -> None:
        self.name = name
        self.module = module
        self.forward_s: List[float] = []  # one an iteration: the sum over its calls
        self.starts_s: List[float] = []  # of the last iteration's calls
        self.spans_s: List[float] = []
        self.calls: List[_Call] = []


class Profile:
    """The result of `profile_layers`; `layers` is filled when the context ends.

    `layers` has the leaves in the order of their first call; times in seconds, a value for each
    iteration (forward) or repeat (backward).
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers: List[LayerProfile] = []
        self._model = model
        self.iterations = 0
        self._alone: Dict[str, List[float]] = {}
        self._leaves: Dict[int, _Leaf] = {}
        self._start = time.perf_counter()

    def _wrap(self, module: nn.Module) -> Any:
        """A forward that is bound to the module, as nn.Graph expects of every forward."""
        original, leaf = module.forward, self._leaves.get(id(module))

        def forward(_: nn.Module, *inputs: Any, **named: Any) -> Any:
            if module is self._model:
                self._begin_iteration(inputs)
            if leaf is None:
                return original(*inputs, **named)
            return self._record(leaf, original, inputs, named)

        return types.MethodType(forward, module)

    def _begin_iteration(self, inputs: Any) -> None:
        if any(isinstance(value, flow.Tensor) and value.is_lazy for value in inputs):
            raise ValueError(
                "profile_layers was given an iteration inside nn.Graph, where layers have no time "
                "of their own; run the model eagerly, or use bench profile --mode graph"
            )
        self.iterations += 1
        for leaf in self._leaves.values():
            leaf.forward_s.append(0.0)
            leaf.calls, leaf.starts_s, leaf.spans_s = [], [], []

    def _record(self, leaf: _Leaf, original: Callable[..., Any], inputs: Any, named: Any) -> Any:
        synchronize()
        start = time.perf_counter()
        output = original(*inputs, **named)
        synchronize()
        duration = time.perf_counter() - start
        leaf.forward_s[-1] += duration
        leaf.starts_s.append(start - self._start)
        leaf.spans_s.append(duration)
        call = _Call(tuple(inputs), output)
        leaf.calls.append(call)
        if _requires_grad(output):
            output.register_hook(lambda gradient: setattr(call, "gradient", gradient))
        return output

    def _finish(self) -> None:
        order = [leaf for leaf in self._leaves.values() if leaf.calls]
        order.sort(key=lambda leaf: leaf.starts_s[0])
        self.layers = [_describe(leaf) for leaf in order]
        self._leaves = {number: leaf for number, leaf in enumerate(order)}

    def trace(self) -> List[LayerTrace]:
        """The leaves as the last iteration used them, in the order of `layers`.

        A module that has children and parameters of its own follows as one without calls: its
        parameters are updated, and its computation with them is not counted.
        """
        found = [_trace_leaf(leaf) for leaf in self._leaves.values()]
        for name, module in self._model.named_modules():
            own = [p.numel() for p in module.parameters(recurse=False) if p.requires_grad]
            if own and next(module.children(), None) is not None:
                kind = type(module).__name__
                found.append(LayerTrace(name or kind, kind, PARAMETER, [], sum(own)))
        return found

    def measure_graph(self, number: int) -> Tuple[List[float], List[float]]:
        """Layer `number` compiled alone: seconds of forward, and of forward with backward.

        Calls of one leaf are added up. Layers of one kind and size are compiled once.
        """
        module, calls = self._leaves[number].module, self._leaves[number].calls
        forward = [self._measure_once(module, c, False) for c in calls if len(c.inputs) == 1]
        both = [self._measure_once(module, c, True) for c in calls if c.can_be_repeated]
        return _sum(forward), _sum(both)

    def _measure_once(self, module: nn.Module, call: _Call, with_backward: bool) -> List[float]:
        shape = tuple(call.inputs[0].shape)
        key = f"{module!r} {shape} {call.needs_input_gradient} {with_backward}"
        if key not in self._alone:
            self._alone[key] = _measure_graph(module, call, with_backward)
        return self._alone[key]


@contextmanager
def profile_layers(model: nn.Module) -> Iterator[Profile]:
    """Profile the leaves of `model` in the iterations run inside the context.

    An iteration is one call of `model`, eagerly. At exit, also by an exception, the model is as it
    was: nothing but instance attributes `forward` is put on it, and backward is measured on copies.
    Raises ValueError for an iteration inside `nn.Graph`, whose leaves run at no time of their own.
    """
    profile = Profile(model)
    with replace_forwards() as replace:
        for name, module in model.named_modules():
            if next(module.children(), None) is None:
                profile._leaves[id(module)] = _Leaf(name, module)
            if id(module) in profile._leaves or module is model:
                replace(module, profile._wrap(module))
        yield profile
    profile._finish()


def _trace_leaf(leaf: _Leaf) -> LayerTrace:
    module: Any = leaf.module
    kinds = [kind for kind, classes in _OPERATIONS.items() if isinstance(module, classes)]
    operation = kinds[0] if kinds else OTHER
    window = 0
    if operation in (MAX_POOL, AVG_POOL):
        size = module.kernel_size
        window = size * size if isinstance(size, int) else size[0] * size[1]
    return LayerTrace(
        name=leaf.name or type(module).__name__,
        kind=type(module).__name__,
        operation=operation,
        calls=[call.shape for call in leaf.calls if call.shape is not None],
        num_params=sum(p.numel() for p in module.parameters() if p.requires_grad),
        has_bias=operation == PRODUCT and module.bias is not None,
        macs_per_output=count_macs_per_output(module),
        window=int(window),
    )


def _describe(leaf: _Leaf) -> LayerProfile:
    """The forward times of a leaf, and its backward, measured now."""
    repeated = [call for call in leaf.calls if call.can_be_repeated]
    return LayerProfile(
        name=leaf.name or type(leaf.module).__name__,
        kind=type(leaf.module).__name__,
        calls=len(leaf.calls),
        output_shape=leaf.calls[0].output_shape or [],
        num_params=sum(p.numel() for p in leaf.module.parameters()),
        param_sizes=[p.numel() for p in leaf.module.parameters() if p.requires_grad],
        forward_s=leaf.forward_s,
        backward_s=_sum([_measure_backward(leaf.module, call) for call in repeated]),
        starts_s=leaf.starts_s,
        spans_s=leaf.spans_s,
    )


def _sum(times: List[List[float]]) -> List[float]:
    """Repeat by repeat; empty for none."""
    return [sum(values) for values in zip(*times)]


def _repeat(run: Callable[[], float]) -> List[float]:
    return [run() for _ in range(_WARMUP_REPEATS + ALONE_REPEATS)][_WARMUP_REPEATS:]


def _time(run: Callable[[], Any]) -> float:
    synchronize()
    start = time.perf_counter()
    # held until all is computed: OneFlow crashes when a running graph's outputs are freed
    outputs = run()
    synchronize()
    duration = time.perf_counter() - start
    del outputs
    return duration


def _measure_backward(module: nn.Module, call: _Call) -> List[float]:
    """Seconds of a leaf's backward alone, eagerly; the forward before it is not counted."""
    leaf = copy_layer(module)
    in_place = bool(getattr(leaf, "inplace", False))
    data = call.inputs[0].detach()
    data.requires_grad = call.needs_input_gradient
    wanted = [p for p in leaf.parameters() if p.requires_grad]
    if call.needs_input_gradient:
        wanted.append(data)

    def run() -> float:
        # an in-place layer may not overwrite a tensor whose gradient is wanted
        output = leaf(data.clone() if in_place else data)
        return _time(lambda: flow.autograd.grad([output], wanted, [call.gradient]))

    return _repeat(run)


def _measure_graph(module: nn.Module, call: _Call, with_backward: bool) -> List[float]:
    """Seconds of a leaf compiled alone; compiling is not counted."""
    leaf = copy_layer(module)
    if with_backward:
        in_place = bool(getattr(leaf, "inplace", False))
        needed = [call.needs_input_gradient]
        both = GradientGraph(LayerAlone(leaf, call.inputs, needed, call.gradient, in_place))
        return _repeat(lambda: _time(both))
    data = call.inputs[0].detach().clone()
    forward = ForwardGraph(leaf)
    return _repeat(lambda: _time(lambda: forward(data)))
