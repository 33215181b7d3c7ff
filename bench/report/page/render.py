"""The HTML page of a run or a comparison: it works offline and no request leaves it."""

from __future__ import annotations

import base64
import shlex
from functools import lru_cache
from importlib.resources import read_text
from pathlib import Path
from typing import Any, Dict, List, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ...record.run import Document, RunRecord
from ...verdict.judge import EQUIVALENT, FASTER, INCONCLUSIVE, SLOWER
from ..before_after import compare_record
from ..blocks import Block, Figure, Table, Text, format_html, format_prose, strip_controls
from ..commands import describe_longer, spell_command, spell_model
from ..compare import build_report, build_run_report, conclude, conclude_all, list_notes
from ..comparison import Comparison, summarize_contender
from ..format import MISSING, format_break_even, format_mib
from ..parity import NOT_JUDGED
from ..rows import explain
from .figures import draw_charts, draw_forest

ASSETS = ("page.css", "page.js", "uPlot.css", "uPlot.js", "uPlot.LICENSE")
PARITY_ANSWERS = {  # verdict -> kind, answer
    "identical": ("good", "Yes, bit for bit"),
    "equal within rounding": ("good", "Yes, within rounding"),
    "different": ("bad", "No, they differ"),
    INCONCLUSIVE: ("open", "Not decided"),
    NOT_JUDGED: ("open", "Not judged"),
}
SPEED_ANSWERS = {
    FASTER: ("good", "Yes, {} is faster"),
    SLOWER: ("bad", "No, {} is slower"),
    EQUIVALENT: ("open", "No difference that matters"),
    INCONCLUSIVE: ("open", "Not decided"),
}


def render_record(record: RunRecord, pictures: Sequence[Path]) -> str:
    """The page of a stored run, which compared contenders or trained one."""
    if len(names := record.racing_names()) == 1:
        blocks = build_run_report(summarize_contender(record, names[0]))
        return render_page([record], blocks, pictures=pictures)
    comparisons = compare_record(record)
    blocks = build_report(comparisons, record.document.unavailable)
    return render_page([record], blocks, comparisons, pictures)


def render_page(
    records: Sequence[RunRecord],
    blocks: Sequence[Block],
    comparisons: Sequence[Comparison] = (),
    pictures: Sequence[Path] = (),
) -> str:
    """The page, of the same `blocks` as the other renderings of the report.

    The verdicts come first, then the curves, the tables, the machine and the command. A picture is
    shown where no script runs and on paper.
    """
    shown_above = [Text(conclude_all(comparisons)), Text(notes := list_notes(comparisons))]
    rest = [b for b in blocks[1:] if not isinstance(b, Figure) and b not in shown_above]
    charts = draw_charts(list(records))
    title = getattr(blocks[0], "text", "Report")
    return render_template(
        "page.html",
        title=title,
        runs=[_describe_run(one.document) for one in records],
        verdicts=[_describe_verdicts(one, records[-1].document) for one in comparisons],
        notes=notes,
        forest=draw_forest(comparisons, records[-1].document.measuring.margin),
        charts=charts,
        images=_embed(pictures),
        tables=Markup(format_html(rest, explain)),
        machine=Markup(format_html([_describe_machines(records)])),
        commands=[spell_command(one.document) for one in records],
    )


def render_template(name: str, **values: Any) -> str:
    """A template of this folder with its style and scripts. Every value is escaped."""
    environment = _create_environment()
    assets = {name: Markup(read_text(__package__, name)) for name in ASSETS}
    page: str = environment.get_template(name).render(assets=assets, **values)
    return page


@lru_cache(maxsize=None)
def _create_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__, ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=lambda v: strip_controls(v) if type(v) is str else v,
    )
    environment.filters["prose"] = lambda line: Markup(format_prose(line))
    return environment


def _describe_run(document: Document) -> str:
    facts = f"{document.run_id}, {document.status}, {document.created[:16].replace('T', ' ')} UTC"
    return f"{facts}: {document.error}" if document.error else facts


def _describe_verdicts(one: Comparison, document: Document) -> Dict[str, Any]:
    """Both answers in words, their reasons, and the next steps."""
    parity, speed = conclude(one)
    kind, answer = PARITY_ANSWERS[one.parity]
    if one.parity_expected:
        kind, answer = "open", "No, by a known difference"
    trusted = kind == "good" or one.parity_expected
    cards = [{"question": "The same model?", "kind": kind, "answer": answer, "reason": parity}]
    kind, answer = SPEED_ANSWERS[one.speed_verdict]
    answer = answer.format(one.contender.name)
    if one.speed_verdict == FASTER and not trusted:
        kind, answer = "open", "Faster, which counts once it is faithful"
    cards.append({"question": "Worth it?", "kind": kind, "answer": answer, "reason": speed})
    return {"name": one.contender.name, "cards": cards, "steps": advise(one, document)}


def advise(one: Comparison, document: Document) -> List[str]:
    """The next steps, one sentence or two for each verdict."""
    name, model = one.contender.name, shlex.join(spell_model(document.workload))
    check, tune = f"`bench check {model}`", f"`bench tune {model}`"
    parity = {
        "different": f"Do not train with {name} yet. {check} names the first tensor that differs "
        "and writes a script that shows it.",
        INCONCLUSIVE: f"Parity is open. {check} judges it alone, with a longer training.",
        NOT_JUDGED: f"Parity is open. {check} with the flags of this run judges it.",
    }.get(one.parity)
    if one.parity_expected:
        parity = "OneFlow is known to differ here. The table of the levels names the tensors."
    longer = "A `bench compare` with its speed phase decides it."
    if one.speed:
        longer = describe_longer(one.speed, one.continuation, document.measuring.replicates)
    pays = format_break_even(one.break_even, one.speedup)
    gain = f" Its compile time pays for itself {pays}." if pays != MISSING else ""
    speed = {
        FASTER: f"Train with {name}.{gain}",
        SLOWER: f"Train with {one.baseline.name}. {tune} searches for a faster faithful runtime.",
        EQUIVALENT: f"Choose either. {tune} searches for a faster faithful runtime.",
        INCONCLUSIVE: f"Speed is open. {longer}",
    }[one.speed_verdict]
    if one.speed_verdict == FASTER and parity is not None and not one.parity_expected:
        return [parity]
    return [parity, speed] if parity else [speed]


def _embed(pictures: Sequence[Path]) -> Dict[str, str]:
    """Name of a chart -> its picture as a data URL."""
    shown = [path for path in pictures if path.suffix == ".png"]
    encoded = {path.stem: base64.b64encode(path.read_bytes()).decode() for path in shown}
    return {name: f"data:image/png;base64,{data}" for name, data in encoded.items()}


def _describe_machines(records: Sequence[RunRecord]) -> Table:
    """A column for each run."""
    columns = [_list_machine(one.document) for one in records]
    rows = [[label, *(column[label] for column in columns)] for label in columns[0]]
    return Table(["", *(one.document.run_id for one in records)], rows)


def _list_machine(document: Document) -> Dict[str, str]:
    start, end = document.environment_start, document.environment_end
    cpu, project = start.get("cpu") or {}, start.get("project") or {}
    kernels = start.get("blas_kernel") or {}
    loads = [" ".join(f"{x:.1f}" for x in side.get("load") or []) for side in (start, end)]
    values = {
        "processor": f"{cpu.get('model') or 'unknown'}, {cpu.get('cores') or '?'} cores",
        "memory, MiB": format_mib(start.get("memory_bytes")),
        "platform": start.get("platform"),
        "Python": start.get("python"),
        "BLAS kernel": ", ".join(sorted({str(one) for one in kernels.values() if one})),
        "load before (1, 5, 15 minutes)": loads[0],
        "load after": loads[1],
        "git branch and commit": " ".join(str(v) for v in project.values() if v),
        "checksum of the data": start.get("data_checksum"),
    }
    return {label: str(value or MISSING) for label, value in values.items()}
