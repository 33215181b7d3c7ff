"""The changes over the stored runs of a machine.

Here are the metrics: the smallest change of each that counts, and the format of its values.
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional


class Metric(NamedTuple):
    """`min_step` is the smallest change that counts: a share of the level with `relative`, else in
    the metric's own unit. It is None for a verdict, whose every other value is a change.

    Values are shown multiplied by `factor`, in `unit`, formatted with `form`.
    """

    title: str
    unit: str
    factor: float
    form: str
    min_step: Optional[float]
    relative: bool = True
    lower_is_better: bool = True

    @property
    def heading(self) -> str:
        return f"{self.title}, {self.unit}" if self.unit else self.title


METRICS: Dict[str, Metric] = {
    "train_step_time_s": Metric("train step", "ms", 1e3, ".1f", 0.02),
    "speedup": Metric("speedup", "", 1.0, ".3f", 0.02, lower_is_better=False),
    "compile_s": Metric("compile", "s", 1.0, ".2f", 0.05),
    "peak_rss_bytes": Metric("peak memory", "MiB", 2.0**-20, ".0f", 0.02),
    "accuracy": Metric("accuracy", "%", 100.0, ".1f", 0.01, False, lower_is_better=False),
    "parity": Metric("parity", "", 1.0, "", None),
}
# worst first
VERDICTS = ("different", "inconclusive", "not judged", "equal within rounding", "identical")
