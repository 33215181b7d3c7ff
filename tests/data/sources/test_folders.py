from __future__ import annotations

import pytest
from data_samples import create_jpeg
from published import SYNSETS, write_tiny_imagenet

from oneflow_bench.data import DataError
from oneflow_bench.data.sources import Choices
from oneflow_bench.data.sources.folders import (
    is_imagefolder,
    is_tiny_imagenet,
    read_imagefolder,
    read_tiny_imagenet,
)


def write(root, *places):
    for place in places:
        (root / place).mkdir(parents=True)
        (root / place / "a.jpg").write_bytes(create_jpeg())
    return root


@pytest.mark.parametrize("val", ["val", "validation", "valid", "test"])
def test_the_usual_names_of_the_validation_split_are_known(val, tmp_path):
    notes = []
    write(tmp_path, "train/cat", "train/dog", f"{val}/cat")
    source = read_imagefolder(tmp_path, Choices(on_note=notes.append))
    assert len(notes) == (val == "test")
    assert is_imagefolder(tmp_path) and source.classes == ["cat", "dog"]
    assert [len(source.splits[name]) for name in ("train", "val")] == [2, 1]


def test_a_test_split_is_left_out_beside_a_validation_split(tmp_path):
    write(tmp_path, "train/cat", "valid/cat", "test/cat")
    notes = []
    source = read_imagefolder(tmp_path, Choices(on_note=notes.append))
    assert "/valid/" in source.splits["val"][0].picture and "test split" in notes[0]


def test_test_pictures_without_classes_are_no_validation_split(tmp_path):
    write(tmp_path, "train/cat", "test")
    assert list(read_imagefolder(tmp_path, Choices()).splits) == ["train"]


def test_folders_of_classes_alone_are_training_pictures(tmp_path):
    write(tmp_path, "cat", "dog")
    source = read_imagefolder(tmp_path, Choices())
    assert is_imagefolder(tmp_path) and list(source.splits) == ["train"]
    assert source.classes == ["cat", "dog"]


def test_tiny_imagenet_is_read_with_its_names(tmp_path):
    root = write_tiny_imagenet(tmp_path / "tiny")
    source = read_tiny_imagenet(root, Choices())
    assert is_tiny_imagenet(root) and source.classes == SYNSETS
    assert source.names == ["tench", "springer"]
    assert [len(source.splits[name]) for name in ("train", "val")] == [6, 2]
    assert source.splits["val"][1] == (str(root / "val" / "images" / "val_1.JPEG"), 1)


def test_damage_of_tiny_imagenet_is_named(tmp_path):
    root = write_tiny_imagenet(tmp_path / "tiny")
    (root / "words.txt").unlink()
    assert read_tiny_imagenet(root, Choices()).names is None
    (root / "val" / "val_annotations.txt").write_text("a.JPEG\tn00000000\n")
    with pytest.raises(DataError, match="line 1: expected a file and one of the 2 classes"):
        read_tiny_imagenet(root, Choices())
    (root / "val" / "val_annotations.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match="val_annotations.txt cannot be read"):
        read_tiny_imagenet(root, Choices())
