import io

import pytest
from data_samples import create_jpeg, create_message, create_part
from PIL import Image

from oneflow_bench.data import DataError, default_dataset_path, load_dataset, validate_dataset


def validate(path, **changes):
    sizes = {"num_classes": 5, "image_size": 8, "batch_size": 4, "val_batch_size": 4}
    return validate_dataset(path, **{**sizes, **changes})


def encode(mode, file_format="JPEG"):
    buffer = io.BytesIO()
    Image.new(mode, (8, 8)).save(buffer, format=file_format)
    return buffer.getvalue()


def spoil(dataset, record):
    create_part(dataset / "train" / "part-00001", [(create_jpeg(), 0), record])


def test_the_digits_are_valid():
    path = default_dataset_path()
    dataset = validate(path, num_classes=None, image_size=32, batch_size=32, val_batch_size=None)
    assert dataset == load_dataset(path)


def test_a_bare_dataset_is_scanned_and_described(bare_dataset):
    seen = []
    report = lambda done, total: seen.append((done, total))  # noqa: E731
    dataset = validate(bare_dataset, num_classes=None, on_progress=report)
    assert dataset.classes == ("0", "1", "2", "3", "4")
    assert dataset.train.class_counts == (2, 2, 2, 2, 2)
    assert dataset.val.class_counts == (2, 2, 2, 2, 2)
    assert seen == [(number, 20) for number in range(1, 21)]


def test_progress_ends_at_the_total(indexed_dataset):
    seen = []
    validate(indexed_dataset, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20, 20)


@pytest.mark.parametrize("kind", ["bare", "indexed"])
@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"batch_size": 11}, "--batch-size 11 does not fit the 10 images"),
        ({"batch_size": 0}, "--batch-size 0 does not fit"),
        ({"val_batch_size": 11}, "--val-batch-size 11 does not fit the 10 images"),
        ({"image_size": 0}, "image size 0"),
        ({"num_classes": 4}, "label 4 where labels go from 0 to 3"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(request, kind, sizes, said):
    with pytest.raises(DataError, match=said):
        validate(request.getfixturevalue(f"{kind}_dataset"), **sizes)


@pytest.mark.parametrize("kind", ["bare", "indexed"])
@pytest.mark.parametrize(
    ("record", "said"),
    [
        ((create_jpeg(), 5), "record 1 has label 5 where labels go from 0 to 4"),
        ((create_jpeg(), -1), "label -1"),
        ((create_jpeg()[:-200], 0), "record 1 holds an image that cannot be decoded"),
        ((b"no picture", 0), "cannot be decoded"),
        ((b"", 0), "cannot be decoded"),
        ((encode("L"), 0), "JPEG image of mode L where OneFlow's decoder needs an RGB JPEG"),
        ((encode("CMYK"), 0), "of mode CMYK"),
        ((encode("RGB", "PNG"), 0), "PNG image of mode RGB"),
        (b"\xff" * 9, "is no OFRecord message"),
        (create_message(label=("int32_list", [1])), "no 'encoded'"),
    ],
)
def test_bad_records_are_refused_with_file_and_number(request, kind, record, said):
    dataset = request.getfixturevalue(f"{kind}_dataset")
    spoil(dataset, record)
    with pytest.raises(DataError, match=said) as caught:
        validate(dataset)
    assert f"{dataset}/train/part-00001: record 1" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["bare", "indexed"])
def test_a_truncated_file_is_refused(request, kind):
    dataset = request.getfixturevalue(f"{kind}_dataset")
    path = dataset / "val" / "part-00000"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match="part-00000: record 4 has a length of .* truncated"):
        validate(dataset)


def test_an_exchanged_file_is_refused(indexed_dataset):
    create_part(indexed_dataset / "val" / "part-00000", [(create_jpeg(), 0)])
    with pytest.raises(DataError, match="is not the file that index.json describes"):
        validate(indexed_dataset)
