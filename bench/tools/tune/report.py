"""The result of a search as data, as the blocks of a report, and as a picture.

A search's folder holds `tune.json`, the document below, `runtime.json`, the profile for --runtime,
and a record of each speed phase, such as `eager-1-screening`.

Schema 1 is of searches by racing: settings alone, together, one left out, two confirmations. Schema
2 is of forward selection.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import Any, Dict, List, Optional, Sequence, Tuple

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from typing_extensions import Literal

from ...config import Workload
from ...record.run import load_document, save_text
from ...report.blocks import Block, Figure, Heading, Table, Text
from ...report.format import MISSING, format_short_ratio
from ...verdict.judge import EQUIVALENCE, FASTER, Interval, Judgement
from .candidates import BOTH, Setting
from .fidelity import ROUNDING, Fidelity

SCHEMA_VERSION = 2
DOCUMENT_NAME, PROFILE_NAME = "tune.json", "runtime.json"
NOT_TRIED, SCREENED = "not tried", "screened"  # verdicts on a candidate that was not judged
NO_TIME = "no time was left for it; give a longer --budget"
_LONGEST_LABEL = 46


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class CandidateResult(_Strict):
    """One candidate in one phase of a search.

    `alone`: a setting against stock. `round N`: a setting joined to `base`, against `base`. Schema
    1 has `together`, several settings against stock, and `left out`: the whole without one.
    """

    phase: str
    name: str
    settings: List[Setting]  # of the program that was run
    base: Optional[str] = None  # None: stock
    left_out: Optional[str] = None
    speedup: Optional[Interval]  # base time over its time; None if it was not timed
    over_stock: Optional[Interval] = None  # of the settings that are left in `left out`
    verdict: str
    reason: str  # a sentence part
    replicates: int = Field(validation_alias=AliasChoices("replicates", "heats"))
    fidelity: Optional[Fidelity] = None  # None if it trained nothing


class Confirmation(_Strict):
    """The selected settings against stock in fresh processes, by the speed verdict."""

    name: str
    settings: List[Setting]
    verdict: str  # the judgement's, or not tried, crashed, hung
    reason: str
    judgement: Optional[Judgement]  # None if nothing was finished
    warnings: List[str] = Field(default_factory=list)  # of what disturbed the timing
    folder: Optional[str]  # of its record, within the search's folder
    fidelity: Optional[Fidelity] = None


class ModeResult(_Strict):
    """The search of one mode. Seconds."""

    mode: str
    stock_step_time_s: float  # of the first process; for scale, not for a verdict
    trained_steps: int  # whose losses and weights were compared
    candidates: List[CandidateResult] = Field(default_factory=list)
    confirmations: List[Confirmation] = Field(default_factory=list)
    chosen: Optional[str] = None  # name of the confirmed combination; None: stock stays
    settings: List[Setting] = Field(default_factory=list)  # of the chosen
    reason: str = ""  # why it was chosen, or why none
    dropped: Dict[str, str] = Field(default_factory=dict)  # setting -> why it left the search
    unfinished: List[str] = Field(default_factory=list)  # not timed beside the last selection
    phases: int = Field(0, validation_alias=AliasChoices("phases", "heats"))  # of speed
    duration_s: float = 0.0

    def of_phase(self, phase: str) -> List[CandidateResult]:
        return [candidate for candidate in self.candidates if candidate.phase == phase]

    @property
    def confirmed(self) -> Optional[Confirmation]:
        """The confirmation of the chosen settings."""
        return next((c for c in self.confirmations if c.name == self.chosen), None)


class TuneDocument(_Strict):
    """`tune.json`."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    status: Literal["running", "complete", "interrupted", "failed"] = "running"
    created: str  # ISO 8601, UTC
    workload: Workload
    budget_s: float
    machine: Dict[str, Any] = Field(default_factory=dict)
    oneflow: Optional[str] = None
    environment: Dict[str, str] = Field(default_factory=dict)  # variables that stock had already
    modes: List[ModeResult] = Field(default_factory=list)
    profile: Optional[str] = None  # its path
    warnings: List[str] = Field(default_factory=list)


def save_tuning(folder: Path, document: TuneDocument) -> None:
    """Write `tune.json`. Raises InputError if the folder cannot be written to."""
    text = document.model_dump_json(indent=1) + "\n"
    save_text(folder / DOCUMENT_NAME, text, "give --out a folder you may write to")


def load_tuning(path: Path) -> TuneDocument:
    """Read a search's folder, or the `tune.json` in it. Raises RecordError if there is none."""
    path = path / DOCUMENT_NAME if path.is_dir() else path
    document: TuneDocument = load_document(
        path, TuneDocument, (1, SCHEMA_VERSION), "search", "give a folder made by bench tune"
    )
    return document


def format_interval(interval: Optional[Interval]) -> str:
    """Base time over time with its 95 % interval; a dash if it was not timed."""
    short = interval and format_short_ratio(interval.ratio, interval.low, interval.high)
    return short or MISSING


def list_report(document: TuneDocument, picture: Optional[str] = None) -> List[Block]:
    """The report: the result, the phases of each mode, the reasons for the settings."""
    work, cpu = document.workload, document.machine.get("cpu", {})
    setup = (
        f"{work.model}, batch {work.batch_size}, {work.image_size} px, data {work.data}; "
        f"{cpu.get('model')}, {cpu.get('cores')} cores, OneFlow {document.oneflow}; budget "
        f"{document.budget_s:g} s, status {document.status}."
    )
    lines = [format_result(mode) for mode in document.modes]
    blocks: List[Block] = [Heading(document.run_id)]
    blocks.append(Text([*lines, *_list_advice(document), setup]))
    blocks += [Figure("speedup in each phase", picture)] if picture else []
    why: Dict[str, str] = {}
    for mode in document.modes:
        blocks += _list_mode(mode)
        why.update({s.name: s.why for c in mode.candidates for s in c.settings})
    rows = [[name, reason] for name, reason in why.items()]
    table = Table(["setting", "why"], rows)
    return blocks + ([Heading("Why a setting may help"), table] if rows else [])


def list_settings_blocks(mode: str, settings: Sequence[Setting]) -> List[Block]:
    """The settings that a search of `mode` would try, and why each may help."""
    table = Table(["setting", "why it may help"], [[s.name, s.why] for s in settings])
    return [Heading(f"{mode}: settings, in the order of the search"), table]


def format_result(mode: ModeResult) -> str:
    """The result of a mode in a sentence or two."""
    found = mode.confirmed
    if found is None or found.judgement is None:
        return f"{mode.mode}: stock stays; {mode.reason}."
    fidelity, parity = found.fidelity, "not known"
    if fidelity is not None:
        apart = fidelity.loss_difference
        shown = "not finite" if apart is None else f"{apart:.1e}"
        parity = f"{fidelity.verdict} over {fidelity.steps} steps"
        parity += "" if apart == 0 else f", losses at most {shown} apart (relative)"
    return (
        f"{mode.mode}: {format_interval(found.judgement.speedup)} times the speed of stock with "
        f"{found.name}. Parity with stock: {parity}."
    )


def _list_advice(document: TuneDocument) -> List[str]:
    """How to use the result, and what to know of it."""
    lines, searched = [], [mode.mode for mode in document.modes]
    if document.environment:
        shown = " ".join(f"{name}={value}" for name, value in document.environment.items())
        lines.append(f"Set in this shell, so in stock too and not searched: {shown}")
    if document.profile is not None and any(mode.settings for mode in document.modes):
        missing = [mode for mode in BOTH if mode not in searched]
        note = f" ({missing[0]} was not searched: stock)" if missing else ""
        feeds = [f" --feed {s.feed}" for m in document.modes for s in m.settings if s.feed]
        feed = "".join(feeds[:1])
        lines.append(f"profile{note}, for bench ... --runtime {document.profile}{feed}")
    elif document.profile is not None:
        lines.append(f"profile: {document.profile}; it sets nothing, which is stock")
    said = [w for mode in document.modes for c in mode.confirmations for w in c.warnings]
    return [*lines, *document.warnings, *(f"Warning: {w}." for w in dict.fromkeys(said))]


def _list_mode(mode: ModeResult) -> List[Block]:
    """A table of each phase, and the reasons that it does not show."""
    tables: Dict[str, List[List[str]]] = {}
    for c in mode.candidates:
        title = f"{c.phase}: against {c.base or ('the whole' if c.left_out else 'stock')}"
        row = _create_row(label_candidate(c), c.speedup, c.verdict, c.fidelity)
        tables.setdefault(title, []).append(row)
    for one in mode.confirmations:
        speedup = one.judgement.speedup if one.judgement else None
        row = _create_row(one.name, speedup, one.verdict, one.fidelity)
        tables.setdefault("confirmation: against stock in fresh processes", []).append(row)
    blocks: List[Block] = []
    for title, rows in tables.items():
        columns = ["setting", "speedup (95 %)", "verdict", "parity"]
        blocks += [Heading(f"{mode.mode}, {title}"), Table(columns, rows)]
    reasons = list_reasons(mode)
    return blocks + ([Text(reasons)] if reasons else [])


def _create_row(
    name: str, speedup: Optional[Interval], verdict: str, fidelity: Optional[Fidelity]
) -> List[str]:
    parity = MISSING if fidelity is None else fidelity.verdict
    return [name, format_interval(speedup), verdict, "rounding" if parity == ROUNDING else parity]


def label_candidate(candidate: CandidateResult) -> str:
    """Its name in a table of its phase."""
    if candidate.left_out:
        return f"without {candidate.left_out}"
    joined = candidate.base is not None and len(candidate.settings) > 1
    return f"+ {candidate.name}" if joined else candidate.name


def list_reasons(mode: ModeResult) -> List[str]:
    """Why settings were rejected or are not judged, if their interval does not say it."""
    lines = [
        f"{label_candidate(c)}: {c.verdict}; {c.reason}"
        for c in mode.candidates
        if c.speedup is None and c.verdict != NOT_TRIED
    ]
    lines += [f"{name} left the search: {reason}" for name, reason in mode.dropped.items()]
    lines += [
        f"{c.name}: not confirmed, {c.verdict}; {c.reason}"
        for c in mode.confirmations
        if c.verdict != FASTER
    ]
    untried = [c.name for c in mode.candidates if c.verdict == NOT_TRIED]
    if mode.unfinished:
        shown = f"{mode.chosen or 'stock'}, for lack of time: {', '.join(mode.unfinished)}"
        lines.append(f"not timed beside {shown}")
    if untried:
        lines.append(f"not tried, for lack of time (a longer --budget): {', '.join(untried)}")
    return lines


def list_bars(mode: ModeResult) -> List[Tuple[str, str, Interval]]:
    """(phase, label, interval) of everything that was timed, from top to bottom."""
    bars = [(c.phase, label_candidate(c), c.speedup) for c in mode.candidates]
    judged = [(c.name, c.judgement.speedup) for c in mode.confirmations if c.judgement]
    bars += [("confirmation", name, speedup) for name, speedup in judged]
    return [(phase, label, interval) for phase, label, interval in bars if interval is not None]


def draw_gain(document: TuneDocument, folder: Path) -> List[Path]:
    """Draw `gain` into `folder`: the ratios of every phase, a panel for each mode.

    Bars are 95 % intervals; a point without one was only screened. Nothing is drawn without times.
    """
    from ...report.pictures import PICTURE_STYLE, choose_style, plt, save_picture

    drawn = [(mode, bars) for mode in document.modes for bars in [list_bars(mode)] if bars]
    if not drawn:
        return []
    heights = [len(bars) + 2.5 for _, bars in drawn]
    with plt.rc_context(PICTURE_STYLE):
        figure, grid = plt.subplots(
            len(drawn), 1, figsize=(10, 0.6 + 0.3 * sum(heights)), layout="constrained",
            squeeze=False, gridspec_kw={"height_ratios": heights},
        )  # fmt: skip
        for axes, (mode, bars) in zip(grid[:, 0], drawn):
            axes.axvspan(1 / (1 + EQUIVALENCE), 1 + EQUIVALENCE, color="grey", alpha=0.18)
            axes.axvline(1, color="black", linewidth=0.8)
            for number, phase in enumerate(dict.fromkeys(phase for phase, _, _ in bars), start=1):
                places = [place for place, bar in enumerate(bars) if bar[0] == phase]
                mine = [bars[place][2] for place in places]
                spread = [
                    [i.ratio - (i.low or i.ratio) for i in mine],
                    [(i.high or i.ratio) - i.ratio for i in mine],
                ]
                style = {**choose_style(number, True), "linestyle": "none", "linewidth": 1.2}
                ratios = [i.ratio for i in mine]
                axes.errorbar(ratios, places, xerr=spread, capsize=3, label=phase, **style)
            labels = ["\n".join(wrap(label, _LONGEST_LABEL)[:2]) for _, label, _ in bars]
            axes.set_yticks(range(len(bars)), labels, fontsize=8)
            axes.set_ylim(len(bars) - 0.4, -0.6)
            axes.legend(loc="best", fontsize=8)
            chosen = f"chosen: {mode.chosen}" if mode.chosen else "stock stays"
            axes.set_title("\n".join(wrap(f"{mode.mode} ({chosen})", 100)), fontsize=10)
            axes.set_xlabel("speedup over the base of the phase (grey: within 2 %; bars: 95 %)")
        return save_picture(figure, folder, "gain")
