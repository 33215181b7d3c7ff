import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from data_samples import create_jpeg
from PIL import Image
from test_writer import list_files

from oneflow_bench.data import DataError, import_imagefolder, validate_dataset
from oneflow_bench.data.ofrecord_file import parse_record, read_messages
from oneflow_bench.data.pictures import convert_file, encode_jpeg
from oneflow_bench.data.writer import new_folder

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


@pytest.mark.parametrize("orientation", [1, 3])
def test_a_jpeg_is_stored_as_it_is_where_its_metadata_do_not_rotate_it(orientation, tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.new("RGB", (10, 6)).save(tmp_path / "a.jpg", exif=exif)
    converted, _ = convert_file(tmp_path / "a.jpg", 90)
    assert (converted == (tmp_path / "a.jpg").read_bytes()) == (orientation == 1)


def test_an_unreadable_picture_is_named_and_nothing_is_left(pictures, tmp_path):
    bad = pictures / "val" / "dog" / "plain.jpg"
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(DataError, match="cannot be read as a picture") as caught:
        import_imagefolder(pictures, tmp_path / "out", parts=1, workers=1)
    assert str(bad) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_a_class_that_training_lacks_is_refused(pictures, tmp_path):
    (pictures / "val" / "emu").mkdir()
    with pytest.raises(DataError, match="emu is a class that"):
        import_imagefolder(pictures, tmp_path / "out", workers=1)


def test_folders_without_pictures_are_refused(tmp_path):
    with pytest.raises(DataError, match="is no folder"):
        import_imagefolder(tmp_path / "none", tmp_path / "out", workers=1)
    with pytest.raises(DataError, match="has no train/"):
        import_imagefolder(tmp_path, tmp_path / "out", workers=1)
    for split in ("train", "val"):
        (tmp_path / split / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no pictures"):
        import_imagefolder(tmp_path, tmp_path / "out", workers=1)


def test_hidden_folders_and_files_are_no_pictures_and_no_classes(pictures, tmp_path):
    for hidden in ("train/.ipynb_checkpoints", "train/cat/.thumbs", "val/._cat"):
        (pictures / hidden).mkdir()
        (pictures / hidden / "copy.jpg").write_bytes(create_jpeg())
    (pictures / "train" / "cat" / "._plain.jpg").write_bytes(b"resource fork")
    dataset = import_imagefolder(pictures, tmp_path / "out", parts=1, workers=1)
    assert dataset.classes == ("cat", "dog") and dataset.train.num_samples == 8


@pytest.fixture
def broken_pictures(pictures):
    """Three files that cannot be read, in both splits: an EPS, a dangling link, half a JPEG."""
    (pictures / "train" / "cat" / "eps.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    (pictures / "val" / "cat" / "gone.jpg").symlink_to("nowhere.jpg")
    whole = encode_jpeg(Image.effect_noise((64, 64), 50).convert("RGB"), 90)
    (pictures / "val" / "dog" / "half.jpg").write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    return pictures


@pytest.mark.parametrize("workers", [1, 2])
def test_all_unreadable_files_are_listed_with_their_reason(broken_pictures, tmp_path, workers):
    with pytest.raises(DataError, match="3 of 19 files .* --skip-unreadable") as caught:
        import_imagefolder(broken_pictures, tmp_path / "out", parts=1, workers=workers)
    lines = str(caught.value).splitlines()[1:]
    for path, reason in (
        ("train/cat/eps.jpg", "none of JPEG, PNG, BMP"),
        ("val/cat/gone.jpg", "No such file"),
        ("val/dog/half.jpg", "remature end"),
    ):
        assert sum(str(broken_pictures / path) in line and reason in line for line in lines) == 1
    assert "BytesIO" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_unreadable_files_can_be_skipped(broken_pictures, tmp_path):
    notes = []
    dataset = import_imagefolder(
        broken_pictures, tmp_path / "out", 1, 1, skip_unreadable=True, on_note=notes.append
    )
    assert (dataset.train.num_samples, dataset.val.num_samples) == (8, 8)
    assert sum(note.startswith("skipped: ") for note in notes) == 3


def test_classes_without_pictures_are_reported(pictures, tmp_path):
    for split in ("train", "val"):
        (pictures / split / "emu").mkdir()
    with pytest.raises(DataError, match="no pictures of 1 class: emu"):
        import_imagefolder(pictures, tmp_path / "out", parts=1, workers=1)
    (pictures / "train" / "emu" / "a.jpg").write_bytes(create_jpeg())
    notes = []
    import_imagefolder(pictures, tmp_path / "out", 1, 1, on_note=notes.append)
    assert any("has no pictures of emu" in note for note in notes)
    assert any("left out 2 files" in note and "notes.txt" in note for note in notes)


IMPORT = """
import sys, time
from oneflow_bench.data import converting
converting.convert_file = lambda *_: time.sleep(3)  # in each process
if __name__ == "__main__":
    from oneflow_bench.bench.cli import main
    main(["data", "import", "imagefolder", sys.argv[1], "--out", sys.argv[2], "--workers", "2"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_killed_import_leaves_no_process_and_the_next_one_no_folder(tmp_path, number):
    root = tmp_path / "in"
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            (root / split / name / "a.jpg").write_bytes(create_jpeg())
    script = tmp_path / "import.py"
    script.write_text(IMPORT)
    process = subprocess.Popen(
        [sys.executable, str(script), str(root), str(tmp_path / "out")], stderr=subprocess.DEVNULL
    )
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_until(lambda: list(tmp_path.glob(".out.*")) and len(listed.read_text().split()) >= 3)
    children = listed.read_text().split()
    process.send_signal(number)
    process.wait(30)
    wait_until(lambda: not any(is_running(child) for child in children))
    left = list(tmp_path.glob(".out.*"))
    assert len(left) == (number == signal.SIGKILL)
    with new_folder(tmp_path / "out"):
        assert not any(path.exists() for path in left)


def is_running(child):
    """Whether the process is there and not just waiting to be collected."""
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def wait_until(is_true, limit_s=30):
    end = time.monotonic() + limit_s
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.01)
