from __future__ import annotations

import os
import pickle
import struct

import numpy as np
import pytest
from published import (
    NAMES,
    create_pixels,
    write_cifar10_binary,
    write_cifar10_python,
    write_cifar100_binary,
)

from oneflow_bench.data import DataError
from oneflow_bench.data.sources import Choices
from oneflow_bench.data.sources.cifar import is_cifar, read_cifar, read_pickle, read_pickled


@pytest.mark.parametrize("write", [write_cifar10_binary, write_cifar10_python])
def test_both_versions_of_cifar10_give_the_same_pictures(write, tmp_path):
    source = read_cifar(write(tmp_path / "c"), Choices())
    assert source.classes == [name * 2 for name in NAMES] and not source.crops
    assert [len(source.splits[name]) for name in ("train", "val")] == [20, 4]
    picture, label = source.splits["val"][2]
    planes = create_pixels(4, 3072)[2].reshape(3, 32, 32)
    assert label == 2 and (picture[5, 7] == planes[:, 5, 7]).all()


def test_cifar100_has_its_fine_labels(tmp_path):
    source = read_cifar(write_cifar100_binary(tmp_path / "c"), Choices())
    assert [label for _, label in source.splits["train"]] == [0, 1, 2, 3, 4]
    assert len(source.classes) == 100 and source.kind == "CIFAR-100, the binary version"


def test_a_pickle_of_python_2_is_read(tmp_path):
    """Its text is bytes: the opcodes U and T, as in the published files."""
    pixels = create_pixels(1, 3072)[0].tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01(K\x01M\x00\x0ctcnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", len(pixels)) + pixels + b"tb"
    )
    data = b"\x80\x02}(U\x04data" + array + b"U\x06labels](K\x03eu."
    (tmp_path / "data_batch_1").write_bytes(data)
    read, labels = read_pickled(tmp_path / "data_batch_1")
    assert labels.tolist() == [3] and read.tobytes() == pixels


class Attack:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_is_not_executed(protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p").write_bytes(pickle.dumps({"data": Attack()}, protocol=protocol))
    with pytest.raises(DataError, match="would execute posix.mkdir"):
        read_pickle(tmp_path / "p")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "stored",
    [
        [1, 2],
        {"data": np.zeros((2, 3072), np.float32), "labels": [0, 1]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [0]},
        {"data": np.zeros((2, 99), np.uint8), "labels": [0, 1]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": ["0", "1"]},
        {"data": np.array([None, {}]), "labels": [0, 1]},
    ],
)
def test_a_pickle_of_anything_else_is_refused(stored, tmp_path):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(stored))
    with pytest.raises(DataError, match="download CIFAR again"):
        read_pickled(tmp_path / "data_batch_1")


def test_a_pickle_that_would_grow_without_bound_is_refused(tmp_path):
    (tmp_path / "deep").write_bytes(b"\x80\x02)" + b"\x85" * 100_000 + b"K\x00s.")
    with pytest.raises(DataError, match="makes 100000 tuples"):
        read_pickle(tmp_path / "deep")


def test_damaged_and_missing_files_are_named(tmp_path):
    root = write_cifar10_binary(tmp_path / "c")
    (root / "data_batch_3.bin").write_bytes(b"\1" * 100)
    with pytest.raises(DataError, match="data_batch_3.bin has 100 bytes"):
        read_cifar(root, Choices())
    (root / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match="data_batch_3.bin cannot be read"):
        read_cifar(root, Choices())
    (root / "test_batch.bin").unlink()
    assert not is_cifar(root)
    with pytest.raises(DataError, match="is no CIFAR-10"):
        read_cifar(root, Choices())


def test_a_label_above_the_classes_is_refused(tmp_path):
    root = write_cifar10_binary(tmp_path / "c")
    (root / "test_batch.bin").write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(DataError, match="labels from 10 to 10 and 10 classes"):
        read_cifar(root, Choices())


@pytest.mark.parametrize(
    "stored",
    [
        {"data": create_pixels(2, 3072), "labels": [np.int64(0), np.int64(1)]},
        {"data": create_pixels(2, 3072), "labels": np.array([0, 1])},
        {"data": np.asfortranarray(create_pixels(2, 3072)), "labels": [0, 1]},
        {"data": create_pixels(2, 3072) / 255, "labels": [0, 1]},
    ],
)
def test_a_pickle_saved_anew_with_numpy_is_one_sentence_without_python(stored, tmp_path):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(stored))
    with pytest.raises(DataError, match="or import the arrays as .npz instead") as caught:
        read_pickled(tmp_path / "data_batch_1")
    assert not any(word in str(caught.value) for word in ("numpy", "Error", "execute"))
