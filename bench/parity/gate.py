"""From what was found to an exit status: the gate's judgement, and its order.

Of one model: 1 when the modes differ or a metric is worse than its baseline, else 4 when a worker
failed, else 3 when the verdict is inconclusive, else 0. Of many models the first of 1, 4, 3, 0 that
any of them has (`errors.worst_status`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Sequence

from ..config import Workload
from ..errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_INCONCLUSIVE, EXIT_WORKER_FAILED, worst_status
from .baseline import Baseline, create_baseline, find_baseline
from .findings import Finding, compare_with_baseline
from .result import CheckDocument, ModelCheck


@dataclass(frozen=True)
class Judged:
    """One model: what was found, and what its baseline says to it (nothing without one)."""

    check: ModelCheck
    findings: List[Finding] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """This model's own."""
        if self.check.verdict == "different" or self.of_kind("regression"):
            return EXIT_DIFFERENT
        speedup = self.check.speedup
        if self.check.error is not None or (speedup is not None and speedup.error is not None):
            return EXIT_WORKER_FAILED
        return EXIT_INCONCLUSIVE if self.check.verdict == "inconclusive" else EXIT_DONE

    def of_kind(self, kind: str) -> List[Finding]:
        """Findings of one kind."""
        return [finding for finding in self.findings if finding.kind == kind]


def judge_checks(document: CheckDocument, baselines: Sequence[Baseline] = ()) -> List[Judged]:
    """Every model of a check beside its baseline, where it has one."""
    stored = {baseline.model: baseline for baseline in baselines}
    judged = []
    for check in document.checks:
        found, baseline = create_baseline(document, check), stored.get(check.model)
        findings = compare_with_baseline(found, baseline) if found and baseline else []
        judged.append(Judged(check, findings))
    return judged


def find_baselines(place: Path, workloads: Sequence[Workload]) -> List[Baseline]:
    """The baselines of all workloads. Raises InputError for the first that cannot be used."""
    return [find_baseline(place, workload) for workload in workloads]


def create_result(document: CheckDocument, judged: Sequence[Judged]) -> Dict[str, Any]:
    """Everything for machines: the exit status, the check, and the findings by model."""
    return {
        "exit_status": worst_status([one.exit_status for one in judged]),
        "check": document.model_dump(),
        "findings": {
            one.check.model: [asdict(finding) for finding in one.findings] for one in judged
        },
    }
