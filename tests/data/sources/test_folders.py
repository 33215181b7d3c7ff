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


def test_two_folders_of_one_split_are_refused(tmp_path):
    write(tmp_path, "train/cat", "train/dog", "val/cat", "valid/cat")
    with pytest.raises(DataError, match="the folders val, valid for one split; keep one"):
        read_imagefolder(tmp_path, Choices())


def test_the_case_of_a_split_does_not_matter_and_that_of_a_class_is_named(tmp_path):
    write(tmp_path, "Train/cat", "Train/dog", "Test/cat")
    assert len(read_imagefolder(tmp_path, Choices()).splits["val"]) == 1
    write(tmp_path, "Test/Dog")
    with pytest.raises(DataError, match="Dog is a class that .* rename it dog"):
        read_imagefolder(tmp_path, Choices())


def test_classes_of_numbers_are_in_their_order(tmp_path):
    write(tmp_path, *["0", "1", "10", "2"])
    assert read_imagefolder(tmp_path, Choices()).classes == ["0", "1", "2", "10"]


def test_pictures_without_a_class_are_said(tmp_path):
    write(tmp_path, "train/cat", "train/dog", "test")
    (tmp_path / "loose.jpg").write_bytes(create_jpeg())
    notes = []
    read_imagefolder(tmp_path, Choices(on_note=notes.append))
    assert [note.split(", first")[0] for note in notes] == [
        f"left out 1 picture of {folder} outside of its class folders"
        for folder in (tmp_path, tmp_path / "test")
    ]


def test_pictures_that_the_annotations_leave_out_or_give_twice_are_said(tmp_path):
    root, notes = write_tiny_imagenet(tmp_path / "tiny"), []
    annotations = root / "val" / "val_annotations.txt"
    annotations.write_text(f"val_0.JPEG\t{SYNSETS[0]}\n" * 2)
    source = read_tiny_imagenet(root, Choices(on_note=notes.append))
    assert len(source.splits["val"]) == 1
    assert "left out 1 picture of" in notes[0] and "first val_1.JPEG" in notes[0]
    assert notes[1] == f"left out 1 row given before, first {annotations}, line 2"
    annotations.write_text("".join(f"val_0.JPEG\t{synset}\n" for synset in SYNSETS))
    with pytest.raises(DataError, match="line 1 and .*line 2 give .*val_0.JPEG different labels"):
        read_tiny_imagenet(root, Choices())
    annotations.write_text("\n")
    with pytest.raises(DataError, match="has no lines"):
        read_tiny_imagenet(root, Choices())
    annotations.write_text(f"../../x.jpg\t{SYNSETS[0]}\n")
    with pytest.raises(DataError, match="line 1: expected a file"):
        read_tiny_imagenet(root, Choices())
    annotations.unlink()
    with pytest.raises(DataError, match="has the classes in .*val_annotations.txt, which is miss"):
        read_imagefolder(root, Choices())
