"""Feeds of batches, alike for both modes.

Every feed gives batches of (inputs, labels) without end. Those of the suite's own data are (images
float32 (B, 3, H, W), labels int32 (B,), or (B, K) of 0 and 1 where an image has several labels); a
training step of the user's own has nests as inputs, and no labels.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from itertools import cycle
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from ...data import DatasetInfo, create_synthetic_batches, take_share
from ...data.loader import SEEDS_PER_LOADER, JoinedLoader, PartLoader
from ..config import SYNTHETIC_DATA, Workload
from ..errors import InputError
from .clock import synchronize
from .identity import ALONE, Identity, join_digests
from .nest import map_tensors
from .oneflow_compat import reads_alone


class BatchDigests:
    """Digests of tensors with equally many rows of each reader; `preloaded`: hash each once."""

    def __init__(self, readers: int, preloaded: bool) -> None:
        self._readers = readers
        self._preloaded = preloaded
        self._known: Dict[int, List[str]] = {}

    def digest(self, tensors: List[Any]) -> str:
        """sha256 over the digests of the tensors' rows, for each reader, and then joined."""
        streams = zip(*(self._digest_rows(tensor) for tensor in tensors))
        return join_digests(
            [hashlib.sha256("".join(stream).encode()).hexdigest() for stream in streams]
        )

    def _digest_rows(self, tensor: Any) -> List[str]:
        known = self._known.get(id(tensor)) if self._preloaded else None
        if known is None:
            rows = tensor.numpy()
            shares = [rows] if self._readers == 1 else np.split(rows, self._readers)
            known = [hashlib.sha256(share.tobytes()).hexdigest() for share in shares]
            if self._preloaded:
                self._known[id(tensor)] = known
        return known


Batch = Tuple[Any, Any]  # inputs and labels, nests of tensors

SYNTHETIC_BATCHES = 8  # distinct preloaded batches; steps cycle through them
SYNTHETIC_VAL_SEED_OFFSET = 1


class Feed:
    """Gives batches of (inputs, labels) without end.

    A batch is that of each reader behind it, joined in order; a feed that is read by no reader
    counts as one. `reader_samples` are the samples of each. `steps_per_pass` are as many batches as
    hold every sample of every reader at least once; it is more where a reader of another process
    has more samples. `loader` is for a graph that takes it inside. `create_example` gives a batch
    of the same shapes and types, and takes none of the feed.
    """

    def __init__(
        self,
        next_batch: Callable[[], Batch],
        batch_size: int,
        reader_samples: Sequence[int],
        steps_per_pass: Optional[int] = None,
        loader: Optional[nn.Module] = None,
        create_example: Optional[Callable[[], Batch]] = None,
    ) -> None:
        self.next_batch, self.loader = next_batch, loader
        self.create_example = create_example or next_batch
        self.batch_size = batch_size
        self.reader_samples = tuple(reader_samples)
        share = batch_size // len(self.reader_samples)
        self.steps_per_pass = steps_per_pass or -(-max(self.reader_samples) // share)

    @property
    def num_samples(self) -> int:
        return sum(self.reader_samples)

    def skip(self, batches: int) -> None:
        """Go on behind `batches` further batches, as if they had been taken."""
        for _ in range(batches):
            self.next_batch()

    def preload(self, count: int) -> Feed:
        """The next `count` batches, held in memory; the steps cycle through them."""
        return self._replace(cycle([self.next_batch() for _ in range(count)]).__next__)

    def cast(self, dtype: flow.dtype) -> Feed:
        """The same batches with the inputs of a floating-point type in another one."""

        def widen(tensor: flow.Tensor) -> flow.Tensor:
            return tensor.to(dtype) if tensor.is_floating_point() else tensor

        def cast_batch(create: Callable[[], Batch]) -> Batch:
            inputs, labels = create()
            return map_tensors(widen, inputs), labels

        feed = self._replace(partial(cast_batch, self.next_batch))
        feed.create_example = partial(cast_batch, self.create_example)
        return feed

    def _replace(self, next_batch: Callable[[], Batch]) -> Feed:
        size, samples, example = self.batch_size, self.reader_samples, self.create_example
        return Feed(next_batch, size, samples, self.steps_per_pass, create_example=example)


def create_feeds(
    workload: Workload, dataset: Optional[DatasetInfo], device: str, identity: Identity = ALONE
) -> Tuple[Feed, Feed]:
    """The training and the validation feed of this process.

    Alone it gives the batches of all the workload's readers, joined; as one of several ranks those
    of its own reader, which are its rows of the former, to the bit. Raises InputError for readers
    that do not fit the ranks or the batch sizes.
    """
    check_readers(workload, identity)
    alone = identity.ranks == 1
    held = range(workload.readers) if alone else range(identity.rank, identity.rank + 1)
    if workload.data == SYNTHETIC_DATA or dataset is None:
        val_seed = workload.seed + SYNTHETIC_VAL_SEED_OFFSET
        train = _create_synthetic_feed(workload, workload.batch_size, workload.seed, device, held)
        size = workload.val_batch_size
        return train, _create_synthetic_feed(workload, size, val_seed, device, held)
    train = _create_loader_feed(workload, dataset, True, device, held)
    val = _create_loader_feed(workload, dataset, False, device, held)
    if workload.feed == "memory":
        # of the whole split, so that every rank holds equally many
        batches = dataset.train.num_samples // workload.batch_size
        return train.preload(batches), val.preload(val.steps_per_pass)
    return train, val


def create_training_images(
    workload: Workload, dataset: Optional[DatasetInfo], device: str, at_most: int
) -> Feed:
    """The first training images in the order of the files, `at_most` samples, not augmented."""
    alone = workload.model_copy(update={"readers": 1})
    if workload.data == SYNTHETIC_DATA or dataset is None:
        size, seed = workload.batch_size, workload.seed
        feed = _create_synthetic_feed(alone, size, seed, device, range(1))
    else:
        shown = replace(dataset, val=dataset.train)
        feed = _create_loader_feed(alone, shown, False, device, range(1))
    samples = [min(at_most, feed.num_samples)]
    return Feed(feed.next_batch, feed.batch_size, samples)


def check_readers(workload: Workload, identity: Identity) -> None:
    """Raise InputError for readers that cannot give this process its share of each batch."""
    readers = workload.readers
    if identity.ranks not in (1, readers):
        raise InputError(
            f"{identity.ranks} ranks train together and the workload has {readers} readers; "
            "each rank has one of its own, so give as many readers as ranks"
        )
    for name in ("batch_size", "val_batch_size"):
        size = getattr(workload, name)
        if size % readers:
            raise InputError(
                f"--{name.replace('_', '-')} {size} cannot be shared evenly by {readers} readers; "
                f"give a multiple of {readers}"
            )


def _create_loader_feed(
    workload: Workload, dataset: DatasetInfo, train: bool, device: str, held: Sequence[int]
) -> Feed:
    """Batches read by OneFlow's operators, step by step."""
    if train and not workload.augmentation:
        dataset = replace(dataset, random_crop=False, horizontal_flip=False)
    readers = workload.readers
    shares = [take_share(dataset, reader, readers) for reader in range(readers)]
    samples = [(share.train if train else share.val).num_samples for share in shares]
    batch_size = (workload.batch_size if train else workload.val_batch_size) // readers
    loaders = [
        PartLoader(
            shares[reader],
            train=train,
            batch_size=batch_size,
            image_size=workload.image_size,
            seed=workload.seed + SEEDS_PER_LOADER * reader,
        )
        for reader in held
    ]
    loader = loaders[0] if len(loaders) == 1 else JoinedLoader(loaders)
    alone = reads_alone(flow.__version__)

    def next_batch() -> Batch:
        if alone:
            synchronize()
        images, labels = loader()
        if alone:
            synchronize()
        if device != "cpu":  # not run: no GPU was at hand
            images, labels = images.to(device), labels.to(device)
        return images, labels

    held_samples = [samples[reader] for reader in held]
    steps_per_pass = -(-max(samples) // batch_size)
    size = batch_size * len(held)
    example = partial(_create_example, workload, size, device, dataset.labels)
    return Feed(next_batch, size, held_samples, steps_per_pass, loader, example)


def _create_example(
    workload: Workload, batch_size: int, device: str, num_labels: Optional[int] = None
) -> Batch:
    images = (batch_size, 3, workload.image_size, workload.image_size)
    rows = (batch_size,) if num_labels is None else (batch_size, num_labels)
    labels = flow.zeros(*rows, dtype=flow.int32, device=device)
    return flow.zeros(*images, device=device), labels


def _create_synthetic_feed(
    workload: Workload, batch_size: int, seed: int, device: str, held: Sequence[int]
) -> Feed:
    arrays = create_synthetic_batches(
        SYNTHETIC_BATCHES, batch_size, workload.image_size, workload.num_classes, seed
    )
    share = batch_size // workload.readers
    rows = slice(held[0] * share, (held[-1] + 1) * share)
    batches = [
        (flow.tensor(images[rows], device=device), flow.tensor(labels[rows], device=device))
        for images, labels in arrays
    ]
    samples = [SYNTHETIC_BATCHES * share] * len(held)
    example = partial(_create_example, workload, share * len(held), device)
    return Feed(cycle(batches).__next__, share * len(held), samples, create_example=example)
