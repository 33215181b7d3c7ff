from __future__ import annotations

import pytest
from data_samples import create_jpeg
from published import write_records

from oneflow_bench.data import DataError, Wishes, import_dataset
from oneflow_bench.data.ofrecord_file import parse_record, read_messages
from oneflow_bench.data.sources import Choices
from oneflow_bench.data.sources.records import is_ofrecord, read_ofrecord

KEYS = {"image_key": "img", "label_key": "cls"}


def test_other_keys_and_another_base_are_read(tmp_path):
    write_records(tmp_path / "r" / "train", [[1], [3], [2]])
    write_records(tmp_path / "r" / "validation", [[1]])
    assert is_ofrecord(tmp_path / "r")
    source = read_ofrecord(tmp_path / "r", Choices(**KEYS, label_base=1))
    assert source.classes == ["1", "2", "3"] and not source.multi_label
    assert [one.label for one in source.splits["train"]] == [0, 2, 1]
    with pytest.raises(DataError, match="give --label-base 1"):
        read_ofrecord(tmp_path / "r", Choices(**KEYS))
    with pytest.raises(DataError, match=r"no 'encoded' \(it has cls, img\); .*--image-key"):
        read_ofrecord(tmp_path / "r", Choices(label_base=1))


def test_pictures_are_copied_byte_for_byte(tmp_path):
    write_records(tmp_path / "r", [[0], [1], [0], [1]])
    wishes = Wishes(val_fraction=0.5, **KEYS)
    dataset = import_dataset(tmp_path / "r", tmp_path / "out", wishes, parts=1, workers=1)
    stored = {
        parse_record(message, "").encoded
        for split in dataset.splits.values()
        for message in read_messages(split.part_files[0])
    }
    assert stored == {create_jpeg(number) for number in range(4)}


@pytest.mark.parametrize(
    "rows, base, names, first",
    [
        ([[1, 0, 1], [0, 0, 0]], None, ["0", "1", "2"], (1, 0, 1)),
        ([[2, 0], [], [1]], None, ["0", "1", "2"], (1, 0, 1)),
        ([[3, 1], [2]], 1, ["1", "2", "3"], (1, 0, 1)),
    ],
)
def test_several_labels_are_bits_or_lists_of_numbers(rows, base, names, first, tmp_path):
    write_records(tmp_path / "r", rows)
    source = read_ofrecord(tmp_path / "r", Choices(**KEYS, label_base=base))
    assert source.multi_label and source.classes == names
    assert source.splits["train"][0].label == first


def test_a_dataset_of_the_suite_is_not_imported_again(indexed_dataset):
    with pytest.raises(DataError, match="is a dataset of this suite already"):
        read_ofrecord(indexed_dataset, Choices())
