import pytest
from data_samples import create_jpeg
from PIL import Image
from test_writer import list_files

from oneflow_bench.data import DataError, import_imagefolder, validate_dataset
from oneflow_bench.data.ofrecord_file import parse_record, read_messages
from oneflow_bench.data.pictures import convert_file

ORIENTATION = 0x0112


@pytest.fixture
def pictures(tmp_path):
    """Two classes of four pictures a split, of many kinds."""
    root = tmp_path / "pictures"
    for split in ("train", "val"):
        for number, name in enumerate(("cat", "dog")):
            folder = root / split / name
            folder.mkdir(parents=True)
            (folder / "plain.jpg").write_bytes(create_jpeg(number, (10, 6)))
            Image.new("L", (9, 7), 50 + number).save(folder / "gray.JPEG")
            Image.new("CMYK", (9, 7), (10, 20, 30, 40)).save(folder / "cmyk.jpg")
            Image.new("RGBA", (9, 7), (9, 9, 9, 99)).save(folder / "alpha.png")
            (folder / "notes.txt").write_text("not a picture")
    return root


def test_every_kind_of_picture_becomes_a_valid_dataset(pictures, tmp_path):
    seen = []
    dataset = import_imagefolder(
        pictures,
        tmp_path / "out",
        parts=2,
        workers=1,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert dataset.classes == ("cat", "dog") and dataset.train.class_counts == (4, 4)
    assert dataset.horizontal_flip and dataset.random_crop
    assert seen == [(number, 16) for number in range(1, 17)]
    (tmp_path / "out" / "index.json").unlink()  # so that every image is decoded
    validate_dataset(tmp_path / "out", num_classes=2, image_size=8, batch_size=8, val_batch_size=8)


def test_the_number_of_workers_does_not_matter(pictures, tmp_path):
    import_imagefolder(pictures, tmp_path / "one", parts=2, workers=1)
    import_imagefolder(pictures, tmp_path / "two", parts=2, workers=2)
    assert list_files(tmp_path / "one") == list_files(tmp_path / "two")


def test_a_plain_jpeg_is_stored_unchanged(pictures, tmp_path):
    import_imagefolder(pictures, tmp_path / "out", parts=1, workers=1)
    messages = read_messages(tmp_path / "out" / "train" / "part-00000")
    stored = [parse_record(message, "x").encoded for message in messages]
    assert (pictures / "train" / "cat" / "plain.jpg").read_bytes() in stored


def test_a_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.new("RGB", (10, 6)).save(tmp_path / "r.jpg", exif=exif)
    (tmp_path / "upright.jpg").write_bytes(convert_file(tmp_path / "r.jpg", 90)[0])
    with Image.open(tmp_path / "upright.jpg") as image:
        assert image.size == (6, 10) and image.getexif().get(ORIENTATION, 1) == 1


def test_large_pictures_are_scaled_to_max_side(tmp_path):
    (tmp_path / "a.jpg").write_bytes(create_jpeg(size=(40, 20)))
    (tmp_path / "b.jpg").write_bytes(convert_file(tmp_path / "a.jpg", 90, max_side=10)[0])
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.size == (10, 5)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unreadable_picture_is_named_and_nothing_is_left(pictures, tmp_path, workers):
    bad = pictures / "val" / "dog" / "plain.jpg"
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(DataError, match="cannot be read as a picture") as caught:
        import_imagefolder(pictures, tmp_path / "out", parts=1, workers=workers)
    assert str(bad) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_a_class_that_training_lacks_is_refused(pictures, tmp_path):
    (pictures / "val" / "emu").mkdir()
    with pytest.raises(DataError, match="emu is a class that"):
        import_imagefolder(pictures, tmp_path / "out", workers=1)


def test_folders_without_pictures_are_refused(tmp_path):
    with pytest.raises(DataError, match="is no folder"):
        import_imagefolder(tmp_path / "none", tmp_path / "out")
    with pytest.raises(DataError, match="has no train/"):
        import_imagefolder(tmp_path, tmp_path / "out")
    for split in ("train", "val"):
        (tmp_path / split / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no pictures"):
        import_imagefolder(tmp_path, tmp_path / "out")
