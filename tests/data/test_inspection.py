import json

import pytest
from data_samples import create_jpeg, create_part

from oneflow_bench.data import DataError, inspect_dataset


def test_a_good_dataset_is_described(indexed_dataset):
    found = inspect_dataset(indexed_dataset)
    assert found["problems"] == [] and found["classes"] == 5
    assert found["train"]["images_per_class"] == dict.fromkeys("abcde", 2)
    assert found["train"]["checksums_match"] is True
    assert found["train"]["min_image_size"] == [8, 8]
    json.dumps(found)


def test_without_an_index_there_are_no_checksums_to_match(bare_dataset):
    found = inspect_dataset(bare_dataset)
    assert found["classes"] == 5 and found["train"]["checksums_match"] is None
    assert found["train"]["min_image_size"] == found["train"]["max_image_size"] == [8, 8]


def test_every_damaged_part_is_listed(indexed_dataset):
    create_part(indexed_dataset / "train" / "part-00000", [(create_jpeg(), 9)])
    create_part(indexed_dataset / "val" / "part-00001", [(create_jpeg(), 0)])
    found = inspect_dataset(indexed_dataset)
    assert len(found["problems"]) == 2
    assert "label 9" in found["problems"][0]
    assert "is not the file that index.json describes" in found["problems"][1]
    assert found["train"]["checksums_match"] is False


def test_no_dataset_is_an_error(tmp_path):
    with pytest.raises(DataError, match="is empty"):
        inspect_dataset(tmp_path)
