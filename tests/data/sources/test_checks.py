from __future__ import annotations

import pytest

from oneflow_bench.data import DataError
from oneflow_bench.data.sources import Labelled, Source
from oneflow_bench.data.sources.recognition import check_source


def create_source(labels, classes, val=(), multi_label=True):
    splits = {"train": [Labelled(f"{n}.jpg", label) for n, label in enumerate(labels)]}
    if val:
        splits["val"] = [Labelled(path, labels[0]) for path in val]
    return Source("a set", classes, splits, multi_label=multi_label)


def test_exactly_one_label_of_each_picture_is_its_class():
    notes = []
    found = check_source(create_source([(0, 1), (1, 0)], ["a", "b"], ["x"]), "set", notes.append)
    assert not found.multi_label and [one.label for one in found.splits["train"]] == [1, 0]
    assert found.splits["val"] == [("x", 1)]
    assert "every picture of set has exactly one label" in notes[0]


@pytest.mark.parametrize("rows", [[(0, 1), (1, 1)], [(0, 1), (0, 0)]])
def test_other_labels_stay_several(rows):
    found = check_source(create_source(rows, ["a", "b"]), "set", print)
    assert found.multi_label and found.kind == "a set, with several labels a picture: a, b"
    assert [one.label for one in found.splits["train"]] == rows


def test_labels_that_no_picture_has_are_refused():
    with pytest.raises(DataError, match="set has 2 labels, and all of them are 0"):
        check_source(create_source([(0, 0), (0, 0)], ["a", "b"]), "set", print)


def test_one_class_is_refused():
    for classes in (["cat"], ["cat", "dog"]):
        with pytest.raises(DataError, match="of one class, cat, .* add pictures of another"):
            check_source(create_source([0, 0], classes, multi_label=False), "set", print)


def test_pictures_of_both_splits_are_said():
    notes = []
    source = create_source([0, 1, 1], ["a", "b"], ["1.jpg", "9.jpg"], multi_label=False)
    check_source(source, "set", notes.append)
    assert notes == [
        "both splits have 1 picture, first 1.jpg; the accuracy on those is that of training"
    ]
