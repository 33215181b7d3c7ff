from __future__ import annotations

import numpy as np
import pytest
from published import create_pixels

from oneflow_bench.data import DataError
from oneflow_bench.data.sources import Choices
from oneflow_bench.data.sources.arrays import is_arrays, read_arrays


def save(folder, **arrays):
    np.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "val_images", "val_labels"),
        ("X_TRAIN", "Y_TRAIN", "X_VALID", "Y_VALID"),
    ],
)
def test_the_names_of_the_common_collections_are_known(names, tmp_path):
    pixels, labels = create_pixels(6, 4, 4, 3), np.array([[0], [1], [2], [0], [1], [2]])
    arrays = dict(zip(names, (pixels, labels, pixels[:3], labels[:3])))
    source = read_arrays(save(tmp_path, **arrays), Choices())
    assert source.classes == ["0", "1", "2"] and not source.multi_label
    assert {name: len(rows) for name, rows in source.splits.items()} == {"train": 6, "val": 3}
    assert (source.splits["train"][4].picture == pixels[4]).all()


def test_a_validation_split_goes_before_a_test_split(tmp_path):
    pixels, labels, notes = create_pixels(4, 4, 4), np.arange(4) % 2, []
    arrays = {f"{split}_{kind}": value[:count] for split, count in
              (("train", 4), ("val", 2), ("test", 3))
              for kind, value in (("images", pixels), ("labels", labels))}  # fmt: skip
    source = read_arrays(save(tmp_path, **arrays), Choices(on_note=notes.append))
    assert len(source.splits["val"]) == 2
    assert any("the test split" in note and "left out" in note for note in notes)


def test_a_folder_of_npy_files_is_read(tmp_path):
    np.save(tmp_path / "images.npy", create_pixels(4, 5, 5))
    np.save(tmp_path / "labels.npy", np.array(["cat", "dog", "cat", "emu"]))
    assert is_arrays(tmp_path)
    source = read_arrays(tmp_path, Choices())
    assert source.classes == ["cat", "dog", "emu"] and list(source.splits) == ["train"]
    with pytest.raises(DataError, match="is one array"):
        read_arrays(tmp_path / "images.npy", Choices())


@pytest.mark.parametrize(
    "pixels, expected",
    [
        (np.full((2, 3, 5, 5), 7, np.uint8), (5, 5, 3)),
        (np.full((2, 5, 5, 1), 7 / 255, np.float32), (5, 5)),
        (np.full((2, 1, 5, 5), 7.0), (5, 5)),
        (np.full((2, 5, 5), 7, np.int64), (5, 5)),
    ],
)
def test_the_usual_shapes_and_types_become_bytes(pixels, expected, tmp_path):
    source = read_arrays(save(tmp_path, images=pixels, labels=np.array([0, 1])), Choices())
    picture = source.splits["train"][1].picture
    assert picture.shape == expected and picture.dtype == np.uint8
    assert (picture == 7).all()


def test_several_labels_a_picture_are_columns_of_0_and_1(tmp_path):
    rows = np.array([[0, 1, 1], [1, 0, 0]])
    source = read_arrays(save(tmp_path, x=create_pixels(2, 4, 4), y=rows), Choices())
    assert source.multi_label and [one.label for one in source.splits["train"]] == [
        (0, 1, 1),
        (1, 0, 0),
    ]


def test_arrays_of_other_names_are_named(tmp_path):
    path = save(tmp_path, faces=create_pixels(2, 4, 4), who=np.array([0, 1]))
    with pytest.raises(DataError, match="has the arrays faces, who; .*--image-key"):
        read_arrays(path, Choices())
    source = read_arrays(path, Choices(image_key="faces", label_key="who"))
    assert len(source.splits["train"]) == 2


@pytest.mark.parametrize(
    "images, labels, reason",
    [
        (np.zeros((2, 4)), [0, 1], "pictures of shape"),
        (np.zeros((2, 4, 4)), [0, 1, 2], "labels of shape"),
        (np.zeros((2, 4, 4, 7)), [0, 1], "pictures of shape"),
        (np.full((2, 4, 4), -1.0), [0, 1], "pixels from -1 to -1"),
        (np.full((2, 4, 4), np.nan), [0, 1], "are NaN"),
        (np.full((2, 4, 4), 256), [0, 1], "pixels from 256"),
        (np.full((2, 4, 4), np.inf), [0, 1], "pixels from inf"),
        (np.full((2, 4, 4), "a"), [0, 1], "pixels of the type"),
        (np.zeros((2, 4, 4)), [0.5, 1.5], "labels of the type"),
        (np.zeros((2, 4, 4)), [0.0, 1.0], "astype"),
        (np.zeros((2, 4, 4)), [-1, 1], "go from -1"),
        (np.zeros((2, 4, 4)), [[0, 2], [1, 1]], "of 0 or 1"),
    ],
)
def test_arrays_that_are_no_pictures_or_labels_are_refused(images, labels, reason, tmp_path):
    path = save(tmp_path, images=images, labels=np.array(labels))
    with pytest.raises(DataError, match=reason):
        read_arrays(path, Choices())


def test_pickles_in_arrays_are_refused(tmp_path):
    path = save(tmp_path, images=create_pixels(2, 4, 4), labels=np.array([{}, None]))
    with pytest.raises(DataError, match="array labels holds Python objects.; .*astype"):
        read_arrays(path, Choices())
    (tmp_path / "f").mkdir()
    np.save(tmp_path / "f" / "x.npy", np.array([{}, None]))
    with pytest.raises(DataError, match="x.npy cannot .* holds Python objects.; .*astype"):
        read_arrays(tmp_path / "f", Choices())


@pytest.mark.parametrize(
    "high, dtype, expected, note",
    [
        (1.0000001, np.float64, 255, None),
        (1, bool, 255, None),
        (1, np.uint8, 255, "0 or 1 of type uint8, and become 0 and 255"),
        (20, np.uint8, 20, "go up to 20 of 255, so its pictures are nearly black"),
        (1.5, np.float64, 2, "go up to 1.5 of 255"),
    ],
)
def test_pixels_are_scaled_by_their_range_and_dark_ones_are_said(
    high, dtype, expected, note, tmp_path
):
    pixels, notes = np.zeros((2, 4, 4), dtype), []
    pixels[1] = high
    path = save(tmp_path, images=pixels, labels=np.array([0, 1]))
    source = read_arrays(path, Choices(on_note=notes.append))
    assert (source.splits["train"][1].picture == expected).all()
    assert len(notes) == (note is not None) and (note or "") in "".join(notes)


def test_splits_of_different_ranges_are_refused(tmp_path):
    arrays = {f"y_{split}": np.array([0, 1]) for split in ("train", "test")}
    path = save(tmp_path, x_train=np.ones((2, 4, 4)), x_test=np.full((2, 4, 4), 255.0), **arrays)
    with pytest.raises(DataError, match="up to 1 in train, 255 in val; scale all splits"):
        read_arrays(path, Choices())


def test_arrays_without_a_use_are_said(tmp_path):
    pixels, labels, notes = create_pixels(2, 4, 4), np.array([0, 1]), []
    path = save(tmp_path, x_train=pixels, y_train=labels, x_test=pixels)
    read_arrays(path, Choices(on_note=notes.append))
    assert notes == [f"left out the arrays x_test of {path}"]


def test_a_file_that_is_cut_short_is_said(tmp_path):
    path = save(tmp_path, x=create_pixels(2, 4, 4), y=np.array([0, 1]))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="is cut short or damaged.; copy it again"):
        read_arrays(path, Choices())
