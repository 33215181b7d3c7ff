"""The results of the functions of Python: typed attributes, frames, pictures and notebooks."""

from __future__ import annotations

import html
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

from ..errors import InputError
from ..parity.gate import judge_checks
from ..parity.result import CheckDocument, ModelCheck
from ..record.run import RunRecord, write_atomically
from ..record.side import Side
from ..report.blocks import Block, format_markdown
from ..report.check import report_check
from ..report.compare import build_report, build_run_report, conclude_all
from ..report.comparison import Comparison, ContenderSummary, summarize_contender
from ..report.export.tables import list_curves
from ..report.format import format_sentence
from ..tools.inference.step import StepInference, report_step_inference
from ..tools.profile.document import LayerProfile, ProfileDocument
from ..tools.profile.report import format_text, report_profile
from ..verdict.statistics import Ratio
from .run import write_comparisons, write_report

Losses = Dict[str, List[Optional[float]]]  # by contender, one a step; None where not finite


def _create_frame(rows: List[Dict[str, Any]]) -> Any:
    try:
        import pandas  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError(
            "pandas is not installed and to_frame() gives one of its tables; run pip install "
            "pandas, or use the attributes of the result"
        ) from None
    return pandas.DataFrame(rows)


class _Result(ABC):
    """A result that a prompt shows in one line, and a notebook as its report."""

    def save(self, folder: Union[str, Path]) -> Path:
        """Write the report to a folder, of a run with its pictures and as JSON; its path."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        self._write(place)
        return place

    def _write(self, place: Path) -> None:
        write_atomically(place / "report.md", self._repr_markdown_())

    @abstractmethod
    def _report(self) -> List[Block]:
        """The whole report."""

    def __repr__(self) -> str:
        first = next(iter(str(self).splitlines()), "")
        return f"<{type(self).__name__}: {first.partition('. ')[0]}>"

    def __str__(self) -> str:
        return format_text(self._report())

    def _repr_markdown_(self) -> str:
        return format_markdown(self._report())


@dataclass(frozen=True, repr=False)
class _Recorded(_Result):
    """A run, as its record says it."""

    record: RunRecord

    @property
    def folder(self) -> Path:
        """Where the record, the report and the pictures are."""
        assert self.record.folder is not None
        return self.record.folder

    @property
    def losses(self) -> Losses:
        """The loss of every step."""
        names = self.record.contender_names()
        return {name: Side(self.record, name).list_losses() for name in names}

    def to_frame(self) -> Any:
        """A pandas.DataFrame with a row for each value of a curve: contender, series, at, value.

        Raises InputError without pandas.
        """
        run_id = self.record.document.run_id
        return _create_frame(
            [
                {"run_id": run_id, "contender": name, "series": series, "at": at,
                 "value": math.nan if value is None else float(value)}
                for name in self.record.contender_names()
                for series, parts in list_curves(Side(self.record, name))
                for ats, values in parts for at, value in zip(ats, values)
            ]
        )  # fmt: skip

    def plot(self) -> Any:
        """A matplotlib.figure.Figure with the losses, the step times and the rest."""
        from ..report.curves import list_series
        from ..report.pictures import PICTURE_STYLE, choose_pictures, draw_facts, plt

        series = list_series([self.record])
        drawn = [*choose_pictures(series).values(), draw_facts]
        with plt.rc_context(PICTURE_STYLE):
            rows = -(-len(drawn) // 2)
            figure, grid = plt.subplots(rows, 2, figsize=(14, 4.4 * rows), layout="constrained")
            for axes in grid.flat[len(drawn) :]:
                axes.axis("off")
            for axes, draw in zip(grid.flat, drawn):
                draw(axes, series)
        return figure

    def _repr_html_(self) -> str:
        from ..report.page.render import render_record

        page = html.escape(render_record(self.record, []))
        return f'<iframe srcdoc="{page}" style="width: 100%; height: 40em; border: 0"></iframe>'


@dataclass(frozen=True, repr=False)
class TrainResult(_Recorded):
    """A training in one mode."""

    @property
    def summary(self) -> ContenderSummary:
        """Losses, metrics, times and memory of the run."""
        return summarize_contender(self.record, self.record.contender_names()[0])

    def _write(self, place: Path) -> None:
        write_report(place, [self.record], partial(build_run_report, self.summary))

    def _report(self) -> List[Block]:
        return build_run_report(self.summary)


@dataclass(frozen=True, repr=False)
class RunResult(_Recorded):
    """A run of two or more contenders.

    `comparisons` has one for each contender but the baseline; the attributes are of the first.
    """

    comparisons: List[Comparison]

    @property
    def verdict(self) -> str:
        """Of the speed: faster, slower, equivalent or inconclusive."""
        return self.comparisons[0].speed_verdict

    @property
    def speedup(self) -> Optional[Ratio]:
        """The baseline's step time over the contender's, with its 95 % interval."""
        return self.comparisons[0].speedup

    @property
    def parity(self) -> str:
        """Identical, equal within rounding, different, inconclusive or not judged."""
        return self.comparisons[0].parity

    def _write(self, place: Path) -> None:
        write_comparisons(self.comparisons, self.record, place)

    def _report(self) -> List[Block]:
        return build_report(self.comparisons, self.record.document.unavailable)

    def __str__(self) -> str:
        return "\n".join(conclude_all(self.comparisons))


@dataclass(frozen=True, repr=False)
class CheckResult(_Result):
    """A parity check of eager and graph mode."""

    document: CheckDocument
    folder: Path

    @property
    def check(self) -> ModelCheck:
        """All levels, the first difference and its cause."""
        return self.document.checks[0]

    @property
    def parity(self) -> str:
        """Identical, equal within rounding, different or inconclusive."""
        return self.check.verdict

    @property
    def losses(self) -> Losses:
        """The loss of every step."""
        sides = {"eager": self.check.eager, "graph": self.check.graph}
        return {name: list(side.losses) for name, side in sides.items() if side is not None}

    def to_frame(self) -> Any:
        """A pandas.DataFrame with a row for each level. Raises InputError without pandas."""
        return _create_frame([level.model_dump() for level in self.check.levels])

    def _report(self) -> List[Block]:
        return report_check(self.document, judge_checks(self.document))

    def __str__(self) -> str:
        return f"Parity: {self.parity}. {format_sentence(self.check.reason)}"


@dataclass(frozen=True, repr=False)
class ProfileResult(_Result):
    """The time of each layer, in a step or as a graph of its own."""

    document: ProfileDocument
    folder: Path

    @property
    def layers(self) -> List[LayerProfile]:
        """The layers in the order of their first call."""
        return self.document.layers

    def to_frame(self) -> Any:
        """A pandas.DataFrame with a row for each layer. Raises InputError without pandas."""
        return _create_frame([layer.model_dump() for layer in self.layers])

    def _report(self) -> List[Block]:
        return report_profile(self.document)


@dataclass(frozen=True, repr=False)
class InferenceResult(_Result):
    """Latency and throughput by batch size."""

    document: StepInference

    @property
    def agrees(self) -> bool:
        """Whether the outputs of the modes agree at each batch size."""
        return self.document.agrees

    def to_frame(self) -> Any:
        """A pandas.DataFrame, a row a batch size and mode. Raises InputError without pandas."""
        return _create_frame(
            [
                {"batch_size": one.batch_size, **mode.model_dump(exclude={"latency_s"}),
                 "latency_s": mode.latency_s.median}
                for one in self.document.batches for mode in one.modes
            ]
        )  # fmt: skip

    def _report(self) -> List[Block]:
        return report_step_inference(self.document)
