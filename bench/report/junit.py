"""A check as JUnit XML: a suite for each model, a case for each level and each baseline metric.

The elements and attributes are those that Jenkins's xUnit reader accepts (junit-10), which GitLab,
CircleCI and the GitHub actions read too.
"""

from __future__ import annotations

from typing import List, Optional, Sequence
from xml.etree import ElementTree

from ..parity.findings import Finding
from ..parity.gate import Judged
from ..parity.result import CheckDocument, LevelResult, ModelCheck, Origin
from .blocks import strip_controls
from .check import format_pair

_PROPERTIES = ("oneflow", "blas_kernel", "run_id")
_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def format_junit(document: CheckDocument, judged: Sequence[Judged]) -> str:
    """The XML text. Different and worse: failure; a worker that failed: error; inconclusive and
    not compared: skipped, with the reason."""
    root = ElementTree.Element("testsuites", name="bench check")
    for one in judged:
        root.append(_create_suite(document, one))
    for name in ("failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    root.set("tests", str(sum(int(suite.get("tests", "0")) for suite in root)))
    root.set("time", f"{sum(one.check.duration_s for one in judged):.3f}")
    _break_lines(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'


def _create_suite(document: CheckDocument, judged: Judged) -> ElementTree.Element:
    check = judged.check
    suite = ElementTree.Element("testsuite", name=check.model, timestamp=document.created[:19])
    properties = ElementTree.SubElement(suite, "properties")
    for name in _PROPERTIES:
        value = str(getattr(document, name) or "unknown")
        ElementTree.SubElement(properties, "property", name=name, value=value)
    cases = [
        *_overall_cases(check),
        *_speed_cases(check),
        *(_level_case(check, level) for level in check.levels),
        *(_finding_case(check, finding) for finding in judged.findings),
    ]
    suite.extend(cases)
    suite.set("tests", str(len(cases)))
    for attribute, element in _COUNTED.items():
        suite.set(attribute, str(sum(case.find(element) is not None for case in cases)))
    suite.set("time", f"{check.duration_s:.3f}")
    return suite


def _create_case(
    check: ModelCheck, group: str, name: str, element: Optional[str], reason: str, text: str = ""
) -> ElementTree.Element:
    """`element`: failure, error or skipped; None passes, and the reason is its output."""
    case = ElementTree.Element("testcase", classname=f"bench.{group}.{check.model}", name=name)
    if element is None:
        ElementTree.SubElement(case, "system-out").text = strip_controls(reason)
    else:
        message = strip_controls(reason)
        said = ElementTree.SubElement(case, element, message=message, type=group)
        said.text = strip_controls(text) or message
    return case


def _overall_cases(check: ModelCheck) -> List[ElementTree.Element]:
    """What no level tells: a worker that failed, a mode that does not repeat itself."""
    if check.error is not None:
        return [_create_case(check, "check", "worker", "error", *_split_error(check.error))]
    if check.verdict not in ("different", "inconclusive"):
        return []
    if any(level.verdict == check.verdict for level in check.levels):
        return []
    element = "failure" if check.verdict == "different" else "skipped"
    return [_create_case(check, "check", "verdict", element, check.reason)]


def _speed_cases(check: ModelCheck) -> List[ElementTree.Element]:
    """The speed, where it was asked for; it fails only beside a baseline, as a metric of it."""
    speedup = check.speedup
    if speedup is None:
        return []
    if speedup.error is not None:
        return [_create_case(check, "check", "speed", "error", *_split_error(speedup.error))]
    element = "skipped" if speedup.verdict == "inconclusive" else None
    ratio = "" if speedup.ratio is None else f" {speedup.ratio:.3f}"
    said = f"{speedup.verdict}{ratio}: {speedup.reason}"
    return [_create_case(check, "check", "speed", element, said)]


def _split_error(error: str) -> List[str]:
    return [error.splitlines()[0], error]


def _level_case(check: ModelCheck, level: LevelResult) -> ElementTree.Element:
    element = {"different": "failure", "inconclusive": "skipped"}.get(level.verdict)
    text = level.reason
    if check.origin is not None and check.origin.level == level.level:
        text += "\n" + _describe_origin(check.origin)
    reason = f"{level.verdict}: {level.reason}"
    return _create_case(check, "check", level.level, element, reason, text)


def _describe_origin(origin: Origin) -> str:
    shape = "x".join(map(str, origin.shape))
    lines = [f"begins at {origin.name}, a {origin.kind} of shape {shape}"]
    if origin.operator:
        lines.append(f"operator: {origin.operator}")
    lines.append(f"alone: {origin.alone} {origin.alone_reason}".rstrip())
    if origin.script:
        lines.append(f"reproduction: {origin.script}")
    return "\n".join(lines)


def _finding_case(check: ModelCheck, finding: Finding) -> ElementTree.Element:
    element = {"regression": "failure", "not compared": "skipped"}.get(finding.kind)
    expected, found = format_pair(finding)
    reason = f"{finding.kind}: {finding.reason} (baseline {expected}, now {found})"
    return _create_case(check, "baseline", finding.subject, element, reason)


def _break_lines(root: ElementTree.Element) -> None:
    """An element a line, for people; text inside cases is left as it is."""
    root.text = root.tail = "\n"
    for suite in root:
        suite.text = suite.tail = "\n"
        for case in suite:
            case.tail = "\n"
