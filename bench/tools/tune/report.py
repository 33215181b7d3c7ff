"""The result of a search as data, as the blocks of a report, and as a picture.

A search's folder holds `tune.json`, the document below, `runtime.json`, the profile for --runtime,
and a record of each speed phase, such as `eager-1-round-1`.

Schema 1 is of searches by racing: settings alone, together, one left out, two confirmations. Schema
2 is of forward selection.
"""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import wrap
from typing import Any, Dict, List, Optional, Sequence, Tuple

from pydantic import AliasChoices, BaseModel, Field, model_validator
from typing_extensions import Literal

from ...config import STEP_DATA, Workload
from ...record.checksum import format_document
from ...record.machine import Environment
from ...record.run import load_document, save_text
from ...report.blocks import Block, Figure, Heading, Table, Text
from ...report.format import MISSING, format_short_ratio
from ...verdict.judge import EQUIVALENCE, Interval
from ...worker.runtime_profile import ProfileVariables, RuntimeProfile, describe_profile_machine
from .candidates import BOTH, GRAPH, STOCK_NAME, Setting, create_program
from .parity import Outcome

SCHEMA_VERSION = 2
DOCUMENT_NAME, PROFILE_NAME = "tune.json", "runtime.json"
ALONE, CONFIRMATION = "alone", "confirmation"  # phases; the others are rounds
NOT_TRIED = "not tried"  # verdict on a candidate without a process
UNTRIED = Outcome(verdict=NOT_TRIED, reason="no time was left for it; give a longer --budget")


class CandidateResult(Outcome):
    """One candidate in one phase of a search.

    `alone`: the check of a setting. `round N`: a setting joined to `base`, against `base`.
    `confirmation`: the selected settings against stock. Schema 1 has `together`, several settings
    against stock, and `left out`: the whole without one.
    """

    phase: str
    name: str
    settings: List[Setting]  # of the program that was run
    base: Optional[str] = None  # None: stock
    left_out: Optional[str] = None

    @property
    def label(self) -> str:
        if self.left_out:
            return f"without {self.left_out}"
        return self.name if self.base in (None, STOCK_NAME) else f"+ {self.name}"


class ModeResult(BaseModel):
    """The search of one mode. Seconds."""

    mode: str
    stock_step_time_s: float  # of the first process; for scale, not for a verdict
    trained_steps: int  # whose losses and weights were compared
    candidates: List[CandidateResult] = Field(default_factory=list)
    chosen: Optional[str] = None  # name of the confirmed combination; None: stock stays
    settings: List[Setting] = Field(default_factory=list)  # of the chosen
    reason: str = ""  # why it was chosen, or why none; "" until the search of the mode ends
    dropped: Dict[str, str] = Field(default_factory=dict)  # setting -> why it left the search
    unfinished: List[str] = Field(default_factory=list)  # not timed beside the last selection
    phases: int = Field(0, validation_alias=AliasChoices("phases", "heats"))  # of speed
    duration_s: float = 0.0

    @model_validator(mode="before")
    @classmethod
    def _read_confirmations(cls, values: Dict[str, Any]) -> Dict[str, Any]:
        """Schema 1 keeps them apart, with the whole judgement."""
        candidates = list(values.get("candidates", []))
        for one in values.get("confirmations", []):
            timed = one["judgement"] or {}
            found = {name: timed[name] for name in ("speedup", "replicates") if name in timed}
            candidates.append({**one, **found, "phase": CONFIRMATION})
        return {**values, "candidates": candidates}

    def of_phase(self, phase: str) -> List[CandidateResult]:
        return [candidate for candidate in self.candidates if candidate.phase == phase]

    @property
    def confirmed(self) -> Optional[CandidateResult]:
        """The confirmation of the chosen settings."""
        return next((c for c in self.of_phase(CONFIRMATION) if c.name == self.chosen), None)


class TuneDocument(BaseModel, extra="forbid"):
    schema_version: int = SCHEMA_VERSION
    run_id: str
    status: Literal["running", "complete", "interrupted", "failed"] = "running"
    created: str  # ISO 8601, UTC
    workload: Workload
    budget_s: float
    machine: Environment = Field(default_factory=dict)
    oneflow: Optional[str] = None
    environment: Dict[str, str] = Field(default_factory=dict)  # variables that stock had already
    modes: List[ModeResult] = Field(default_factory=list)
    profile: Optional[str] = None  # its path
    warnings: List[str] = Field(default_factory=list)


def save_tuning(folder: Path, document: TuneDocument) -> None:
    """Write `tune.json`. Raises InputError if the folder cannot be written to."""
    remedy = "give --out a folder you may write to"
    save_text(folder / DOCUMENT_NAME, format_document(document), remedy)


def load_tuning(path: Path) -> TuneDocument:
    """Read a search's folder, or the `tune.json` in it. Raises RecordError if there is none."""
    path = path / DOCUMENT_NAME if path.is_dir() else path
    remedy = "give a folder made by bench tune"
    return load_document(path, TuneDocument, (1, SCHEMA_VERSION), "search", remedy)


def create_profile(document: TuneDocument, python: Optional[str]) -> RuntimeProfile:
    """The chosen variables of each mode and the graph's options; nothing for a mode without."""
    chosen = {
        mode.mode: create_program(mode.mode, mode.settings, document.workload).contender
        for mode in document.modes
    }
    return RuntimeProfile(
        machine=describe_profile_machine(python or sys.executable),
        variables=ProfileVariables(**{mode: found.env for mode, found in chosen.items()}),
        graph_options=chosen[GRAPH].graph_options if GRAPH in chosen else {},
    )


def format_interval(interval: Optional[Interval]) -> str:
    """Base time over time with its 95 % interval; a dash if it was not timed."""
    short = interval and format_short_ratio(interval.ratio, interval.low, interval.high)
    return short or MISSING


def list_report(document: TuneDocument, pictures: Sequence[Path] = ()) -> List[Block]:
    """The report: the result, the phases of each mode, the reasons for the settings."""
    work, cpu = document.workload, document.machine.get("cpu", {})
    size = f", batch {work.batch_size}, {work.image_size} px" if work.data != STEP_DATA else ""
    setup = (
        f"{work.model}{size}, data {work.data}; "
        f"{cpu.get('model')}, {cpu.get('cores')} cores, OneFlow {document.oneflow}; budget "
        f"{document.budget_s:g} s, status {document.status}."
    )
    lines = [format_result(mode) for mode in document.modes]
    blocks: List[Block] = [Heading(document.run_id)]
    blocks.append(Text([*lines, *_list_advice(document), setup]))
    blocks += [Figure("speedup in each phase", path.name) for path in pictures[:1]]
    blocks += [block for mode in document.modes for block in _list_mode(mode)]
    candidates = [c for mode in document.modes for c in mode.candidates]
    why = {setting.name: setting.why for c in candidates for setting in c.settings}
    table = Table(["setting", "why"], [[name, reason] for name, reason in why.items()])
    return blocks + ([Heading("Why a setting may help"), table] if why else [])


def format_result(mode: ModeResult) -> str:
    """The result of a mode in a sentence or two."""
    if not mode.reason:
        checked = sum(c.verdict != NOT_TRIED for c in mode.of_phase(ALONE))
        return (
            f"{mode.mode}: no result, because the search did not finish; settings checked: "
            f"{checked}. Run bench tune again."
        )
    found = mode.confirmed
    if found is None or found.speedup is None:
        return f"{mode.mode}: stock stays; {mode.reason}."
    parity = "not known"
    if found.fidelity is not None:
        apart = found.fidelity.loss_difference
        shown = "not finite" if apart is None else f"{apart:.1e}"
        parity = f"{found.fidelity.verdict} over {found.fidelity.steps} steps"
        parity += "" if apart == 0 else f", losses at most {shown} apart (relative)"
    return (
        f"{mode.mode}: {format_interval(found.speedup)} times the speed of stock with "
        f"{found.name}. Parity with stock: {parity}."
    )


def _list_advice(document: TuneDocument) -> List[str]:
    """How to use the result, and what to know of it."""
    lines, settings = [], [s for mode in document.modes for s in mode.settings]
    if document.environment:
        shown = " ".join(f"{name}={value}" for name, value in document.environment.items())
        lines.append(f"Set in this shell, so in stock too and not searched: {shown}")
    if document.profile is not None and settings:
        missing = set(BOTH) - {mode.mode for mode in document.modes}
        note = "".join(f" ({mode} was not searched: stock)" for mode in missing)
        feed = "".join([f" --feed {s.feed}" for s in settings if s.feed][:1])
        lines.append(f"profile{note}, for bench ... --runtime {document.profile}{feed}")
        lines += [
            f"{mode.mode} needs --blas {s.blas} too, because no file preloads a BLAS"
            for mode in document.modes
            for s in mode.settings
            if s.blas
        ]
    elif document.profile is not None:
        lines.append(f"profile: {document.profile}; it sets nothing, which is stock")
    told = [w for m in document.modes for c in m.of_phase(CONFIRMATION) for w in c.warnings]
    return [*lines, *document.warnings, *(f"Warning: {w}." for w in dict.fromkeys(told))]


def _list_mode(mode: ModeResult) -> List[Block]:
    """A table of each phase, and the reasons that it does not show."""
    tables: Dict[str, List[List[str]]] = {}
    for c in mode.candidates:
        fresh = " in fresh processes" if c.phase == CONFIRMATION else ""
        base = "the whole" if c.left_out else c.base or STOCK_NAME
        parity = MISSING if c.fidelity is None else c.fidelity.verdict
        row = [c.label, format_interval(c.speedup), c.verdict, parity.replace("equal within ", "")]
        tables.setdefault(f"{mode.mode}, {c.phase}: against {base}{fresh}", []).append(row)
    blocks: List[Block] = []
    for title, rows in tables.items():
        columns = ["setting", "speedup (95 %)", "verdict", "parity"]
        blocks += [Heading(title), Table(columns, rows)]
    reasons = list_reasons(mode)
    return blocks + ([Text(reasons)] if reasons else [])


def list_reasons(mode: ModeResult) -> List[str]:
    """Why settings were rejected or are not judged, if their interval does not say it."""
    lines = []
    for c in mode.candidates:
        if c.phase == CONFIRMATION and c.name != mode.chosen:
            lines.append(f"{c.name}: not confirmed, {c.verdict}; {c.reason}")
        elif c.speedup is None and c.verdict != NOT_TRIED:
            lines.append(f"{c.label}: {c.verdict}; {c.reason}")
    lines += [f"{name} left the search: {reason}" for name, reason in mode.dropped.items()]
    if mode.unfinished:
        shown = f"{mode.chosen or 'stock'}, for lack of time: {', '.join(mode.unfinished)}"
        lines.append(f"not timed beside {shown}")
    untried = [c.name for c in mode.of_phase(ALONE) if c.verdict == NOT_TRIED]
    if untried:
        lines.append(f"not tried, for lack of time (a longer --budget): {', '.join(untried)}")
    return lines


def draw_gain(document: TuneDocument, folder: Path) -> List[Path]:
    """Draw `gain` into `folder`: the ratios of every phase, a panel for each mode.

    Bars are 95 % intervals; a point without one was only screened. Nothing is drawn without times.
    """
    from ...report.curves import choose_style
    from ...report.pictures import PICTURE_STYLE, plt, save_picture

    drawn = [mode for mode in document.modes if list_bars(mode)]
    if not drawn:
        return []
    heights = [len(list_bars(mode)) + 2.5 for mode in drawn]
    size, ratios = (10, 0.6 + 0.3 * sum(heights)), {"height_ratios": heights}
    with plt.rc_context(PICTURE_STYLE):
        figure, grid = plt.subplots(
            len(drawn), 1, figsize=size, layout="constrained", squeeze=False, gridspec_kw=ratios
        )
        for axes, mode in zip(grid[:, 0], drawn):
            bars = list_bars(mode)
            axes.axvspan(1 / (1 + EQUIVALENCE), 1 + EQUIVALENCE, color="grey", alpha=0.18)
            axes.axvline(1, color="black", linewidth=0.8)
            for number, phase in enumerate(dict.fromkeys(c.phase for c, _ in bars), start=1):
                style = {**choose_style(number, True), "linestyle": "none", "linewidth": 1.2}
                mine = [(place, i) for place, (c, i) in enumerate(bars) if c.phase == phase]
                low = [i.ratio - (i.low or i.ratio) for _, i in mine]
                high = [(i.high or i.ratio) - i.ratio for _, i in mine]
                places, x = [place for place, _ in mine], [i.ratio for _, i in mine]
                axes.errorbar(x, places, xerr=[low, high], capsize=3, label=phase, **style)
            labels = ["\n".join(wrap(c.label, 46)[:2]) for c, _ in bars]
            axes.set_yticks(range(len(bars)), labels, fontsize=8)
            axes.set_ylim(len(bars) - 0.4, -0.6)
            axes.legend(loc="best", fontsize=8)
            stays = "stock stays" if mode.reason else "not finished"
            chosen = f"chosen: {mode.chosen}" if mode.chosen else stays
            axes.set_title("\n".join(wrap(f"{mode.mode} ({chosen})", 100)), fontsize=10)
            axes.set_xlabel("speedup over the base of the phase (grey: within 2 %; bars: 95 %)")
        return save_picture(figure, folder, "gain")


def list_bars(mode: ModeResult) -> List[Tuple[CandidateResult, Interval]]:
    """Everything that was timed, from top to bottom."""
    return [(c, c.speedup) for c in mode.candidates if c.speedup is not None]
