"""Where batches come from, alike for both modes.

Every feed gives batches of (images float32 (B, 3, H, W), labels int32 (B,)) without end.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, List, Optional, Tuple

import oneflow as flow

from oneflow_bench.config import SYNTHETIC_DATA, Workload
from oneflow_bench.data import DatasetInfo, create_synthetic_batches
from oneflow_bench.data.loader import OFRecordDataLoader
from oneflow_bench.timing import synchronize

SYNTHETIC_BATCHES = 8  # distinct preloaded batches; steps cycle through them
SYNTHETIC_VAL_SEED_OFFSET = 1


class Feed:
    """Gives batches of (images float32 (B, 3, H, W), labels int (B,)) without end."""

    loader: Optional[OFRecordDataLoader] = None  # for a graph that takes the loader inside

    def __init__(self, batch_size: int, num_samples: int) -> None:
        self.batch_size = batch_size
        self.num_samples = num_samples

    @property
    def steps_per_pass(self) -> int:
        """Batches that hold every sample at least once."""
        return -(-self.num_samples // self.batch_size)

    def next_batch(self) -> Tuple[flow.Tensor, flow.Tensor]:
        raise RuntimeError("a feed must say how the next batch is got")

    def skip(self, batches: int) -> None:
        """Go on behind `batches` further batches, as if they had been taken."""
        for _ in range(batches):
            self.next_batch()


class LoaderFeed(Feed):
    """Batches read by OneFlow's operators, step by step."""

    def __init__(self, loader: OFRecordDataLoader, batch_size: int, num_samples: int, device: str):
        super().__init__(batch_size, num_samples)
        self.loader = self._read = loader
        self._device = device
        self._alone = reads_alone(flow.__version__)

    def next_batch(self) -> Tuple[flow.Tensor, flow.Tensor]:
        if self._alone:
            synchronize()
        images, labels = self._read()
        if self._alone:
            synchronize()
        if self._device != "cpu":  # not run: no GPU was at hand
            images, labels = images.to(self._device), labels.to(self._device)
        return images, labels


def reads_alone(version: str) -> bool:
    """Whether this OneFlow's reader must not run beside other eager operators.

    OneFlow 0.8.0 ends in a segmentation fault where it does, unless one thread does all the work
    (ONEFLOW_VM_WORKLOAD_ON_SCHEDULER_THREAD=1), so they race; 0.9.0 does not.
    """
    return tuple(int(part) for part in version.split(".")[:2]) < (0, 9)


class MemoryFeed(Feed):
    """Batches that lie ready in memory; the steps cycle through them."""

    def __init__(self, batches: List[Tuple[Any, Any]], batch_size: int, num_samples: int) -> None:
        super().__init__(batch_size, num_samples)
        self._batches = batches
        self._next = 0

    def next_batch(self) -> Tuple[flow.Tensor, flow.Tensor]:
        batch = self._batches[self._next]
        self._next = (self._next + 1) % len(self._batches)
        return batch

    def skip(self, batches: int) -> None:
        self._next = (self._next + batches) % len(self._batches)


class CastFeed(Feed):
    """Another feed's batches with the images in another floating-point type."""

    def __init__(self, feed: Feed, dtype: flow.dtype) -> None:
        super().__init__(feed.batch_size, feed.num_samples)
        self._feed = feed
        self._dtype = dtype

    def next_batch(self) -> Tuple[flow.Tensor, flow.Tensor]:
        images, labels = self._feed.next_batch()
        return images.to(self._dtype), labels

    def skip(self, batches: int) -> None:
        self._feed.skip(batches)


def create_feeds(
    workload: Workload, dataset: Optional[DatasetInfo], device: str
) -> Tuple[Feed, Feed]:
    """The training and the validation feed."""
    if workload.data == SYNTHETIC_DATA or dataset is None:
        return (
            _create_synthetic_feed(workload, workload.batch_size, workload.seed, device),
            _create_synthetic_feed(
                workload,
                workload.val_batch_size,
                workload.seed + SYNTHETIC_VAL_SEED_OFFSET,
                device,
            ),
        )
    train = _create_loader_feed(workload, dataset, True, device)
    val = _create_loader_feed(workload, dataset, False, device)
    if workload.feed == "memory":
        return _preload(train, train.num_samples // train.batch_size), _preload(val)
    return train, val


def _create_loader_feed(
    workload: Workload, dataset: DatasetInfo, train: bool, device: str
) -> LoaderFeed:
    if train and not workload.augmentation:
        dataset = replace(dataset, random_crop=False, horizontal_flip=False)
    split = dataset.train if train else dataset.val
    batch_size = workload.batch_size if train else workload.val_batch_size
    loader = OFRecordDataLoader.from_dataset(
        dataset,
        train=train,
        batch_size=batch_size,
        image_size=workload.image_size,
        seed=workload.seed,
    )
    return LoaderFeed(loader, batch_size, split.num_samples, device)


def _preload(feed: LoaderFeed, batches: Optional[int] = None) -> MemoryFeed:
    count = feed.steps_per_pass if batches is None else batches
    held = [feed.next_batch() for _ in range(count)]
    return MemoryFeed(held, feed.batch_size, feed.num_samples)


def _create_synthetic_feed(workload: Workload, batch_size: int, seed: int, device: str) -> Feed:
    arrays = create_synthetic_batches(
        SYNTHETIC_BATCHES, batch_size, workload.image_size, workload.num_classes, seed
    )
    batches = [
        (flow.tensor(images, device=device), flow.tensor(labels, device=device))
        for images, labels in arrays
    ]
    return MemoryFeed(batches, batch_size, SYNTHETIC_BATCHES * batch_size)
