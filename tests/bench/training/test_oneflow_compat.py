from __future__ import annotations

import re
from pathlib import Path

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
