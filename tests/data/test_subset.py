from __future__ import annotations

from collections import Counter

import pytest

from oneflow_bench.data import (
    DataError,
    count_subset,
    default_dataset_path,
    validate_dataset,
    write_subset,
)
from oneflow_bench.data.ofrecord_file import parse_record, read_messages


def read_all(dataset):
    return [
        parse_record(message, "")
        for path in dataset.train.part_files
        for message in read_messages(path)
    ]


@pytest.fixture(scope="module")
def digits():
    return validate_dataset(default_dataset_path(), image_size=32, batch_size=1)


def test_each_class_keeps_its_share(digits, tmp_path):
    subset = write_subset(digits, 10, 0, tmp_path / "s")
    counts = Counter(record.label for record in read_all(subset))
    assert [counts[label] for label in range(10)] == count_subset(digits.train.class_counts, 10)
    assert set(read_all(subset)) <= set(read_all(digits))
    assert subset.train.num_samples == sum(counts.values())
    assert (subset.classes, subset.mean, subset.std) == (digits.classes, digits.mean, digits.std)
    assert subset.val.num_samples == digits.val.num_samples
    checked = validate_dataset(tmp_path / "s", image_size=32, batch_size=8)
    assert checked.train.num_samples == subset.train.num_samples


def test_the_seed_chooses(digits, tmp_path):
    subsets = [
        read_all(write_subset(digits, 5, seed, tmp_path / str(number)))
        for number, seed in enumerate((1, 1, 2))
    ]
    assert subsets[0] == subsets[1] != subsets[2]


def test_a_class_keeps_one_sample_at_least():
    assert count_subset([100, 3, 0], 10) == [10, 1, 0]
    assert count_subset([7], 100) == [7]


def test_a_set_without_an_index_has_subsets_too(digits, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    for split in ("train", "val"):
        (plain / split).symlink_to(default_dataset_path() / split)
    dataset = validate_dataset(plain, image_size=32, batch_size=1)
    subset = write_subset(dataset, 10, 0, tmp_path / "s")
    assert not subset.has_index
    assert subset.train.num_samples == sum(count_subset(dataset.train.class_counts, 10))


def test_a_target_that_holds_something_is_refused(digits, tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(DataError, match="not empty"):
        write_subset(digits, 10, 0, tmp_path)
