"""Several labels a picture, from the files to the score, in both modes."""

from __future__ import annotations

import numpy as np
import pytest

from oneflow_bench.data import Wishes, import_dataset

pytestmark = pytest.mark.oneflow
NAMES = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Pictures of 32 x 32 with a bright square for each label that they have."""
    folder = tmp_path_factory.mktemp("data")
    source = np.random.default_rng(0)
    labels = source.integers(0, 2, (64, 3))
    pixels = source.integers(0, 60, (64, 32, 32, 3))
    for label in range(3):
        bright = labels[:, label, None, None] * 150
        pixels[:, 4 + 9 * label : 12 + 9 * label, 8:24, label] += bright
    np.savez(folder / "s.npz", images=pixels.astype(np.uint8), labels=labels)
    (folder / "names.txt").write_text("\n".join(NAMES))
    wishes = Wishes(val_fraction=0.25, class_names=folder / "names.txt")
    return import_dataset(folder / "s.npz", folder / "set", wishes, parts=1, workers=1)


def test_the_loader_gives_the_labels_of_the_files(dataset):
    from oneflow_bench.data.loader import PartLoader
    from oneflow_bench.data.ofrecord_file import parse_record, read_messages

    loader = PartLoader(dataset, train=False, batch_size=16, image_size=32, seed=0)
    images, labels = loader()
    stored = [
        parse_record(message, "", 3).label for message in read_messages(dataset.val.part_files[0])
    ]
    assert images.shape == (16, 3, 32, 32) and labels.numpy().tolist() == list(map(list, stored))


@pytest.mark.parametrize("feed", ["loader", pytest.param("graph", marks=pytest.mark.slow)])
def test_both_modes_learn_the_labels_alike(dataset, feed):
    from oneflow_bench.bench.config import Contender, Workload
    from oneflow_bench.bench.training.job import create_job
    from oneflow_bench.bench.training.modes import ModeSetting, create_mode

    workload = Workload(
        model="lenet", data=str(dataset.root), loss="binary_cross_entropy", num_classes=3,
        batch_size=16, val_batch_size=16, optimizer="adam", lr=0.003, weight_decay=0, feed=feed,
    )  # fmt: skip
    losses, scores = {}, {}
    for name in ("eager", "graph"):
        job = create_job(workload, dataset, 3, "cpu")
        mode = create_mode(job, ModeSetting(workload, Contender(name=name, mode=name), 3))
        losses[name] = [float(mode.train_step()[0].numpy()) for _ in range(25)]
        outputs, labels = mode.eval_step()
        scores[name] = job.score([(outputs.numpy().copy(), labels.numpy().copy())], job.eval_feed)
    assert losses["graph"] == pytest.approx(losses["eager"], abs=1e-2)
    for score in scores.values():
        assert score.correct is None and score.metrics["mAP"] > 0.95
        assert set(score.metrics) == {"accuracy", "mAP", *(f"accuracy of label {n}" for n in NAMES)}
