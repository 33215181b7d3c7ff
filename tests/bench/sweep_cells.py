"""Made-up cells and sweeps with known answers."""

from __future__ import annotations

from oneflow_bench.bench.config import Measuring
from oneflow_bench.bench.tools.sweep.document import Cell, CellResult, ModeResult, SweepDocument
from oneflow_bench.bench.verdict.statistics import Ratio, Summary

MACHINE = {"cpu": "made up", "cores": 2, "memory_bytes": 2**33, "oneflow": "0.9.0"}


def create_result(speedup=1.25, eager_s=0.01, rss=300 * 2**20, status="done", **changes):
    """A result; with a status other than `done`, one without measured values."""
    basis = dict(
        status=status, reason="measured to the end", started="2026-01-01T00:00:00+00:00",
        duration_s=10.0, cell_timeout_s=60.0, record="cells/made-up",
    )  # fmt: skip
    if status != "done":
        return CellResult(**{**basis, "reason": f"it was {status} for a reason", **changes})
    times = {"eager": eager_s, "graph": eager_s / speedup}
    modes = {
        mode: ModeResult(
            step_time_s=Summary(median=t, low=0.98 * t, high=1.02 * t, count=12),
            compile_s=0.0 if mode == "eager" else 0.5,
            first_step_s=2 * t,
            peak_rss_bytes=rss,
        )
        for mode, t in times.items()
    }
    ratio = Ratio(ratio=speedup, low=speedup / 1.05, high=speedup * 1.05, count=6, paired=True,
                  smallest_effect=0.03)  # fmt: skip
    measured = dict(
        modes=modes, speedup=ratio, parity="identical",
        parity_reason="the losses of all steps are bitwise equal",
    )  # fmt: skip
    return CellResult(**{**basis, **measured, **changes})


def create_cell(model="lenet", batch_size=8, result=None, fingerprint="f" * 64, **others):
    return Cell(
        values={"model": model, "batch_size": batch_size, **others},
        fingerprint=fingerprint,
        workload=None,
        measuring=Measuring(),
        side={},
        result=result,
    )


def create_sweep(*cells, **changes):
    names = list(cells[0].values)
    axes = {name: list(dict.fromkeys(cell.values[name] for cell in cells)) for name in names}
    basis = dict(sweep_id="made-up", created="2026-01-01T00:00:00+00:00", axes=axes,
                 order_seed=0, machine=MACHINE, cells=list(cells))  # fmt: skip
    return SweepDocument(**{**basis, **changes})


def create_mixed_sweep():
    """Two models, four batch sizes, one timeout, one cell whose modes differ, one not run."""
    cells = [
        create_cell(model, size, create_result(speedup, eager_s=0.002 + 0.001 * size))
        for model, speedup in (("densenet_cifar121", 1.2), ("resnet18", 0.9))
        for size in (1, 2, 4, 8)
    ]
    cells[2].result = create_result(status="timeout")
    cells[3].result = create_result(3.0, parity="different", parity_reason="they are far apart")
    cells[7].result = None
    return create_sweep(*cells)
