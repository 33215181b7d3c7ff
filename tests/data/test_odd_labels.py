"""Labels that a person would want to hear about, and files that are none."""

from __future__ import annotations

import os

import pytest
from data_samples import create_jpeg, create_message, create_part

from oneflow_bench.data import (
    DataError,
    inspect_dataset,
    load_dataset,
    reshard_dataset,
    validate_dataset,
)
from oneflow_bench.data.validate import scan_part

SIZES = {"image_size": 8, "batch_size": 2}


def create_labelled(root, labels):
    for split in ("train", "val"):
        create_part(root / split / "part-00000", [(create_jpeg(), label) for label in labels])
    return root


@pytest.fixture
def from_one(tmp_path):
    return create_labelled(tmp_path / "from one", range(1, 6))


def test_labels_that_begin_at_1_are_said_with_the_remedy(from_one):
    description = inspect_dataset(from_one)
    assert description["classes"] == 6
    for text in (*description["problems"], refuse(from_one)):
        assert "go from 1 to 5" in text and "trains 6 classes" in text and "--label-base 1" in text


def refuse(path, **options):
    with pytest.raises(DataError) as caught:
        validate_dataset(path, **SIZES, **options)
    return str(caught.value)


def test_an_unused_class_may_be_asked_for(from_one):
    assert validate_dataset(from_one, **SIZES, num_classes=6).classes == tuple("012345")


def test_labels_are_rewritten_from_0(from_one, tmp_path):
    reshard_dataset(from_one, 2, tmp_path / "out", label_base=1)
    assert inspect_dataset(tmp_path / "out")["problems"] == []
    assert validate_dataset(tmp_path / "out", **SIZES).classes == tuple("01234")


@pytest.mark.parametrize("base", [2, 3])
def test_a_label_base_that_does_not_fit_is_refused(from_one, indexed_dataset, tmp_path, base):
    for path, lowest in ((from_one, 1), (indexed_dataset, 0)):
        with pytest.raises(DataError, match=f"labels begin at {lowest}"):
            reshard_dataset(path, 1, tmp_path / "out", label_base=base)


@pytest.mark.parametrize("label", [2**31 - 1, 1_000_000, -1])
def test_a_label_that_no_model_has_is_refused_at_once(tmp_path, label):
    path = create_labelled(tmp_path / "odd", [0, label])
    assert f"has label {label} where labels go from 0 to 999999" in refuse(path)
    assert "where labels go" in inspect_dataset(path)["problems"][0]


def test_a_file_in_a_datasets_place_is_called_a_file(tmp_path):
    (tmp_path / "set.tar").write_bytes(b"x")
    with pytest.raises(DataError, match="set.tar is a file, and a dataset is a folder"):
        load_dataset(tmp_path / "set.tar")


def test_a_pipe_as_index_is_not_read(indexed_dataset):
    (indexed_dataset / "index.json").unlink()
    os.mkfifo(indexed_dataset / "index.json")
    with pytest.raises(DataError, match="is no index .*pipe or a device"):
        load_dataset(indexed_dataset)


def test_keys_that_are_not_utf8_are_named(tmp_path):
    message = create_message(image=("bytes_list", [create_jpeg()]), label=("int32_list", [0]))
    odd = message.replace(b"class/label", b"class/\xff\xfe\xfdel").replace(
        b"encoded", b"\xffncoded"
    )
    path = create_part(tmp_path / "part-00000", [odd])
    with pytest.raises(DataError, match="record 0 has no .encoded. .it has b"):
        scan_part(path)
