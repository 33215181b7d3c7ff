from __future__ import annotations

import pytest
from published import create_pixels, write_faces, write_pictures

from oneflow_bench.data import DataError
from oneflow_bench.data.sources import Choices
from oneflow_bench.data.sources.tables import is_faces, is_table, read_faces, read_table


def write(folder, text, name="labels.csv"):
    write_pictures(folder / "images")
    (folder / name).write_text(text)
    return folder


def read(folder, text, **choices):
    return read_table(write(folder, text), Choices(**choices))


def test_paths_and_names_of_classes_are_read(tmp_path):
    source = read(tmp_path, "filename,label\n0.jpg,dog\n1.jpg,cat\n2.jpg,dog\n")
    assert is_table(tmp_path) and not source.multi_label and source.crops
    assert source.classes == ["cat", "dog"] and list(source.splits) == ["train"]
    assert source.splits["train"][0] == (str(tmp_path / "images" / "0.jpg"), 1)


def test_pictures_that_no_row_names_are_counted(tmp_path):
    notes = []
    read(tmp_path, "file,label\nimages/0.jpg,a\n./images/1.jpg,b\n", on_note=notes.append)
    assert notes == [
        f"left out 4 pictures of {tmp_path}, first images/2.jpg: not named in labels.csv"
    ]


def test_a_csv_without_names_of_columns_is_read(tmp_path):
    source = read(tmp_path, "images/0.jpg;10\nimages/1.jpg;9\n")
    assert source.classes == ["9", "10"] and [one.label for one in source.splits["train"]] == [1, 0]


def test_a_column_of_splits_is_followed(tmp_path):
    rows = "image,target,split\n0.jpg,a,train\n1.jpg,b,Training\n2.jpg,a,valid\n3.jpg,b,test\n"
    notes = []
    source = read(tmp_path, rows, on_note=notes.append)
    assert {name: len(rows) for name, rows in source.splits.items()} == {"train": 2, "val": 1}
    assert "test split" in notes[0]


def test_a_file_for_each_split_is_read(tmp_path):
    write(tmp_path, "path,class\n0.jpg,a\n1.jpg,b\n", "train.csv")
    write(tmp_path, "path,class\n2.jpg,b\n", "test.csv")
    source = read_table(tmp_path, Choices())
    assert [one.label for one in source.splits["val"]] == [1]
    write(tmp_path, "path,sort\n2.jpg,b\n", "test.csv")
    with pytest.raises(DataError, match="test.csv has other columns"):
        read_table(tmp_path, Choices())


@pytest.mark.parametrize(
    "text",
    [
        "file,cat,dog,emu\n0.jpg,1,0,1\n1.jpg,0,0,0\n2.jpg,0,1,0\n",
        "file,cat,dog,emu\n0.jpg,1,-1,1\n1.jpg,-1,-1,-1\n2.jpg,-1,1,-1\n",
        "file,labels\n0.jpg,cat|emu\n1.jpg,\n2.jpg,dog\n",
        'file,labels\n0.jpg,"emu, cat"\n1.jpg,\n2.jpg,dog\n',
        "file,tags\n0.jpg,emu cat\n1.jpg,\n2.jpg,dog\n",
    ],
)
def test_several_labels_a_picture_are_columns_or_lists(text, tmp_path):
    source = read(tmp_path, text)
    assert source.multi_label and source.classes == ["cat", "dog", "emu"]
    assert [one.label for one in source.splits["train"]] == [(1, 0, 1), (0, 0, 0), (0, 1, 0)]


def test_a_comma_in_the_name_of_a_class_is_no_list(tmp_path):
    source = read(tmp_path, 'file,label\n0.jpg,"tench, Tinca"\n1.jpg,springer\n')
    assert source.classes == ["springer", "tench, Tinca"] and not source.multi_label
    assert read(tmp_path, "file,label\n0.jpg,a|b\n1.jpg,a\n").multi_label


def test_the_user_names_the_columns(tmp_path):
    text = "nr,photo,breed,good,big\n0,0.jpg,a,1,0\n1,1.jpg,b,0,0\n"
    with pytest.raises(DataError, match="none is known by its name; give --image-key"):
        read(tmp_path, text)
    assert read(tmp_path, text, image_key="photo", label_key="breed").classes == ["a", "b"]
    source = read(tmp_path, text, image_key="Photo", label_key="good,big")
    assert source.multi_label and source.splits["train"][0].label == (1, 0)
    with pytest.raises(DataError, match="none is large; give --label-key"):
        read(tmp_path, text, image_key="photo", label_key="large")
    with pytest.raises(DataError, match="a label 'a' where 0 or 1"):
        read(tmp_path, text, image_key="photo", label_key="breed,big")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "is empty"),
        ("path,label\n", "has no rows"),
        ("path,label\n0.jpg\n", "row 2 has 1 cells and the first has 2"),
        ("path,label\nnone.jpg,a\n", "neither beside it nor in a folder"),
        ("path,label\n0.jpg,\n1.jpg,a\n", "labels.csv, row 2 has no label"),
        ("path,label,split\n0.jpg,a,odd\n", "names a split 'odd'"),
        ("path,label,split\n0.jpg,a,val\n", "no rows of a training split"),
        ("path,x,y\n0.jpg,a,2\n", "none is known as the labels"),
        ('path,label\n"0.jpg,a\n', "none is known|has 1 cells|cannot be read"),
        ("path,label\n\0,a\n", "it holds NUL bytes"),
        ("path,label\n0.jpg,-1\n1.jpg,0\n", "go from -1 to 0"),
        ("path,label\n0.jpg,a\n1.jpg,b\n./0.jpg,b\n", "row 2 and .*row 4 give .*0.jpg different"),
        ("path,label,Label\n0.jpg,a,b\n", "two columns called label"),
        ("path,label\n0.jpg,a\n../1.jpg,b\n", "row 3 names ../1.jpg, which is outside"),
        ("path,label\n/tmp/0.jpg,a\n", "row 2 names /tmp/0.jpg, which is outside"),
        ("path,a,b\n0.jpg,1,0\n1.jpg,1,x\n", "none is known as the labels"),
    ],
)
def test_a_csv_that_is_none_is_refused(text, reason, tmp_path):
    with pytest.raises(DataError, match=reason):
        read(tmp_path, text)


def test_text_in_another_encoding_is_named(tmp_path):
    (tmp_path / "x.csv").write_bytes("path,label\n0.jpg,größe\n".encode("latin1"))
    with pytest.raises(DataError, match="byte 19 is not of UTF-8"):
        read_table(tmp_path / "x.csv", Choices())
    with pytest.raises(DataError, match="is no CSV and holds none"):
        read_table(tmp_path / "none", Choices())


def test_faces_are_read_by_their_usage(tmp_path):
    path, notes = write_faces(tmp_path / "fer2013.csv"), []
    assert is_faces(path) and is_faces(tmp_path) and is_table(path)
    source = read_faces(path, Choices(on_note=notes.append))
    assert [len(source.splits[name]) for name in ("train", "val")] == [3, 3]
    picture, label = source.splits["train"][1]
    assert source.classes[label] == "happy" and not source.crops
    assert picture.tobytes() == create_pixels(1, 48 * 48, seed=3)[0].tobytes()
    assert "test split" in notes[0]


@pytest.mark.parametrize(
    "row, reason",
    [
        ("7,0 0 0 0,Training", "row 2 has the expression '7'"),
        ("1,0 0 0,Training", "row 2 has 3 pixels"),
        ("1,0 0 0 256,Training", "grey values from 0 to 255"),
        ("1,0 0 x 0,Training", "grey values from 0 to 255"),
        ("1,0 0 0 99999999999999999999,Training", "grey values from 0 to 255"),
        ("1,0 0 0 0,Other", "names a split 'Other'"),
    ],
)
def test_damaged_faces_are_named(row, reason, tmp_path):
    (tmp_path / "f.csv").write_text(f"emotion,pixels,Usage\n{row}\n")
    with pytest.raises(DataError, match=reason):
        read_faces(tmp_path / "f.csv", Choices())


def test_a_row_that_comes_twice_is_kept_once(tmp_path):
    notes = []
    text = "path,label\n0.jpg,a\n1.jpg,b\n0.jpg,a\n./1.jpg,b\n"
    source = read(tmp_path, text, on_note=notes.append)
    assert [one.label for one in source.splits["train"]] == [0, 1]
    assert notes[0] == f"left out 2 rows given before, first {tmp_path / 'labels.csv'}, row 4"


def test_line_ends_of_old_systems_are_read(tmp_path):
    assert read(tmp_path, "path,label\r0.jpg,a\r1.jpg,b\r").classes == ["a", "b"]


def test_one_of_several_files_is_asked_for(tmp_path):
    for name in ("a.csv", "b.csv"):
        write(tmp_path, "path,label\n0.jpg,a\n", name)
    with pytest.raises(DataError, match="holds 2 CSV files, a.csv, b.csv; give the CSV file"):
        read_table(tmp_path, Choices())
    for name in ("train.csv", "val.csv", "Valid.csv"):
        write(tmp_path, "path,label\n0.jpg,a\n", name)
    with pytest.raises(DataError, match="are one split; keep one"):
        read_table(tmp_path, Choices())
