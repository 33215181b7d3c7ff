"""From a source in any layout to a dataset: split, augmentation, names, and nothing half."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from data_samples import create_jpeg
from test_writer import list_files

from oneflow_bench.data import DataError, Wishes, import_dataset, inspect_dataset, write_subset

sys.path.insert(0, str(Path(__file__).parent / "sources"))
from published import create_pixels, write_idx, write_pictures  # noqa: E402


def write_arrays(folder, count=20, labels=None):
    labels = np.arange(count) % 2 if labels is None else np.array(labels)
    np.savez(folder / "set.npz", images=create_pixels(count, 6, 6, 3), labels=labels)
    return folder / "set.npz"


def import_one(source, out, on_note=lambda sentence: None, **wishes):
    return import_dataset(source, out, Wishes(**wishes), parts=1, workers=1, on_note=on_note)


def test_a_split_is_made_by_class_from_a_seed(tmp_path):
    source = write_arrays(tmp_path)
    one, same, other = (
        import_one(source, tmp_path / name, val_fraction=0.3, seed=seed)
        for name, seed in (("one", 1), ("same", 1), ("other", 2))
    )
    assert one.train.class_counts == (7, 7) and one.val.class_counts == (3, 3)
    assert list_files(one.root) == list_files(same.root) != list_files(other.root)
    assert inspect_dataset(one.root)["problems"] == []


def test_a_split_is_asked_for_and_not_made_twice(tmp_path):
    with pytest.raises(DataError, match="no val/ .* give --val-fraction 0.1"):
        import_one(write_arrays(tmp_path), tmp_path / "out")
    with pytest.raises(DataError, match="--val-fraction 0.01 leaves 20 of 20 pictures"):
        import_one(write_arrays(tmp_path), tmp_path / "out", val_fraction=0.01)
    for share in (0, 1, -0.1, float("nan")):
        with pytest.raises(DataError, match="is no share; give one between 0 and 1"):
            import_one(write_arrays(tmp_path), tmp_path / "out", val_fraction=share)
    with pytest.raises(DataError, match="has a validation split already"):
        import_one(write_idx(tmp_path / "m"), tmp_path / "out", val_fraction=0.1)
    assert not (tmp_path / "out").exists()


def test_signs_are_not_mirrored_unless_asked_for(tmp_path):
    source, notes = write_idx(tmp_path / "m"), []
    assert not import_one(source, tmp_path / "a", notes.append).horizontal_flip
    assert f"{source} is read as IDX files, as of MNIST" in notes
    assert any("no picture is mirrored; --flips" in note for note in notes)
    assert import_one(source, tmp_path / "b", flips=True, crops=True).random_crop
    names = tmp_path / "names.txt"
    names.write_text("shirt\nbag\nboot\ncoat\ndress\n")
    named = import_one(source, tmp_path / "c", class_names=names)
    assert named.horizontal_flip and not named.random_crop and named.classes[1] == "bag"
    stored = json.loads((tmp_path / "c" / "index.json").read_text())
    assert stored["augmentation"] == {"random_crop": False, "horizontal_flip": True}


def test_colours_of_small_pictures_keep_their_resolution(tmp_path):
    """JPEG halves the resolution of colours unless told not to: a red column would blur."""
    pixels = np.zeros((4, 8, 8, 3), np.uint8)
    pixels[:, :, 3] = (255, 0, 0)
    np.savez(tmp_path / "s.npz", x=pixels, y=np.array([0, 1, 0, 1]))
    dataset = import_one(tmp_path / "s.npz", tmp_path / "out", val_fraction=0.5)
    import simplejpeg

    from oneflow_bench.data.ofrecord_file import parse_record, read_messages

    (first, *_) = read_messages(dataset.train.part_files[0])
    stored = simplejpeg.decode_jpeg(parse_record(first, "").encoded)
    assert np.abs(stored.astype(int) - pixels[0]).max() < 40


def test_several_labels_are_stored_validated_and_drawn(tmp_path):
    rows = [(1, 0, 1), (0, 1, 0), (0, 0, 0), (1, 1, 1)] * 5
    dataset = import_one(write_arrays(tmp_path, labels=rows), tmp_path / "out", val_fraction=0.2)
    assert dataset.multi_label and dataset.labels == 3
    assert dataset.train.num_samples == 16 and sum(dataset.train.class_counts) > 16
    described = inspect_dataset(tmp_path / "out")
    assert described["problems"] == [] and described["multi_label"]
    counts = described["train"]["images_per_class"]
    assert tuple(counts.values()) == dataset.train.class_counts
    subset = write_subset(dataset, 50, 0, tmp_path / "half")
    assert subset.train.num_samples == 8 and subset.multi_label


def test_two_columns_of_one_name_are_refused(tmp_path):
    root = write_pictures(tmp_path / "set")
    (root / "bits.csv").write_text("file,cat,cat\n0.jpg,0,1\n1.jpg,1,0\n")
    with pytest.raises(DataError, match="two columns called cat"):
        import_one(root, tmp_path / "out", val_fraction=0.5)


@pytest.mark.slow
def test_processes_convert_arrays_as_one_does(tmp_path):
    np.save(tmp_path / "x.npy", create_pixels(8, 6, 6))
    np.save(tmp_path / "y.npy", np.arange(8) % 2)
    one, two = (
        import_dataset(tmp_path, tmp_path / f"out{n}", Wishes(val_fraction=0.5), 1, workers=n)
        for n in (1, 2)
    )
    assert list_files(one.root) == list_files(two.root)


@pytest.mark.parametrize("cell, count", [("cat|cat", 1), ("|", 0)])
def test_lists_of_less_than_two_labels_are_refused(cell, count, tmp_path):
    root = write_pictures(tmp_path / "set")
    (root / "lists.csv").write_text(f"file,label\n0.jpg,{cell}\n1.jpg,\n")
    with pytest.raises(DataError, match=f"lists of {count} different labels"):
        import_one(root, tmp_path / "out", val_fraction=0.5)


def test_an_unreadable_picture_of_a_csv_is_named_and_nothing_is_left(tmp_path):
    root = write_pictures(tmp_path / "set")
    (root / "3.jpg").write_bytes(create_jpeg()[:50])
    rows = [f"{number}.jpg,{'ab'[number % 2]}" for number in range(7)]
    (root / "labels.csv").write_text("\n".join(["file,label", *rows]))
    with pytest.raises(DataError, match="2 of 7 files") as caught:
        import_one(root, tmp_path / "out", val_fraction=0.5)
    assert "3.jpg" in str(caught.value) and "6.jpg" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_the_share_that_a_split_became_is_said_and_no_class_is_lost(tmp_path):
    notes = []
    dataset = import_one(write_arrays(tmp_path), tmp_path / "out", notes.append, val_fraction=0.999)
    assert dataset.train.class_counts == (1, 1) and dataset.val.num_samples == 18
    assert any(
        note.startswith("18 of 20 pictures are the validation split: 90 %") for note in notes
    )


def test_the_smallest_split_limits_the_part_files(tmp_path):
    source, notes = write_arrays(tmp_path, 6), []
    wishes = Wishes(val_fraction=0.34)
    dataset = import_dataset(source, tmp_path / "a", wishes, workers=1, on_note=notes.append)
    assert len(dataset.val.part_files) == 2 and any("so it is --parts 2" in n for n in notes)
    with pytest.raises(DataError, match="val has 2 pictures for --parts 3; give --parts 2"):
        import_dataset(source, tmp_path / "b", wishes, parts=3, workers=1)
