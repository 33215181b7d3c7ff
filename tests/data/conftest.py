"""Small datasets, made afresh for each test."""

from __future__ import annotations

import pytest
from data_samples import create_jpeg, create_part

from oneflow_bench.data.writer import Description, Sample, write_dataset


@pytest.fixture
def bare_dataset(tmp_path):
    """Ten images in two parts a split, labels 0..4, and no index."""
    root = tmp_path / "bare"
    for split in ("train", "val"):
        for part in range(2):
            records = [(create_jpeg(20 * i), i) for i in range(5)]
            create_part(root / split / f"part-{part:05d}", records)
    return root


@pytest.fixture
def indexed_dataset(tmp_path):
    """As `bare_dataset`, by the writer, with an index."""
    samples = [Sample(create_jpeg(20 * i), i % 5) for i in range(10)]
    description = Description("small", list("abcde"), quality=90)
    write_dataset(tmp_path / "indexed", description, {"train": samples, "val": samples}, parts=2)
    return tmp_path / "indexed"
