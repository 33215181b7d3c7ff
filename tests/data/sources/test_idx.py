from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from published import create_pixels, pack_idx, write_idx

from oneflow_bench.data import DataError
from oneflow_bench.data.sources import Choices
from oneflow_bench.data.sources.arrays import is_idx, read_idx_folder
from oneflow_bench.data.sources.stored import read_idx


def test_plain_and_compressed_files_are_read(tmp_path):
    source = read_idx_folder(write_idx(tmp_path / "m"), Choices())
    assert source.classes == list("01234")
    assert [len(source.splits[name]) for name in ("train", "val")] == [10, 5]
    picture, label = source.splits["train"][6]
    assert label == 1 and (picture == create_pixels(10, 28, 28)[6]).all()


def test_labels_from_1_need_a_word(tmp_path):
    root = write_idx(tmp_path / "letters", label_base=1)
    with pytest.raises(DataError, match="go from 1 to 5, .* give --label-base 1"):
        read_idx_folder(root, Choices())
    source = read_idx_folder(root, Choices(label_base=1))
    assert source.classes == list("12345") and source.splits["train"][0].label == 0


def test_the_names_of_other_sets_are_known(tmp_path):
    for name in ("emnist-letters-test-images-idx3-ubyte.gz", "train-images.idx3-ubyte"):
        folder = tmp_path / name[:5]
        folder.mkdir()
        (folder / name).touch()
        assert is_idx(folder)
    assert not is_idx(tmp_path)


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "it has 0 bytes"),
        (struct.pack(">HBBI", 0, 13, 1, 4) + bytes(16), "unsigned bytes"),
        (pack_idx(np.zeros((4, 5, 5), np.uint8))[:-1], "has 99 values"),
        (struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3), "has 0 values"),
    ],
)
def test_damaged_files_are_named(data, reason, tmp_path):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(DataError, match=f"cannot be read as an IDX file .*{reason}"):
        read_idx(tmp_path / "x")


def test_damaged_gzip_is_named(tmp_path):
    packed = gzip.compress(pack_idx(create_pixels(9, 9, 9)))
    for data in (packed[:-20], b"no gzip", packed[:30] + b"xxxx" + packed[34:]):
        (tmp_path / "x.gz").write_bytes(data)
        with pytest.raises(DataError, match="x.gz cannot be read as an IDX file"):
            read_idx(tmp_path / "x.gz")


def test_missing_files_are_named(tmp_path):
    root = write_idx(tmp_path / "m")
    (root / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte is missing"):
        read_idx_folder(root, Choices())
    for path in root.glob("train*"):
        path.unlink()
    with pytest.raises(DataError, match="no training pictures in IDX"):
        read_idx_folder(root, Choices())


def test_two_sets_in_one_folder_are_refused(tmp_path):
    root = write_idx(tmp_path / "m")
    name = "train-images-idx3-ubyte"
    (root / name).write_bytes(b"")  # the plain copy of a compressed file is no other set
    assert is_idx(root)
    (root / f"emnist-{name}").write_bytes(b"")
    with pytest.raises(DataError, match="the pictures of two splits train, emnist-train-images"):
        read_idx_folder(root, Choices())
