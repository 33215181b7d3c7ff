"""The study of the examples and of the faults planted in them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.oneflow


@pytest.mark.slow
def test_the_study_starts_from_any_folder(tmp_path):
    program = Path(__file__).resolve().parents[2] / "benchmarks" / "example_study.py"
    done = subprocess.run(
        [sys.executable, str(program), "--help"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def test_each_fault_is_a_step_with_a_place_that_can_be_named():
    from faults import steps

    from oneflow_bench import TrainingStep

    assert len(steps.FAULTS) == 10
    for name, fault in steps.FAULTS.items():
        assert isinstance(getattr(steps, name), TrainingStep)
        re.compile(fault.levels), re.compile(fault.names)


def test_the_table_counts_what_is_found_and_what_is_named(monkeypatch):
    import example_study

    monkeypatch.setattr(example_study, "list_examples", lambda: ["gpt"])
    compared = {
        "example": "gpt", "verdict": "faster", "speedup": "1.5", "compile_s": 1.0,
        "peak_rss_bytes": [2**20, 2**21],
    }  # fmt: skip
    fault = {
        "case": "fault/row", "fault": "row", "verdict": "different", "level": "gradients",
        "tensor": "places", "reason": "in isolation it differs in letters.weight gradient",
    }  # fmt: skip
    other = {**fault, "case": "fault/mask", "fault": "mask", "verdict": "identical"}
    rows = [{"example": "gpt", "verdict": "identical"}, compared, fault, other]
    table = example_study.write_table(rows)
    assert "| gpt | identical | 1.5 | faster | 1.00 | 1 and 2 |" in table
    assert "2 faults, 1 found, 1 named" in table
    assert "| mask | identical | in isolation it differs in letters.weight gradient | no |" in table


def test_faults_are_planted_while_a_graph_is_traced_alone():
    import numpy as np
    import oneflow as flow
    from faults import steps

    from examples import classifier

    flow.manual_seed(0)
    plain = classifier.Classifier().eval()
    wrong = steps.WrongPadding().eval()
    wrong.load_state_dict(plain.state_dict())
    words = next(classifier.create_batches(0))["words"]
    eager = [model(flow.tensor(words)).numpy() for model in (plain, wrong)]
    np.testing.assert_array_equal(*eager)

    class Graph(flow.nn.Graph):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def build(self, x):
            return self.model(x)

    outputs = [Graph(model)(flow.tensor(words)).numpy() for model in (plain, wrong)]
    assert np.abs(outputs[0] - eager[0]).max() < 1e-5 < np.abs(outputs[1] - eager[0]).max()
