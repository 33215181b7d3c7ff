"""Writes datasets: part files and their index, whole or not at all.

Samples go round-robin into the parts, so the same samples in the same order give the same bytes.
"""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from operator import add
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from .errors import DataError
from .files import AnyPath
from .index import (
    SCHEMA_VERSION,
    DatasetInfo,
    RecordCounter,
    SampleTotals,
    load_dataset,
    save_index,
)
from .ofrecord_file import Label, Record, describe_parts, open_parts
from .pictures import ImageFacts, measure_jpeg


class Sample(NamedTuple):
    """A JPEG and its label; `facts` spares measuring the image a second time."""

    encoded: bytes
    label: Label
    facts: Optional[ImageFacts] = None


@dataclass(frozen=True)
class Description:
    """The fields of an index that are not measured."""

    name: str
    classes: Sequence[str]
    quality: int
    source: str = ""
    random_crop: bool = True
    horizontal_flip: bool = True
    multi_label: bool = False


@dataclass
class _PixelTotals(SampleTotals):
    pixels: int = 0
    sums: Sequence[int] = (0, 0, 0)  # of each channel
    squares: Sequence[int] = (0, 0, 0)

    def add_image(self, label: Label, facts: ImageFacts) -> None:
        self.add(label, (facts.width, facts.height))
        self.pixels += facts.width * facts.height
        self.sums = [*map(add, self.sums, facts.sums)]
        self.squares = [*map(add, self.squares, facts.squares)]

    def mean_and_std(self) -> Tuple[List[float], List[float]]:
        """Per channel over all pixels, rounded to 4 digits (units 0..255)."""
        mean = [total / self.pixels for total in self.sums]
        squares = [total / self.pixels for total in self.squares]
        variances = [square - value**2 for square, value in zip(squares, mean)]
        # an image set of one colour has no deviation; 1 leaves it unscaled
        std = [value**0.5 if value > 1e-6 else 1.0 for value in variances]
        return [round(value, 4) for value in mean], [round(value, 4) for value in std]


def write_dataset(
    out_dir: AnyPath,
    description: Description,
    splits: Mapping[str, Iterable[Sample]],
    parts: int = 2,
    counter: Optional[RecordCounter] = None,
) -> DatasetInfo:
    """Write `splits` ("train" and "val") as `parts` part files each, with an index.

    Mean and deviation are those of the training images. Everything is written to a folder beside
    `out_dir` and renamed at the end. Raises DataError for a target that is not empty, a label that
    names no class, an image that is no RGB JPEG, and fewer samples than parts.
    """
    with new_folder(Path(out_dir)) as folder:
        counter = counter or RecordCounter(0, None)
        totals = {"train": _PixelTotals(), "val": _PixelTotals()}
        stored = {
            split: _write_split(folder / split, splits[split], parts, description, counted, counter)
            for split, counted in totals.items()
        }
        mean, std = totals["train"].mean_and_std()
        index = {
            "schema_version": SCHEMA_VERSION,
            "name": description.name,
            "source": description.source,
            "classes": list(description.classes),
            "mean": mean,
            "std": std,
            "quality": description.quality,
            "augmentation": {
                "random_crop": description.random_crop,
                "horizontal_flip": description.horizontal_flip,
            },
            **({"multi_label": True} if description.multi_label else {}),
            "splits": stored,
        }
        save_index(folder, index)
    return load_dataset(Path(out_dir))


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes `target` on success and vanishes on any error.

    It is locked while its process lives. The folder that a killed process left is removed by the
    next one with the same target. Raises DataError if the target holds something or cannot be
    written.
    """
    check_target(target)
    prefix, suffix = f".{target.name}.", ".partial"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f"{glob.escape(prefix)}*{suffix}"):
            _remove_abandoned(left)
        temporary = Path(tempfile.mkdtemp(suffix, prefix, target.parent))
        lock = os.open(temporary, os.O_RDONLY)
    except OSError as error:
        raise _cannot_write(target, error) from None
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        temporary.replace(target)
    except OSError as error:
        raise _cannot_write(target, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)


def _remove_abandoned(folder: Path) -> None:
    with suppress(OSError):  # it is locked, or gone
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        finally:
            os.close(lock)


def check_target(target: Path, source: Optional[Path] = None) -> None:
    """Raise DataError if a dataset made of `source` cannot be written to `target`."""
    if source and source.resolve() in target.resolve().parents:
        raise DataError(f"{target} lies in {source}, which is read; name a folder outside of it")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(
            f"{target} exists already and is not empty; remove it or name another folder"
        )


def _cannot_write(target: Path, error: OSError) -> DataError:
    return DataError(
        f"{target} cannot be written ({error.strerror or error}); name a folder you may write to"
    )


def _write_split(
    folder: Path,
    samples: Iterable[Sample],
    parts: int,
    description: Description,
    totals: _PixelTotals,
    counter: RecordCounter,
) -> Dict[str, Any]:
    folder.mkdir()
    count, classes = 0, len(description.classes)
    with open_parts(folder, range(parts)) as writers:
        for count, sample in enumerate(samples, start=1):
            where = f"sample {count - 1} of {folder.name}"
            _check_label(sample.label, description, where)
            totals.add_image(sample.label, sample.facts or measure_jpeg(sample.encoded, where))
            writers[(count - 1) % parts].write(Record(sample.encoded, sample.label))
            counter.add()
    if count < parts:
        raise DataError(
            f"{folder.name} has {count} images for {parts} part files; "
            f"give --parts {max(count, 1)} or less, or more images"
        )
    return {**totals.describe(classes), **describe_parts(writers)}


def _check_label(label: Label, description: Description, where: str) -> None:
    classes = len(description.classes)
    if description.multi_label:
        if not isinstance(label, tuple) or len(label) != classes or not set(label) <= {0, 1}:
            raise DataError(f"{where} has label {label}; give 0 or 1 for each of {classes} labels")
    elif isinstance(label, tuple) or not 0 <= label < classes:
        raise DataError(
            f"{where} has label {label} and there are {classes} classes; "
            f"labels go from 0 to {classes - 1}"
        )
