import sys

import pytest
from test_writer import list_files

from oneflow_bench.data import (
    DataError,
    default_dataset_path,
    inspect_dataset,
    load_dataset,
    make_digits,
)
from oneflow_bench.data.importers import split_stratified


@pytest.mark.slow
def test_the_embedded_digits_can_be_rebuilt(tmp_path):
    seen = []
    make_digits(tmp_path / "digits", on_progress=lambda done, total: seen.append((done, total)))
    assert list_files(tmp_path / "digits") == list_files(default_dataset_path())
    assert seen[-1] == (1797, 1797)


def test_every_scan_is_in_one_split():
    dataset = load_dataset(default_dataset_path())
    assert (dataset.train.num_samples, dataset.val.num_samples) == (1438, 359)
    assert inspect_dataset(dataset.root)["train"]["max_image_size"] == [32, 32]
    assert len(dataset.train.part_files) == len(dataset.val.part_files) == 2


def test_a_stratified_split_takes_its_share_of_each_class():
    labels = [0] * 10 + [1] * 20
    train, val = split_stratified(labels, 0.2, seed=1)
    assert sorted(train + val) == list(range(30))
    assert [labels[index] for index in sorted(val)] == [0, 0, 1, 1, 1, 1]
    assert (train, val) == split_stratified(labels, 0.2, seed=1)


def test_without_scikit_learn_there_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match="pip install scikit-learn"):
        make_digits(tmp_path / "digits")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_overwritten(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(DataError, match="exists already"):
        make_digits(tmp_path)
    assert (tmp_path / "mine").read_text() == "precious"
