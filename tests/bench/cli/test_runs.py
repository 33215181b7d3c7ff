"""The stored runs of a folder, without their samples."""

from __future__ import annotations

import pytest
from records import create_events, create_record, save_record

from oneflow_bench.bench.cli.runs import read_stored


def keep_a_line(samples):
    samples.write_bytes(samples.read_bytes().partition(b"\n")[0] + b"\n")


@pytest.mark.parametrize(
    "damage, status",
    [
        (lambda samples: None, "complete"),
        (lambda samples: samples.unlink(), "damaged"),
        (lambda samples: samples.write_bytes(b""), "damaged"),
        (lambda samples: samples.write_bytes(samples.read_bytes()[:-300]), "damaged"),
        (keep_a_line, "damaged"),
    ],
)
def test_a_complete_run_that_lacks_samples_is_damaged(tmp_path, damage, status):
    record = create_record(create_events("eager"), create_events("graph"))
    folder = save_record(record, tmp_path / "run")
    damage(folder / "samples.jsonl")
    found = read_stored(folder)
    assert found.status == status
    assert (found.error is None) == (status == "complete")
