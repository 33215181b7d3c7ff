from __future__ import annotations

import pytest

from oneflow_bench.data import DataError, imagenet_names
from oneflow_bench.data.sources.labels import are_signs, list_classes, name_classes, number_labels

SYNSETS = ["n01440764", "n02102040"]


def test_labels_are_numbered_from_0():
    assert number_labels([[0, 2], [1]], None, "x") == (["0", "1", "2"], [[0, 2], [1]])
    assert number_labels([[5, 7], [6]], 5, "x") == (["5", "6", "7"], [[0, 2], [1]])
    for rows, base, reason in (
        ([[1, 2]], None, "go from 1 to 2, and the least is taken for 0; give --label-base 1"),
        ([[1, 2]], 2, "give --label-base 1"),
        ([[0, 2]], 1, "give --label-base 0"),
        ([[-1, 2]], None, "go from -1 to 2"),
        ([[0, 10**6]], None, "to 1000000"),
    ):
        with pytest.raises(DataError, match=reason):
            number_labels(rows, base, "x")


def test_classes_are_in_order():
    assert list_classes(["b", "a", "b"], "x") == ["a", "b"]
    assert list_classes(["10", "9"], "x") == ["9", "10"]
    assert list_classes(["10.0", "9.5", "01", "1"], "x") == ["01", "1", "9.5", "10.0"]


def test_a_label_below_0_is_refused():
    with pytest.raises(DataError, match="labels of x go from -1 to 2; give 0 or more"):
        list_classes(["2", "-1"], "x")
    assert list_classes(["-1", "none"], "x") == ["-1", "none"]


def test_own_names_in_another_order_swap_nothing(tmp_path):
    file, notes = tmp_path / "names.txt", []
    file.write_text("dog\ncat\n")
    assert name_classes(["cat", "dog"], file, notes.append) == ["cat", "dog"]
    assert "in another order" in notes[0]
    file.write_text("dog\nemu\n")
    with pytest.raises(DataError, match="line 1 gives cat the name dog, which is another class"):
        name_classes(["cat", "dog"], file, print)
    file.write_text("cat\nemu\n")
    assert name_classes(["cat", "dog"], file, print) == ["cat", "emu"]


def test_digits_and_letters_are_signs():
    assert are_signs(["0", "12"]) and are_signs(["a", "B"])
    assert not are_signs(["a", "cat"]) and not are_signs(["_", "a"])


def test_imagenette_and_imagenet_have_readable_names():
    notes = []
    assert name_classes(SYNSETS, None, notes.append) == ["tench", "English springer"]
    assert "--class-names" in notes[0]
    assert name_classes(["cat", *SYNSETS], None, notes.append) == ["cat", *SYNSETS]
    whole = [f"n{number:08d}" for number in range(1000)]
    names = name_classes(whole, None, notes.append)
    assert names[0] == imagenet_names()[0] and len(set(names)) == 1000


def test_a_file_names_the_classes(tmp_path):
    file = tmp_path / "names.txt"
    for text in ("the tench\nspringer\n", "n02102040 springer\nn01440764\tthe tench\nn1 other\n"):
        file.write_text(text)
        assert name_classes(SYNSETS, file, print) == ["the tench", "springer"]
    file.write_text("crane\ncrane\n")
    assert name_classes(SYNSETS, file, print) == ["crane (n01440764)", "crane (n02102040)"]
    file.write_text("one\n")
    with pytest.raises(DataError, match="1 lines and no name of n01440764"):
        name_classes(SYNSETS, file, print)
    with pytest.raises(DataError, match="names of the classes .* cannot be read"):
        name_classes(SYNSETS, tmp_path / "none", print)
    file.write_bytes("größe\n".encode("latin1"))
    with pytest.raises(DataError, match=r"cannot be read \(byte 2 is not of UTF-8\); give a text"):
        name_classes(SYNSETS, file, print)
