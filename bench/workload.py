"""The training job, defined once: model, criterion, optimizer, schedule and feeds.

Both modes are made from what is built here (see `modes.py`); neither adds anything to it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from oneflow_bench.config import SYNTHETIC_DATA, Workload
from oneflow_bench.data import DatasetInfo, create_synthetic_batches
from oneflow_bench.data.loader import OFRecordDataLoader
from oneflow_bench.errors import InputError
from oneflow_bench.models import create_model

SYNTHETIC_BATCHES = 8  # distinct preloaded batches; steps cycle through them
SYNTHETIC_VAL_SEED_OFFSET = 1


@dataclass
class Job:
    """What a mode needs to train and evaluate."""

    model: nn.Module
    criterion: nn.Module
    optimizer: flow.optim.Optimizer
    scheduler: Any
    train_feed: Feed
    eval_feed: Feed


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


class LoaderFeed(Feed):
    """Batches read by OneFlow's operators, step by step."""

    def __init__(self, loader: OFRecordDataLoader, batch_size: int, num_samples: int, device: str):
        super().__init__(batch_size, num_samples)
        self.loader = self._read = loader
        self._device = device

    def next_batch(self) -> Tuple[flow.Tensor, flow.Tensor]:
        images, labels = self._read()
        if self._device != "cpu":  # not run: no GPU was at hand
            images, labels = images.to(self._device), labels.to(self._device)
        return images, labels


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


def create_job(
    workload: Workload, dataset: Optional[DatasetInfo], steps_per_epoch: int, device: str
) -> Job:
    """Build the job. The same workload and seed give the same weights and batches in any process.

    Raises InputError for a checkpoint that does not fit, and the errors of `create_model`.
    """
    flow.manual_seed(workload.seed)
    model = create_model(workload.model, num_classes=workload.num_classes)
    if workload.load_checkpoint:
        load_weights(model, Path(workload.load_checkpoint))
    model = model.to(device)
    optimizer = flow.optim.SGD(
        model.parameters(),
        lr=workload.lr,
        momentum=workload.momentum,
        weight_decay=workload.weight_decay,
    )
    scheduler = flow.optim.lr_scheduler.StepLR(
        optimizer, step_size=workload.lr_step * steps_per_epoch, gamma=workload.lr_gamma
    )
    train_feed, eval_feed = create_feeds(workload, dataset, device)
    criterion = nn.CrossEntropyLoss().to(device)
    return Job(model, criterion, optimizer, scheduler, train_feed, eval_feed)


def learning_rate(workload: Workload, steps_per_epoch: int, step: int) -> float:
    """Learning rate of `step` (from 0) by StepLR: lr * gamma ** (step // step_size)."""
    exponent = step // (workload.lr_step * steps_per_epoch)
    return float(workload.lr * workload.lr_gamma**exponent)


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


def copy_state(model: nn.Module) -> Dict[str, np.ndarray]:
    """Parameters and buffers as arrays of their own (`Tensor.numpy` aliases the tensor)."""
    return {name: np.array(value.numpy()) for name, value in model.state_dict().items()}


def digest_state(state: Dict[str, np.ndarray]) -> str:
    """sha256 over names, shapes, types and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = np.ascontiguousarray(state[name])
        digest.update(f"{name}:{value.dtype}:{value.shape};".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def save_weights(state: Dict[str, np.ndarray], path: Path) -> None:
    """Write a safetensors file, under a temporary name first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    save_file({name: np.ascontiguousarray(value) for name, value in state.items()}, str(temporary))
    temporary.replace(path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a safetensors file written by this suite into `model`.

    Raises InputError naming the first missing, unexpected or misshapen tensor.
    """
    try:
        with safe_open(str(path), framework="numpy") as stored:
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"--load-checkpoint {path} cannot be read as safetensors ({error}); "
            "give a .safetensors file saved by bench eager or bench graph"
        ) from None
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    problems = [f"'{name}' is missing" for name in expected if name not in state]
    problems += [f"'{name}' is unexpected" for name in state if name not in expected]
    problems += [
        f"'{name}' has shape {state[name].shape} and not {shape}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    if problems:
        raise InputError(
            f"--load-checkpoint {path} does not fit the model: {problems[0]} "
            f"({len(problems)} such tensors); give the --model and classes it was saved from"
        )
    model.load_state_dict({name: flow.tensor(value) for name, value in state.items()})
