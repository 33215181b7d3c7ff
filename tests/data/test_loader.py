import collections
import io
import json

import numpy as np
import pytest
from data_samples import create_part, run_python
from PIL import Image

from oneflow_bench.data import DataError, default_dataset_path, load_dataset, validate_dataset
from oneflow_bench.data.ofrecord_file import parse_record, read_messages
from oneflow_bench.data.pictures import encode_jpeg

pytestmark = pytest.mark.oneflow

# prints a digest per batch of a loader that crops and mirrors at random
DIGESTS = """
import hashlib, sys
from dataclasses import replace
import oneflow as flow
from oneflow import nn
from oneflow_bench.data import default_dataset_path, load_dataset
from oneflow_bench.data.loader import PartLoader

mode, train, seed = sys.argv[1], sys.argv[2] == "train", int(sys.argv[3])
digits = load_dataset(default_dataset_path())
dataset = replace(digits, random_crop=True, horizontal_flip=True)
loader = PartLoader(dataset, train=train, batch_size=48, image_size=24, seed=seed)

class Reading(nn.Graph):
    def __init__(self):
        super().__init__()
        self.loader = loader

    def build(self):
        return self.loader()

step = Reading() if mode == "graph" else loader
for _ in range(10):
    images, labels = step()
    assert tuple(images.shape) == (48, 3, 24, 24) and tuple(labels.shape) == (48,)
    both = images.numpy().tobytes() + labels.numpy().tobytes()
    print(hashlib.sha256(both).hexdigest())
"""


def digests(mode, split, seed):
    done = run_python(DIGESTS, mode, split, seed)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if len(line) == 64]


@pytest.mark.parametrize("split", ["train", "val"])
def test_two_processes_and_both_modes_see_the_same_batches(split):
    eager = digests("eager", split, 3)
    assert len(set(eager)) == 10
    assert eager == digests("eager", split, 3)
    assert eager == digests("graph", split, 3)


def test_another_seed_gives_other_batches():
    assert not set(digests("eager", "train", 3)) & set(digests("eager", "train", 4))


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    """23 + 7 images in three parts a split, each labelled with its number."""
    root = tmp_path_factory.mktemp("tagged")
    for split, count in (("train", 23), ("val", 7)):
        for part in range(3):
            records = [
                (encode_jpeg(Image.new("RGB", (12, 8), (9 * i, 0, 0)), 90), i)
                for i in range(part, count, 3)
            ]
            create_part(root / split / f"part-{part}", records)
    return validate_dataset(root, image_size=8, batch_size=4)


def create_loader(dataset, **changes):
    from oneflow_bench.data.loader import PartLoader

    settings = {"train": False, "batch_size": 3, "image_size": 8, "seed": 0}
    return PartLoader(dataset, **{**settings, **changes})


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5, 6, 7])
def test_a_validation_pass_counts_every_sample_once(tagged, batch_size):
    loader = create_loader(tagged, batch_size=batch_size)
    counts = loader.valid_counts()
    assert len(counts) == len(loader) == -(-7 // batch_size) and sum(counts) == 7
    for _ in range(4):
        seen = [label for count in counts for label in loader()[1].numpy()[:count].tolist()]
        assert sorted(seen) == list(range(7))


def test_the_first_validation_pass_is_in_the_order_of_the_files(tagged):
    assert create_loader(tagged, batch_size=7)()[1].numpy().tolist() == [0, 3, 6, 1, 4, 2, 5]


def test_training_shuffles_and_shows_most_samples_an_epoch():
    dataset = load_dataset(default_dataset_path())
    loader = create_loader(dataset, train=True, batch_size=32, image_size=8)
    assert len(loader) == 1438 // 32
    images = [row.tobytes() for _ in range(len(loader)) for row in loader()[0].numpy()]
    times = collections.Counter(images)
    assert len(times) > 0.92 * len(images) and max(times.values()) <= 4


def test_images_are_decoded_scaled_cropped_and_normalised_as_documented():
    dataset = load_dataset(default_dataset_path())
    images, labels = create_loader(dataset, batch_size=4, image_size=32)()
    messages = read_messages(dataset.val.part_files[0])
    records = [parse_record(next(messages), "x") for _ in range(4)]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(r.encoded))) for r in records])
    expected = (pixels - np.array(dataset.mean)) / np.array(dataset.std)
    assert labels.numpy().tolist() == [record.label for record in records]
    # two JPEG decoders may differ by a level
    assert np.abs(images.numpy() - expected.transpose(0, 3, 1, 2)).max() < 2.5 / min(dataset.std)


def test_digits_are_neither_cropped_nor_mirrored():
    loader = create_loader(load_dataset(default_dataset_path()), train=True)
    assert loader.flip is None and type(loader.image_decoder).__name__ == "OFRecordImageDecoder"


def test_validation_of_a_cropped_set_takes_the_centre(tmp_path):
    image = Image.new("RGB", (96, 64))
    image.paste((255, 255, 255), (32, 16, 64, 48))
    for split in ("train", "val"):
        create_part(tmp_path / split / "part-00000", [(encode_jpeg(image, 95), 0)] * 2)
    dataset = validate_dataset(tmp_path, image_size=28, batch_size=1)
    assert json.dumps(dataset.random_crop) == "true"
    red = create_loader(dataset, batch_size=1, image_size=28)()[0].numpy()[0, 0]
    white = (255 - dataset.mean[0]) / dataset.std[0]
    assert red.shape == (28, 28) and red[14, 14] == pytest.approx(white, abs=0.05)
    assert np.allclose(red, red[:, ::-1], atol=0.3) and red[0, 0] < 0


def test_the_arguments_of_published_scripts_give_the_batches_of_the_split(tagged):
    from oneflow_bench.data import OFRecordDataLoader

    loader = OFRecordDataLoader(
        ofrecord_root=str(tagged.root), mode="val", dataset_size=7, batch_size=3, image_size=8
    )
    images, labels = loader()
    expected = create_loader(tagged)()
    assert np.array_equal(images.numpy(), expected[0].numpy())
    assert labels.numpy().tolist() == expected[1].numpy().tolist() and len(loader) == 3


@pytest.mark.parametrize(
    "given, words",
    [
        (
            {"dataset_size": 9469},
            "dataset_size 9469 was given and .*train holds 23 images; give 23",
        ),
        ({"mode": "eval"}, "'eval' is no split .* give 'train' or 'val'"),
        ({"batch_size": 24}, "batch_size 24 does not fit; give 1 to 23 images"),
        ({"ofrecord_root": "absent"}, "absent does not exist"),
    ],
)
def test_published_arguments_that_do_not_fit_the_files_are_refused(tagged, given, words):
    from oneflow_bench.data import OFRecordDataLoader

    with pytest.raises(DataError, match=words):
        OFRecordDataLoader(**{"ofrecord_root": tagged.root, "image_size": 8, **given})
