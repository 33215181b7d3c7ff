from __future__ import annotations

import io
import json
from pathlib import Path

from doctor_measurements import create_measured, create_rounds, create_runtime
from rich.console import Console

from oneflow_bench.bench.report.blocks import Text, format_markdown, print_blocks
from oneflow_bench.bench.tools.doctor.diagnosis import Diagnosis, judge, report_diagnosis
from oneflow_bench.bench.tools.doctor.run import CHECKS

RESULTS = Path(__file__).resolve().parents[4] / "results"


def create_diagnosis(machine=None, **runtime):
    measured = create_measured(machine, runtime=runtime)
    return Diagnosis(
        created="now",
        python="/env/bin/python",
        runtime="tuned",
        duration_s=12.3,
        checks=judge(CHECKS, measured),
        **measured._asdict(),
    )


def render(diagnosis, width=80):
    stream = io.StringIO()
    print_blocks(report_diagnosis(diagnosis), Console(file=stream, width=width))
    return stream.getvalue()


def list_lines(diagnosis):
    blocks = [block for block in report_diagnosis(diagnosis) if isinstance(block, Text)]
    return [line for block in blocks for line in block.lines]


def test_a_diagnosis_without_findings_is_one_line():
    diagnosis = create_diagnosis()
    assert list_lines(diagnosis) == ["Nothing needs attention.", "18 checks in 12 s"]
    assert diagnosis.exit_status == 0
    text = render(diagnosis)
    assert text.startswith("/env/bin/python, runtime tuned\n") and text.count(" ok ") == 18
    assert max(map(len, text.splitlines())) <= 80


def test_a_finding_has_its_cost_and_its_remedy():
    diagnosis = create_diagnosis(kernel="Prescott", matmul_flops_per_s=1e10)
    assert list_lines(diagnosis) == [
        "blas_kernel: matrix products run without AVX2",
        "  remedy: OPENBLAS_CORETYPE=Haswell",
        "matmul_rate: a matrix product takes 10.0 times as long as NumPy's",
        "  remedy: OPENBLAS_CORETYPE=Haswell",
        "18 checks in 12 s",
    ]
    assert diagnosis.exit_status == 1
    assert "blas_kernel     attention  Prescott" in render(diagnosis)
    assert "| blas\\_kernel | attention | Prescott" in format_markdown(report_diagnosis(diagnosis))


def test_an_unsteady_machine_is_in_the_exit_status():
    rounds = create_rounds(scheduler=0.02) + create_rounds(scheduler=0.04, count=1)
    diagnosis = create_diagnosis(rounds=rounds)
    assert diagnosis.exit_status == 3
    assert "Not known: scheduler." in list_lines(diagnosis)


def test_unknown_checks_are_named():
    diagnosis = create_diagnosis(memory=None, machine={"huge_pages": None})
    assert "Not known: allocator" in "\n".join(list_lines(diagnosis))


def test_a_message_in_brackets_is_shown_as_it_is():
    imported = create_runtime().imported.model_copy(update={"error": "OSError: [Errno 8] [/b]"})
    assert "[Errno 8] [/b]" in render(create_diagnosis(imported=imported), width=110)


def test_stored_diagnoses_are_still_read():
    text = (RESULTS / "runtime/doctor.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert len(rows) > 20
    for row in rows:
        stored = row["diagnosis"]  # the study leaves out the paths of its machine
        (stored["oneflow"]["identity"] or {}).update(executable="/env/bin/python")
        diagnosis = Diagnosis.model_validate({**stored, "python": "/env/bin/python"})
        assert sorted(check.name for check in diagnosis.list_checks("attention")) == row["found"]
