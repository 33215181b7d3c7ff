"""The floor of a step: the roofline model (Williams, Waterman and Patterson 2009) layer by layer.

    attainable time = max(operations / peak rate, bytes / bandwidth)

Taken of each layer's forward, backward and update, which wait for each other, and summed. Layers
are taken as run one after the other. Peak and bandwidth are the best that was measured.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Sequence

from .document import COPY, MATMUL, Ceiling, LayerTime, LimitsDocument
from .work import LayerWork, Work, add_work


class Roof(NamedTuple):
    """Ceilings on a number of threads: operations and bytes a second."""

    threads: int
    peak: float
    bandwidth: float

    def time_s(self, work: Work) -> float:
        """The least seconds for `work`."""
        return max(work.flops / self.peak, work.bytes / self.bandwidth)

    def attainable(self, intensity: float) -> float:
        """Operations a second at so many operations a byte."""
        return min(self.peak, intensity * self.bandwidth)

    def limit_of(self, work: Work) -> str:
        """Which of the two limits: compute, memory, or none where there is nothing to do."""
        if not work.flops and not work.bytes:
            return "-"
        return "compute" if work.flops / self.peak >= work.bytes / self.bandwidth else "memory"


class LayerFloor(NamedTuple):
    """Least seconds of one layer's part of a step, and what a profile measured of it."""

    layer: LayerWork
    forward_s: float
    backward_s: float
    update_s: float
    limit: str
    measured_s: Optional[float] = None
    share: Optional[float] = None  # floor / measured, of what was measured

    @property
    def floor_s(self) -> float:
        return self.forward_s + self.backward_s + self.update_s


def create_roof(ceilings: Sequence[Ceiling], threads: int) -> Roof:
    """The best rates measured on at most `threads` threads, by whichever library and size.

    Raises ValueError where one of the two was not measured.
    """
    best: Dict[str, float] = {}
    for ceiling in ceilings:
        if ceiling.threads <= threads:
            best[ceiling.what] = max(best.get(ceiling.what, 0.0), ceiling.best)
    if {MATMUL, COPY} - set(best):
        raise ValueError(f"no product or no copy was measured on up to {threads} threads")
    return Roof(threads, best[MATMUL], best[COPY])


def create_roofs(document: LimitsDocument) -> List[Roof]:
    """That of one core, and where there are more that of all."""
    counts = sorted({1, document.cores})
    return [create_roof(document.ceilings, threads) for threads in counts]


def sum_work(layers: Sequence[LayerWork]) -> Work:
    """The whole step's."""
    return add_work([layer.total for layer in layers])


def layer_floors(
    layers: Sequence[LayerWork], roof: Roof, times: Sequence[LayerTime] = ()
) -> List[LayerFloor]:
    """Floors in the order of `layers`; shares for those that `times` knows by name."""
    by_name = {time.name: time for time in times}
    return [_layer_floor(layer, roof, by_name.get(layer.name)) for layer in layers]


def _layer_floor(layer: LayerWork, roof: Roof, time: Optional[LayerTime]) -> LayerFloor:
    forward_s, backward_s = roof.time_s(layer.forward), roof.time_s(layer.backward)
    found = LayerFloor(
        layer, forward_s, backward_s, roof.time_s(layer.update), roof.limit_of(layer.total)
    )
    if time is None:
        return found
    measured_s, floor_s = time.forward_s, forward_s
    if time.backward_s is not None:
        measured_s, floor_s = measured_s + time.backward_s, floor_s + backward_s
    share = floor_s / measured_s if measured_s > 0 else None
    return found._replace(measured_s=measured_s, share=share)


def step_floor_s(layers: Sequence[LayerWork], roof: Roof) -> float:
    """Least seconds of a step."""
    return sum(floor.floor_s for floor in layer_floors(layers, roof))


def uncounted_kinds(layers: Sequence[LayerWork]) -> List[str]:
    """Kinds of layers whose operations are not known and count 0."""
    return sorted({layer.kind for layer in layers if not layer.counted})
