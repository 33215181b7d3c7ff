import json

import pytest
from data_samples import create_jpeg, create_part

from oneflow_bench.data import DataError, default_dataset_path, load_dataset
from oneflow_bench.data.index import IMAGENET_MEAN, find_parts


def test_the_index_is_read(indexed_dataset):
    dataset = load_dataset(indexed_dataset)
    assert dataset.name == "small"
    assert dataset.classes == ("a", "b", "c", "d", "e")
    assert (dataset.train.num_samples, dataset.val.num_samples) == (10, 10)
    assert dataset.train.class_counts == (2, 2, 2, 2, 2)
    assert [part.num_samples for part in dataset.train.parts] == [5, 5]
    assert dataset.has_index


def test_without_an_index_the_records_are_counted(bare_dataset):
    dataset = load_dataset(bare_dataset)
    assert (dataset.train.num_samples, dataset.val.num_samples) == (10, 10)
    assert dataset.classes == () and dataset.mean == IMAGENET_MEAN and not dataset.has_index


def test_validation_serves_for_val(bare_dataset):
    (bare_dataset / "val").rename(bare_dataset / "validation")
    assert load_dataset(bare_dataset).val.folder == bare_dataset / "validation"


def test_the_default_dataset_is_the_digits():
    dataset = load_dataset(default_dataset_path())
    assert dataset.name == "digits" and len(dataset.classes) == 10
    assert not dataset.horizontal_flip and not dataset.random_crop


@pytest.mark.parametrize(
    ("names", "length"),
    [(["part-0", "part-1"], -1), (["part-00000", "part-00001"], 5), (["part-000"], 3)],
)
def test_the_padding_of_part_names_is_found(tmp_path, names, length):
    for name in names:
        create_part(tmp_path / name, [(create_jpeg(), 0)])
    files, found = find_parts(tmp_path)
    assert [file.name for file in files] == names and found == length


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["part-00001"], "part-00000"),
        (["part-00000", "part-00002"], "part-00001"),
        (["part-00000", "part-1"], "part-00001"),
    ],
)
def test_a_gap_in_the_parts_is_refused(tmp_path, names, missing):
    for name in names:
        create_part(tmp_path / name, [(create_jpeg(), 0)])
    with pytest.raises(DataError, match=f"{missing} is missing"):
        find_parts(tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        load_dataset(tmp_path / "nowhere")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="is empty"):
        load_dataset(tmp_path)


def test_a_missing_split_is_refused(bare_dataset):
    (bare_dataset / "val").rename(bare_dataset / "other")
    with pytest.raises(DataError, match="has no val/ or validation/"):
        load_dataset(bare_dataset)


def test_a_split_without_parts_is_refused(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
    with pytest.raises(DataError, match="holds no part files"):
        load_dataset(tmp_path)


def test_a_missing_last_part_is_refused(indexed_dataset):
    (indexed_dataset / "train" / "part-00001").unlink()
    with pytest.raises(DataError, match="holds 1 part files and .* lists 2"):
        load_dataset(indexed_dataset)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": 1}', "\x00"])
def test_a_bad_index_is_refused(indexed_dataset, content):
    (indexed_dataset / "index.json").write_text(content)
    with pytest.raises(DataError, match="is no index of a dataset"):
        load_dataset(indexed_dataset)


def test_an_index_of_another_version_is_refused(indexed_dataset):
    path = indexed_dataset / "index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, "schema_version": 99}))
    with pytest.raises(DataError, match="schema version 99"):
        load_dataset(indexed_dataset)
