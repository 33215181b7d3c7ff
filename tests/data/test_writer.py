import json

import numpy as np
import pytest
from data_samples import create_jpeg
from PIL import Image

from oneflow_bench.data import DataError, Description, Sample, write_dataset
from oneflow_bench.data.pictures import convert_to_rgb

DESCRIPTION = Description("made", ["x", "y"], quality=90)


def create_samples(count=5):
    return [Sample(create_jpeg(40 * i), i % 2) for i in range(count)]


def write(path, train, val=None, parts=2):
    splits = {"train": train, "val": train if val is None else val}
    return write_dataset(path, DESCRIPTION, splits, parts)


def list_files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_same_samples_give_the_same_bytes(tmp_path):
    write(tmp_path / "one", create_samples())
    write(tmp_path / "two", create_samples())
    assert list_files(tmp_path / "one") == list_files(tmp_path / "two")


def test_statistics_are_those_of_the_training_pixels(tmp_path):
    import io

    samples = create_samples()
    dataset = write(tmp_path / "out", samples, val=create_samples(2))
    pixels = np.concatenate(
        [np.asarray(Image.open(io.BytesIO(sample.encoded))).reshape(-1, 3) for sample in samples]
    ).astype(np.float64)
    assert dataset.mean == pytest.approx(pixels.mean(0), abs=1e-3)
    assert dataset.std[0] == pytest.approx(pixels.std(0)[0], abs=1e-3)


def test_the_index_counts(tmp_path):
    write(tmp_path / "out", create_samples(5))
    train = json.loads((tmp_path / "out" / "index.json").read_text())["splits"]["train"]
    assert train["num_samples"] == 5 and train["class_counts"] == [3, 2]
    assert [part["num_samples"] for part in train["parts"]] == [3, 2]


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ([Sample(create_jpeg(), 2)] * 2, "label 2 and there are 2 classes"),
        ([Sample(create_jpeg(), -1)] * 2, "label -1"),
        ([Sample(b"junk", 0)] * 2, "cannot be decoded"),
        (create_samples(1), "1 images for 2 part files"),
        ([], "0 images for 2 part files"),
    ],
)
def test_bad_samples_leave_nothing_behind(tmp_path, train, said):
    with pytest.raises(DataError, match=said):
        write(tmp_path / "out", train)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing_behind(tmp_path):
    def interrupted():
        yield from create_samples(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out", interrupted(), val=create_samples())
    assert list(tmp_path.iterdir()) == []


def test_an_empty_target_is_taken_and_a_full_one_refused(tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", create_samples())
    before = list_files(tmp_path / "out")
    with pytest.raises(DataError, match="exists already"):
        write(tmp_path / "out", create_samples(3))
    assert list_files(tmp_path / "out") == before


def test_a_target_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        write(tmp_path / "file" / "out", create_samples())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_becomes_rgb(mode):
    assert convert_to_rgb(Image.new(mode, (4, 4))).mode == "RGB"


def test_transparency_is_laid_on_white():
    image = convert_to_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 0)))
    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_to_eight():
    image = Image.fromarray(np.full((2, 2), 0x8000, dtype=np.uint16))
    assert convert_to_rgb(image).getpixel((0, 0)) == (128, 128, 128)
