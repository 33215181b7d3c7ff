from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PRIVATE = re.compile(r"_oneflow_internal|\._compile\(|_graph_proto|\._options\b|finish_complie")
# the doctor's worker runs without the suite; the reader of checkpoints has the name as a text
ALONE = {"bench/tools/doctor/worker.py", "bench/record/flow_checkpoint.py"}


def test_private_names_of_oneflow_stand_in_one_file():
    sources = [path for room in ("bench", "models", "data") for path in (ROOT / room).rglob("*.py")]
    found = {
        str(path.relative_to(ROOT))
        for path in sources
        if PRIVATE.search(path.read_text(encoding="utf-8"))
    }
    assert found - ALONE == {"bench/training/oneflow_compat.py"}


@pytest.mark.oneflow
def test_the_padding_operator_prints_no_warning(recwarn):
    import oneflow as flow

    from oneflow_bench.bench.training.oneflow_compat import PADDING_SIZE, create_padding_operator

    class Padded(flow.nn.Graph):
        def build(self, x):
            return x + 1, create_padding_operator()

    _, padding = Padded()(flow.ones(1))
    assert float(padding.numpy()) == float(PADDING_SIZE**3)
    assert not recwarn.list
