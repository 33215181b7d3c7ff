"""GitHub annotations: workflow commands on standard output, a line each.

What fails is an error, what could not be told a warning, what changed for the better or is only
worth knowing a notice. The escaping is that of GitHub's own toolkit: %, CR and LF everywhere,
and : and , in properties.
"""

from __future__ import annotations

from typing import Iterator, List, Sequence

from ..parity.findings import Finding
from ..parity.gate import Judged
from ..parity.result import ModelCheck
from .blocks import strip_controls
from .check import format_pair

_VERDICTS = {"different": "error", "inconclusive": "warning"}
_FINDINGS = {"regression": "error", "improvement": "notice", "change": "notice"}


def format_annotations(judged: Sequence[Judged]) -> List[str]:
    """The lines to print; none where everything is as it was."""
    return [line for one in judged for line in _of_model(one)]


def _of_model(judged: Judged) -> Iterator[str]:
    check = judged.check
    title = f"bench check: {check.model}"
    if check.error is not None:
        yield _command("error", title, f"a worker failed: {check.error}")
    elif check.verdict in _VERDICTS:
        yield _command(_VERDICTS[check.verdict], title, _describe(check))
    if check.speedup is not None and check.speedup.error is not None:
        yield _command("error", title, f"its speed: a worker failed: {check.speedup.error}")
    for hit in check.known:
        if hit.outdated:
            message = f"the known difference {hit.id} does not occur any more: {hit.reason}"
            yield _command("warning", title, message)
    for finding in judged.findings:
        if finding.kind in _FINDINGS:
            yield _command(_FINDINGS[finding.kind], title, _describe_finding(finding))


def _describe(check: ModelCheck) -> str:
    lines = [f"{check.verdict}: {check.reason}"]
    if check.origin is not None:
        lines.append(f"It begins at {check.origin.name} ({check.origin.kind}).")
    return "\n".join(lines)


def _describe_finding(finding: Finding) -> str:
    expected, found = format_pair(finding)
    return (
        f"{finding.kind} of {finding.subject}: {finding.reason} (baseline {expected}, now {found})"
    )


def _command(kind: str, title: str, message: str) -> str:
    escaped = _escape(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={escaped}::{_escape(message)}"


def _escape(text: str) -> str:
    return strip_controls(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))
