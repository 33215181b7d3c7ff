from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from published import (
    create_pixels,
    write_cifar10_binary,
    write_cifar10_python,
    write_cifar100_binary,
    write_faces,
    write_idx,
    write_pictures,
    write_records,
    write_tiny_imagenet,
)

from oneflow_bench.data import DataError
from oneflow_bench.data.sources import Choices
from oneflow_bench.data.sources.recognition import FORMATS, read_source, recognise


def write_csv(root):
    write_pictures(root)
    (root / "labels.csv").write_text("file,label\n0.jpg,a\n1.jpg,b\n")
    return root


def write_arrays(root):
    root.mkdir()
    np.savez(root / "set.npz", x=create_pixels(2, 4, 4), y=np.array([0, 1]))
    return root / "set.npz"


def write_folders(root):
    write_pictures(root / "cat")
    write_pictures(root / "dog")
    return root


WRITERS = {
    write_cifar10_binary: "cifar",
    write_cifar10_python: "cifar",
    write_cifar100_binary: "cifar",
    write_idx: "idx",
    write_tiny_imagenet: "tiny-imagenet",
    lambda root: write_faces(root.with_suffix(".csv")): "faces",
    write_arrays: "arrays",
    write_csv: "csv",
    lambda root: write_records(root, [[0], [1]], "encoded", "class/label"): "ofrecord",
    write_folders: "imagefolder",
}


@pytest.mark.parametrize("write, name", WRITERS.items())
def test_every_format_is_recognised_and_by_no_other_before_it(write, name, tmp_path):
    path = write(tmp_path / "source")
    assert recognise(path) == name
    assert read_source(path, name, Choices()).splits["train"]


def test_every_format_has_a_source():
    assert set(WRITERS.values()) == set(FORMATS)


def test_a_table_beside_folders_of_classes_is_not_taken_for_the_dataset(tmp_path):
    """Imagenette has one with wrong labels."""
    root = write_csv(tmp_path / "s")
    write_pictures(root / "train" / "cat")
    assert recognise(root) == "imagefolder"
    assert recognise(write_tiny_imagenet(tmp_path / "t")) == "tiny-imagenet"


def test_a_source_that_memory_cannot_hold_is_one_sentence(tmp_path, monkeypatch):
    def fill(path, choices):
        raise MemoryError

    monkeypatch.setitem(FORMATS, "csv", FORMATS["csv"]._replace(read=fill))
    with pytest.raises(DataError, match="does not fit into memory"):
        read_source(tmp_path, "csv", Choices())


def test_a_path_that_is_nothing_known_is_refused(tmp_path):
    (tmp_path / "x.tar.gz").touch()
    for path, reason in (
        (tmp_path / "none", "does not exist"),
        (tmp_path / "x.tar.gz", "unpack it"),
        (tmp_path, "known are cifar, idx"),
    ):
        with pytest.raises(DataError, match=reason):
            recognise(path)


@pytest.mark.parametrize("name", FORMATS)
def test_a_wrong_format_is_one_sentence(name, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("x\n")
    for path in (tmp_path / "empty", tmp_path / "text", tmp_path / "none"):
        with pytest.raises(DataError):
            read_source(path, name, Choices())


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("write", WRITERS)
def test_any_source_as_any_other_format_is_read_or_one_sentence(write, name, tmp_path):
    with suppress(DataError):
        read_source(write(tmp_path / "source"), name, Choices())


def test_words_without_meaning_are_refused(tmp_path):
    path = write_csv(tmp_path / "s")
    with pytest.raises(DataError, match="--label-base has no meaning for .* as csv; leave it out"):
        read_source(path, "csv", Choices(label_base=1))


def test_several_csv_files_are_named(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="give one of its CSV files, a.csv, b.csv"):
        recognise(tmp_path)


@pytest.mark.parametrize(
    "error, remedy",
    [
        (
            NotADirectoryError(20, "Not a directory", "x/part-0"),
            "give the folder instead of a file",
        ),
        (PermissionError(13, "Permission denied", "x/a"), "give yourself the right to read it"),
        (OSError(5, "Input/output error", "x/a"), "mend that file, or leave it out"),
    ],
)
def test_a_file_that_cannot_be_read_has_its_own_remedy(error, remedy, tmp_path, monkeypatch):
    def fail(path, choices):
        raise error

    monkeypatch.setitem(FORMATS, "csv", FORMATS["csv"]._replace(read=fail))
    with pytest.raises(DataError, match=remedy):
        read_source(tmp_path, "csv", Choices())
