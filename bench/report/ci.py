"""A check for machines: JSON, JUnit XML, and annotations of GitHub. Pure.

JUnit has a suite for each model, and a case for each level and each metric of the baseline. The
elements and attributes are those that Jenkins's xUnit reader accepts (junit-10). GitLab, CircleCI
and the GitHub actions read these too.

An annotation is a workflow command on standard output, a line each. A failure is an error, an
inconclusive verdict a warning, a change that does not fail a notice. The escaping is that of
GitHub's own toolkit: %, CR and LF everywhere, and : and , in properties.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Dict, Iterator, List, Optional, Sequence
from xml.etree import ElementTree

from ..errors import worst_status
from ..parity.gate import Judged
from ..parity.result import CheckDocument, LevelResult, ModelCheck
from .blocks import strip_controls
from .check import describe_finding, describe_origin

_PROPERTIES = ("oneflow", "blas_kernel", "run_id")
_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}
_ELEMENTS = {"different": "failure", "inconclusive": "skipped"}  # by verdict
_FINDING_ELEMENTS = {"regression": "failure", "not compared": "skipped"}
_ANNOTATIONS = {"different": "error", "inconclusive": "warning"}
_FINDING_ANNOTATIONS = {"regression": "error", "improvement": "notice", "change": "notice"}


def create_result(document: CheckDocument, judged: Sequence[Judged]) -> Dict[str, Any]:
    """The JSON output: the exit status, the check, and the findings by model."""
    return {
        "exit_status": worst_status([one.exit_status for one in judged]),
        "check": document.model_dump(),
        "findings": {
            one.check.model: [asdict(finding) for finding in one.findings] for one in judged
        },
    }


def format_junit(document: CheckDocument, judged: Sequence[Judged]) -> str:
    """The XML text. A different or worse result is a failure, a failed worker an error. An
    inconclusive verdict or a metric that is not compared is skipped, with the reason."""
    root = ElementTree.Element("testsuites", name="bench check")
    root.extend(_create_suite(document, one) for one in judged)
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    root.set("time", f"{sum(one.check.duration_s for one in judged):.3f}")
    for element in root.iter():
        element.attrib = {key: strip_controls(value) for key, value in element.attrib.items()}
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
    cases = [*_overall_cases(check), *(_level_case(check, level) for level in check.levels)]
    for finding in judged.findings:
        reason = f"{finding.kind}: {describe_finding(finding)}"
        element = _FINDING_ELEMENTS.get(finding.kind)
        cases.append(_create_case(check, "baseline", finding.subject, element, reason))
    suite.extend(cases)
    suite.set("tests", str(len(cases)))
    for attribute, name in _COUNTED.items():
        suite.set(attribute, str(sum(case.find(name) is not None for case in cases)))
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
        child = ElementTree.SubElement(case, element, message=reason, type=group)
        child.text = strip_controls(text or reason)
    return case


def _overall_cases(check: ModelCheck) -> Iterator[ElementTree.Element]:
    """Results of no level: a failed worker, a mode that does not repeat itself, the speed.

    The speed fails only beside a baseline, as one of its metrics.
    """
    speedup = check.speedup
    speed_error = None if speedup is None else speedup.error
    for name, error in (("worker", check.error), ("speed", speed_error)):
        if error is not None:
            yield _create_case(check, "check", name, "error", error.splitlines()[0], error)
    repeats = any(level.verdict == check.verdict for level in check.levels)
    if check.error is None and check.verdict in _ELEMENTS and not repeats:
        yield _create_case(check, "check", "verdict", _ELEMENTS[check.verdict], check.reason)
    if speedup is not None and speedup.error is None:
        ratio = "" if speedup.ratio is None else f" {speedup.ratio:.3f}"
        reason = f"{speedup.verdict}{ratio}: {speedup.reason}"
        yield _create_case(check, "check", "speed", _ELEMENTS.get(speedup.verdict), reason)


def _level_case(check: ModelCheck, level: LevelResult) -> ElementTree.Element:
    lines = [level.reason]
    if check.origin is not None and check.origin.level == level.level:
        lines += [f"{name}: {value}" for name, value in describe_origin(check)]
    reason = f"{level.verdict}: {level.reason}"
    element = _ELEMENTS.get(level.verdict)
    return _create_case(check, "check", level.level, element, reason, "\n".join(lines))


def _break_lines(root: ElementTree.Element) -> None:
    """An element a line, for people; text inside cases stays as it is."""
    root.text = root.tail = "\n"
    for suite in root:
        suite.text = suite.tail = "\n"
        for case in suite:
            case.tail = "\n"


def format_annotations(judged: Sequence[Judged]) -> List[str]:
    """The lines to print; none if nothing has changed."""
    return [line for one in judged for line in _annotate(one)]


def _annotate(judged: Judged) -> Iterator[str]:
    check = judged.check
    title = f"bench check: {check.model}"
    if check.error is not None:
        yield _command("error", title, f"a worker failed: {check.error}")
    elif check.verdict in _ANNOTATIONS:
        message = f"{check.verdict}: {check.reason}"
        if check.origin is not None:
            message += f"\nFirst difference: {check.origin.name} ({check.origin.kind})."
        yield _command(_ANNOTATIONS[check.verdict], title, message)
    if check.speedup is not None and check.speedup.error is not None:
        yield _command("error", title, f"speed: a worker failed: {check.speedup.error}")
    for hit in check.known:
        if hit.outdated:
            message = f"the known difference {hit.id} no longer occurs: {hit.reason}"
            yield _command("warning", title, message)
    for finding in judged.findings:
        if finding.kind in _FINDING_ANNOTATIONS:
            message = f"{finding.kind} of {finding.subject}: {describe_finding(finding)}"
            yield _command(_FINDING_ANNOTATIONS[finding.kind], title, message)


def _command(kind: str, title: str, message: str) -> str:
    escaped = _escape(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={escaped}::{_escape(message)}"


def _escape(text: str) -> str:
    return strip_controls(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))
