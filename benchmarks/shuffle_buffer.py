"""What OneFlow's reader makes of an "epoch" at several shuffle buffers (results/shuffle-buffer).

Writes as many numbered records as the digits have for training, reads six epochs of whole batches
through the loader, and prints how many different records each epoch held.

    python benchmarks/shuffle_buffer.py
"""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from pathlib import Path
from typing import List

import numpy as np
from PIL import Image

from oneflow_bench.data import DatasetInfo, Description, Sample, write_dataset
from oneflow_bench.data.loader import PartLoader, default_shuffle_buffer

SAMPLES = 1437
BATCH_SIZE = 32
EPOCHS = 6
BUFFERS = (1, 32, 64, default_shuffle_buffer(SAMPLES), 359, 1024, SAMPLES)
JPEG_SIZE = 8


def write_numbered(root: Path) -> DatasetInfo:
    """A dataset whose labels number its records."""
    stream = io.BytesIO()
    Image.new("RGB", (JPEG_SIZE, JPEG_SIZE)).save(stream, "JPEG")
    jpeg = stream.getvalue()
    description = Description(
        name="numbered", classes=[str(number) for number in range(SAMPLES)], quality=75,
        random_crop=False, horizontal_flip=False,
    )  # fmt: skip
    numbered = [Sample(jpeg, number) for number in range(SAMPLES)]
    return write_dataset(root, description, {"train": numbered, "val": numbered}, 2)


def read_epochs(dataset: DatasetInfo, buffer: int) -> List[np.ndarray]:
    """The numbers read, cut into epochs of `SAMPLES` draws each."""
    sizes = {"batch_size": BATCH_SIZE, "image_size": JPEG_SIZE, "seed": 0}
    loader = PartLoader(dataset, train=True, shuffle_buffer_size=buffer, **sizes)
    batches = -(-SAMPLES * EPOCHS // BATCH_SIZE)
    numbers = np.concatenate([np.array(loader()[1].numpy()) for _ in range(batches)])
    return [numbers[i * SAMPLES : (i + 1) * SAMPLES] for i in range(EPOCHS)]


def main() -> None:
    print(f"{SAMPLES} records, batch {BATCH_SIZE}, {EPOCHS} epochs of {SAMPLES} draws")
    print(f"{'buffer':>8}  {'different records an epoch':>28}  {'most times one came':>20}")
    with tempfile.TemporaryDirectory() as scratch:
        dataset = write_numbered(Path(scratch) / "numbered")
        for buffer in BUFFERS:
            counts = [Counter(epoch.tolist()) for epoch in read_epochs(dataset, buffer)]
            shares = [100 * len(count) / SAMPLES for count in counts]
            most = max(max(count.values()) for count in counts)
            print(f"{buffer:8}  {min(shares):15.1f} to {max(shares):5.1f} %  {most:20}")


if __name__ == "__main__":
    main()
