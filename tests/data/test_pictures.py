from __future__ import annotations

import io
import json
import os
import struct

import numpy as np
import pytest
from data_samples import create_jpeg
from PIL import Image

from oneflow_bench.data import (
    DataError,
    InputScale,
    default_dataset_path,
    find_pictures,
    imagenet_names,
    load_dataset,
    load_labels,
    read_picture,
)
from oneflow_bench.data.ofrecord_file import parse_record, read_messages
from oneflow_bench.data.pictures import check_jpeg, convert_file, encode_jpeg, measure_jpeg

PLAIN = InputScale(image_size=4, mean=(0, 0, 0), std=(1, 1, 1), resize_ratio=1.0)


def save(path, size=(8, 6), mode="RGB", color=0, **options):
    Image.new(mode, size, color).save(path, **options)
    return path


def test_files_folders_and_patterns_are_found_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in ("b.PNG", "a.jpg"):
        save(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    save(tmp_path / "c.png")
    assert [str(p) for p in find_pictures(["in", "c.png"])] == ["in/a.jpg", "in/b.PNG", "c.png"]
    assert [str(p) for p in find_pictures(["in/*.jpg"])] == ["in/a.jpg"]
    # a file that was named is tried, whatever it is called
    assert [str(p) for p in find_pictures(["in/notes.txt"])] == ["in/notes.txt"]


@pytest.mark.parametrize("source", ["absent.png", "*.gif", "empty"])
def test_what_names_no_picture_is_refused(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no file|holds no pictures"):
        find_pictures([source])


@pytest.mark.parametrize("mode, said", [("F", "floating-point"), ("I", "signed or 32-bit")])
@pytest.mark.parametrize("read", [convert_file, read_picture])
def test_samples_without_a_known_white_are_refused(tmp_path, mode, said, read):
    path = save(tmp_path / "p.tiff", mode=mode, color=100)
    with pytest.raises(DataError, match=f"{said} samples, whose black and white are unknown"):
        read(path, 90)


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_of_16_bits_the_highest_8_are_taken(tmp_path, suffix):
    mode = "I" if suffix == "pgm" else "I;16"
    path = save(tmp_path / f"p.{suffix}", mode=mode, color=100 * 256 + 255)
    assert np.all(read_picture(path, PLAIN) == 100)


def test_a_tiff_of_12_bits_is_not_dark(tmp_path):
    packed = b"\x64\x06\x40" * 4 * 8  # two samples of 100 * 16 in three bytes
    path = tmp_path / "p.tiff"
    Image.frombytes("L", (12, 8), packed).save(path)
    content = path.read_bytes()
    for tag, before, after in ((256, 12, 8), (258, 8, 12)):  # width, bits of a sample
        kind = 4 if tag == 256 else 3
        field = struct.pack("<HHII", tag, kind, 1, before)
        assert field in content
        content = content.replace(field, struct.pack("<HHII", tag, kind, 1, after))
    path.write_bytes(content)
    assert np.all(read_picture(path, PLAIN) == 100)


@pytest.mark.parametrize(
    "mode, color, value",
    [("L", 100, 100), ("RGBA", (0, 0, 0, 0), 255), ("1", 1, 255), ("CMYK", (0, 0, 0, 0), 255)],
)
def test_every_kind_of_picture_becomes_rgb(tmp_path, mode, color, value):
    suffix = "tiff" if mode == "CMYK" else "png"
    pixels = read_picture(save(tmp_path / f"p.{suffix}", mode=mode, color=color), PLAIN)
    assert pixels.shape == (3, 4, 4)
    assert pixels.dtype == np.float32
    assert (pixels == value).all()


def test_the_centre_of_the_scaled_picture_is_normalised(tmp_path):
    image = Image.new("RGB", (12, 4), (255, 0, 0))
    image.paste((0, 0, 255), (4, 0, 8, 4))
    image.save(tmp_path / "p.png")
    scale = InputScale(image_size=4, mean=(0, 0, 5), std=(1, 1, 10), resize_ratio=1.0)
    pixels = read_picture(tmp_path / "p.png", scale)
    assert (pixels[0] == 0).all()
    assert (pixels[2] == 25).all()


def test_a_picture_is_turned_as_a_viewer_turns_it(tmp_path):
    image = Image.new("RGB", (4, 8), (255, 0, 0))
    image.paste((0, 0, 255), (0, 0, 4, 2))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "p.png", exif=exif)
    scale = InputScale(image_size=4, mean=(0, 0, 0), std=(1, 1, 1), resize_ratio=2.0)
    pixels = read_picture(tmp_path / "p.png", scale)
    assert pixels.shape == (3, 4, 4)
    whole = InputScale(image_size=8, mean=(0, 0, 0), std=(1, 1, 1), resize_ratio=0.5)
    turned = read_picture(tmp_path / "p.png", whole)
    assert turned[2, -1].max() > turned[2, 0].max()


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n broken"])
def test_what_is_no_picture_is_one_sentence(tmp_path, content):
    (tmp_path / "p.png").write_bytes(content)
    with pytest.raises(DataError, match="p.png cannot be read as a picture"):
        read_picture(tmp_path / "p.png", PLAIN)


@pytest.mark.oneflow
def test_the_input_is_that_of_the_validation_loader(tmp_path):
    from oneflow_bench.data.loader import PartLoader

    dataset = load_dataset(default_dataset_path())
    loader = PartLoader(dataset, train=False, batch_size=4, image_size=32, seed=0)
    images = loader()[0].numpy()
    messages = read_messages(dataset.val.part_files[0])
    scale = InputScale(32, dataset.mean, dataset.std, 1.0)
    for row in range(4):
        path = tmp_path / f"{row}.jpg"
        path.write_bytes(parse_record(next(messages), "").encoded)
        np.testing.assert_allclose(read_picture(path, scale), images[row], atol=0.05)


def test_imagenet_has_a_thousand_names():
    names = imagenet_names()
    assert len(names) == len(set(names)) == 1000
    assert (names[0], names[207], names[999]) == ("tench", "golden retriever", "toilet tissue")


def test_labels_are_read_from_text_and_json(tmp_path):
    (tmp_path / "l.txt").write_text("cat\n dog \n\n")
    (tmp_path / "l.json").write_text(json.dumps(["cat", "dog"]))
    assert load_labels(tmp_path / "l.txt") == load_labels(tmp_path / "l.json") == ("cat", "dog")


@pytest.mark.parametrize(
    "name, content",
    [("l.txt", ""), ("l.txt", "\n\n"), ("l.json", "{"), ("l.json", "[1]"), ("l.json", "{}")],
)
def test_labels_that_cannot_be_used_are_one_sentence(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match="the labels"):
        load_labels(tmp_path / name)


def with_height(encoded, height):
    place = encoded.index(b"\xff\xc0") + 5  # start of frame: length, precision, height
    return encoded[:place] + height.to_bytes(2, "big") + encoded[place + 2 :]


def without_half_a_scan(encoded):
    return encoded[: len(encoded) // 2] + b"\xff\xd9"


NOISE = encode_jpeg(Image.effect_noise((64, 64), 50).convert("RGB"), 90)


@pytest.mark.parametrize(
    "encoded, reason",
    [
        (create_jpeg(size=(32, 42784)), "32 x 42784 pixels; at most 32767 pixels a side"),
        (with_height(NOISE, 42784), "at most 32767 pixels a side"),
        (with_height(NOISE, 400), "remature end"),
        (with_height(NOISE, 0), "decoded"),
        (create_jpeg(size=(2, 2002)), "at most 1000 times as long as wide"),
        (without_half_a_scan(NOISE), "remature end"),
        (NOISE[: len(NOISE) // 2], "remature end"),
        (b"\xff\xd8\xff", "cannot be decoded"),
    ],
    ids=["high", "said high", "said longer", "flat", "thin", "half", "cut off", "start alone"],
)
def test_a_jpeg_that_is_not_whole_or_too_large_for_oneflow_is_refused(tmp_path, encoded, reason):
    with pytest.raises(DataError, match=f"here .*{reason}"):
        measure_jpeg(encoded, "here")
    (tmp_path / "p.jpg").write_bytes(encoded)
    with pytest.raises(DataError, match="p.jpg cannot be read as a picture"):
        read_picture(tmp_path / "p.jpg", PLAIN)


def test_bytes_behind_the_picture_do_no_harm():
    assert check_jpeg(NOISE[:-2] + b"\0\0" + NOISE[-2:] + b"tail", "here") == (64, 64)


def test_the_pixels_of_a_picture_are_limited(tmp_path):
    png = tmp_path / "large.png"
    Image.new("1", (30_000, 3_000)).save(png)
    with pytest.raises(DataError, match="89478485 pixels"):
        read_picture(png, PLAIN)


@pytest.mark.parametrize("kind", ["EPS", "DDS", "PDF", "TGA", "ICO"])
def test_formats_that_are_not_on_the_list_are_not_opened(tmp_path, kind):
    path = tmp_path / "p.png"
    Image.new("RGB", (16, 16)).save(path, format=kind)
    with pytest.raises(DataError, match=r"it is none of JPEG, PNG, BMP, GIF, WEBP, TIFF, PPM"):
        read_picture(path, PLAIN)


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "p.png")
    for read in (lambda path: read_picture(path, PLAIN), load_labels):
        with pytest.raises(DataError, match="pipe or a device"):
            read(tmp_path / "p.png")


def test_sums_are_those_of_the_decoded_pixels():
    pixels = np.asarray(Image.open(io.BytesIO(NOISE)), dtype=np.int64).reshape(-1, 3)
    facts = measure_jpeg(NOISE, "here")
    assert facts.sums == tuple(pixels.sum(axis=0))
    assert facts.squares == tuple((pixels**2).sum(axis=0))


def test_labels_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "l.txt").write_bytes(b"\xef\xbb\xbfcat\ndog\n")
    assert load_labels(tmp_path / "l.txt") == ("cat", "dog")
    (tmp_path / "deep.json").write_text("[" * 200_000)
    with pytest.raises(DataError, match="the labels"):
        load_labels(tmp_path / "deep.json")


def test_a_reason_that_is_no_text_is_not_shown(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0junk")
    with pytest.raises(DataError, match="its bytes are damaged"):
        convert_file(tmp_path / "a.jpg", 90)
