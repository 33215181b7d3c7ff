"""The three doors of the parity check as a user opens them, each on a kind of `own.py`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from faults.own import (
    ASSIGNED,
    DOORS,
    FROZEN,
    HOOK,
    IN_PLACE,
    KINDS,
    RANDOM,
    STOPPED,
    UNCOMPILED,
    VARIABLE,
    Kind,
)

Row = Dict[str, Any]

BENCHMARKS = Path(__file__).resolve().parent.parent
TIMEOUT_S = 1800.0
# small, but not so small that OneFlow's launch race ends a process
SMALL = {"data": "synthetic", "image_size": 32, "batch_size": 8, "num_classes": 10, "epochs": 3,
         "steps_per_epoch": 2, "lr": 0.01, "lr_step": 2, "lr_gamma": 0.5}  # fmt: skip
SCRIPT_EVERY = 8  # rows; the search of a script takes longer than all else
CAUSES = {  # sentences of a report that give a cause
    RANDOM: r"the modes draw different numbers",
    FROZEN: r"a graph keeps the (numbers|value)",
    HOOK: r"forward hooks of .* do not run in a graph",
    ASSIGNED: r"a graph does not keep that",
    IN_PLACE: r"forward works in place on its input",
    STOPPED: r"cuts its output off from the backward pass",
    UNCOMPILED: r"forward cannot be compiled at \S*own(_\w+)?\.py:\d+: `"
    r"|forward makes the parameter \S+, which neither",
}


def run_door(kind: Kind, door: str, with_script: bool = False) -> Row:
    """The row of one kind by one door: found, named, and the causes that the report gives."""
    start = time.monotonic()
    statuses = kind.statuses
    if (
        door == "assert" and not kind.is_control
    ):  # it raises ParityError, or ValueError if it refuses
        statuses = (1, 2) if 2 in kind.statuses else (1,)
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "run"
        command = [sys.executable, "-m", *_create_arguments(kind, door, out, with_script)]
        status, text = _run(command, kind)
        if status == 4:  # a worker died: OneFlow's launch race
            if door != "assert":
                command[-1] = str(out.with_name("again"))
            status, text = _run(command, kind)
        documents = [text] if door == "assert" else list(_read_documents(out.parent))
    levels = next(filter(None, map(_find_levels, documents)), [])
    level, name = _find_first(levels)
    report = text + "".join(documents)
    backward = re.search(r"begin to differ in the backward pass of ([^\s;\"]+)", report)
    name = backward[1] if backward else name
    causes = [cause for cause, words in CAUSES.items() if re.search(words, report)]
    # Python's own status is 1 too, and an error without levels judges nothing
    judged = bool(levels) or UNCOMPILED in causes
    crashed = status == 1 and (not judged or "Traceback (most recent call last)" in text)
    found = status in statuses and not crashed
    named = found and (kind.is_control or _is_named(kind, level, name, report))
    scripts = re.findall(r'"script": "([^"]+)"', report)
    return {
        "kind": kind.name,
        "door": door,
        "verdict": "crashed" if crashed else f"status {status}",
        "reason": f"{level}: {name}" if name else f"status {status}",
        "control": kind.is_control,
        "found": found,
        "level": level,
        "name": name,
        "named": named,
        "cause": kind.cause,
        "causes": causes,
        "right_cause": kind.cause in causes if kind.cause and found else None,
        "wrong_cause": found and any(cause != kind.cause for cause in causes),
        "with_script": with_script,
        "script": scripts[0] if scripts else None,
        "text": "" if named else re.sub(r"(/[\w.+-]+)+/", "", text[-600:]),  # no path of a machine
        "duration_s": time.monotonic() - start,
    }


def list_cases(kinds: List[Kind]) -> List[Tuple[str, Tuple[Kind, str, bool]]]:
    """Name and arguments of `run_door` for each kind and each door that it has."""
    pairs = [(kind, door) for kind in kinds for door in kind.doors]
    scripted = {name for name in list(KINDS)[::SCRIPT_EVERY]}
    return [
        (f"{kind.name}/{door}", (kind, door, door == "check" and kind.name in scripted))
        for kind, door in pairs
    ]


def _create_arguments(kind: Kind, door: str, out: Path, with_script: bool) -> List[str]:
    if door == "assert":
        return ["faults.assert_door"]
    flags = {"model": "faults.own:model", **SMALL, **kind.flags}
    texts = [text for name, value in flags.items() for text in (_flag(name), str(value))]
    extra = ["--no-speed"] if door == "compare" else []
    program = "oneflow_bench" if with_script else "faults.named_only"
    return [program, door, *texts, *extra, "--out", str(out)]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _run(command: List[str], kind: Kind) -> Tuple[Optional[int], str]:
    paths = [str(BENCHMARKS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, VARIABLE: kind.name, "PYTHONPATH": os.pathsep.join(paths),
                   "COLUMNS": "250"}  # fmt: skip
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", timeout=TIMEOUT_S, check=False,
            preexec_fn=_avoid_launch_race,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None, "no end within the time limit"
    return done.returncode, done.stdout


def _avoid_launch_race() -> None:
    """OneFlow's launch race ends fewer processes under this scheduling."""
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _read_documents(folder: Path) -> Iterator[str]:
    """The JSON documents of a run; its events and values are not among them."""
    for path in sorted(folder.rglob("*.json")):
        yield path.read_text(encoding="utf-8")


def _find_levels(document: str) -> List[Row]:
    """The levels of the first check in a document, wherever in it they are."""
    for line in [document, *document.splitlines()]:
        try:
            found = list(_search(json.loads(line)))
        except ValueError:
            continue
        if found:
            return found[0]
    return []


def _search(node: Any) -> Iterator[List[Row]]:
    if isinstance(node, dict):
        levels = node.get("levels")
        if isinstance(levels, list) and levels and "first_different" in levels[0]:
            origin = node.get("origin")
            yield [{"first_different": origin}, *levels] if origin else levels
        for child in node.values():
            yield from _search(child)
    elif isinstance(node, list):
        for child in node:
            yield from _search(child)


def _find_first(levels: List[Row]) -> Tuple[Optional[str], Optional[str]]:
    first = next((level["first_different"] for level in levels if level["first_different"]), None)
    return (first["level"], first["name"]) if first else (None, None)


def _is_named(kind: Kind, level: Optional[str], name: Optional[str], report: str) -> bool:
    """The first difference is at the right level and tensor; without one, the report has a name."""
    if name is not None and level is not None:
        return bool(re.search(kind.levels, level) and re.search(kind.names, name))
    if kind.cause in (RANDOM, UNCOMPILED):  # a verdict without a tensor that differs
        return bool(re.search(CAUSES[kind.cause], report, re.I))
    return False


def write_confusion(rows: List[Row]) -> List[str]:
    """Markdown lines: found, named and cause by door, and each row that is not as it should be."""
    if not rows:
        return []
    planted = [row for row in rows if not row["control"]]
    controls = [row for row in rows if row["control"]]
    kinds = len({row["kind"] for row in planted})
    lines = ["## One kind of fault, three doors", "",
             f"{kinds} kinds with a fault, {len(planted)} rows. Beside these, "
             f"{sum(row['named'] for row in controls)} of {len(controls)} controls with nothing "
             "planted pass. *named*: the first difference is at the planted level and tensor. "
             "*right cause*: of the kinds that have one. *wrong cause*: any other is given.", "",
             "| door | planted | found | named | right cause | no cause | wrong cause | crashed |",
             "|---|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for door in DOORS:
        ours = [row for row in planted if row["door"] == door]
        if ours:
            caused = [row for row in ours if row["cause"]]
            right = sum(bool(row["right_cause"]) for row in caused)
            silent = sum(not row["causes"] for row in caused)
            shares = [f"{count} ({count / len(ours):.1%})"
                      for count in (_count(ours, "found"), _count(ours, "named"))]  # fmt: skip
            crashed = sum(row["verdict"] == "crashed" for row in ours)
            cells = [door, len(ours), *shares, f"{right} of {len(caused)}", silent,
                     _count(ours, "wrong_cause"), crashed]  # fmt: skip
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    scripted = [row for row in planted if row["with_script"]]
    lines += ["", f"A script was searched for {len(scripted)} rows of `bench check`, every "
              f"{SCRIPT_EVERY}th kind. {_count(scripted, 'script')} rows have one."]  # fmt: skip
    done = {(row["kind"], row["door"]) for row in rows}
    for door in DOORS:
        without = [kind.name for kind in KINDS.values() if door not in kind.doors]
        waiting = [kind.name for kind in KINDS.values()
                   if door in kind.doors and (kind.name, door) not in done]  # fmt: skip
        for names, why in ((without, "cannot be planted"), (waiting, "did not run yet")):
            if names:
                lines += ["", f"By {door}, {len(names)} {why}: {'; '.join(names)}."]
    flawed = [row for row in rows if not row["named"] or row["wrong_cause"]]
    if flawed:
        lines += ["", "| kind | door | found | first difference | causes given | right cause |",
                  "|---|---|---|---|---|---|"]  # fmt: skip
    for row in flawed:
        cells = [row["kind"], row["door"], "yes" if row["found"] else row["verdict"],
                 row["reason"], ", ".join(row["causes"]), row["cause"] or "-"]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _count(rows: List[Row], key: str) -> int:
    return sum(bool(row[key]) for row in rows)
