"""Checks a whole dataset before OneFlow sees it: OneFlow aborts the process on most damage.

A part file whose size and sha256 are those in the index is unchanged since the writer decoded every
image of it, and so it is not decoded again. Any other part file is read record by record and every
image decoded. `inspect_dataset` lists all problems; `validate_dataset` raises the first.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from .errors import DataError
from .files import AnyPath, digest_file
from .index import (
    DatasetInfo,
    PartInfo,
    Progress,
    RecordCounter,
    SampleTotals,
    SplitInfo,
    load_dataset,
    read_index,
)
from .ofrecord_file import open_to_read, parse_record, read_messages
from .pictures import check_jpeg

MAX_LABEL = 999_999  # a model has an output for each label up to the largest


def inspect_dataset(path: AnyPath, scan: bool = True) -> Dict[str, Any]:
    """A description ready for JSON: counts, image sizes, checksums, and `problems` (sentences).

    Without `scan` it is that of the index, which must be there. Raises DataError if the folder is
    no dataset at all; damaged parts are listed as problems, each with its first damage. Sizes are
    [width, height] in pixels.
    """
    dataset = load_dataset(path)
    problems: List[str] = []
    stored = {} if scan else read_index(dataset.root)["splits"]
    splits, counts = {}, []
    for name, split in dataset.splits.items():
        known = len(problems)
        totals = SampleTotals.read(stored[name]) if stored else _scan(split, dataset, problems)
        unchanged = len(problems) == known if split.parts else None
        splits[name] = _describe_split(split, totals, dataset, unchanged)
        counts.append(totals.class_counts)
    if not dataset.has_index and not problems:
        problems += filter(None, [explain_label_base(dataset.root, counts)])
    return {
        "name": dataset.name,
        "path": str(dataset.root),
        "index": dataset.has_index,
        "classes": dataset.num_classes or 1 + max(max(one, default=-1) for one in counts),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "random_crop": dataset.random_crop,
        "horizontal_flip": dataset.horizontal_flip,
        "multi_label": dataset.multi_label,
        **splits,
        "problems": problems,
    }


def explain_label_base(root: Path, counts: Sequence[Mapping[int, int]]) -> Optional[str]:
    """A sentence if the least label of all splits is above 0, as where a tool counts from 1."""
    labels = {label for split in counts for label, images in split.items() if images}
    low, high = min(labels, default=0), max(labels, default=0)
    if low == 0:
        return None
    return (
        f"the labels of {root} go from {low} to {high}, so a run trains {high + 1} classes, {low} "
        f"of them without images; write it with bench data reshard {shlex.quote(str(root))} "
        f"--label-base {low} --parts N --out DIR, or give a run --num-classes {high + 1}"
    )


def _scan(split: SplitInfo, dataset: DatasetInfo, problems: List[str]) -> SampleTotals:
    totals = SampleTotals()
    for path, part in zip_longest(split.part_files, split.parts):
        try:
            totals.merge(scan_part(path, dataset.num_classes, labels=dataset.labels))
            if part and not is_as_written(path, part):
                raise DataError(f"{path} is not the file that index.json describes")
        except DataError as error:
            problems.append(str(error))
    return totals


def _describe_split(
    split: SplitInfo, totals: SampleTotals, dataset: DatasetInfo, unchanged: Optional[bool]
) -> Dict[str, Any]:
    return {
        "images": totals.num_samples,
        "parts": len(split.part_files),
        "bytes": sum(part.stat().st_size for part in split.part_files),
        "min_image_size": totals.min_size and list(totals.min_size),
        "max_image_size": totals.max_size and list(totals.max_size),
        "images_per_class": _counts_by_name(totals, dataset),
        "checksums_match": unchanged,
    }


def _counts_by_name(totals: SampleTotals, dataset: DatasetInfo) -> Dict[str, int]:
    """Images of each class of the index, and of each label found without a name."""
    names = dict(enumerate(dataset.classes))
    names.update({label: str(label) for label in totals.class_counts if label not in names})
    return {names[label]: totals.class_counts[label] for label in sorted(names)}


def validate_dataset(
    path: AnyPath,
    *,
    num_classes: Optional[int] = None,
    image_size: int,
    batch_size: int,
    val_batch_size: Optional[int] = None,
    on_progress: Optional[Progress] = None,
) -> DatasetInfo:
    """The dataset at `path`, checked so that OneFlow can train on it.

    `image_size` is the side in pixels that images will be brought to. Raises DataError for a
    missing or empty folder, a gap in the part files, records or images that cannot be read, images
    that are no RGB JPEG, labels outside `num_classes` (default: the classes of the index, or the
    largest label), and batch sizes above the split.
    """
    dataset = load_dataset(path)
    if image_size < 1:
        raise DataError(f"image size {image_size} is no size; give --image-size 1 or more")
    _check_batch_size("--batch-size", batch_size, dataset.train)
    if val_batch_size is not None:
        _check_batch_size("--val-batch-size", val_batch_size, dataset.val)
    limit = num_classes or dataset.num_classes
    count = RecordCounter(dataset.num_samples, on_progress)
    if dataset.multi_label and limit != len(dataset.classes):
        raise DataError(
            f"{dataset.root} has {len(dataset.classes)} labels a picture, so a model needs as many "
            f"outputs; leave --num-classes {limit} out"
        )
    labels = dataset.labels
    train, val = (_validate_split(split, limit, labels, count) for split in dataset.splits.values())
    classes = dataset.classes
    if not dataset.has_index:
        counts = [dict(enumerate(split.class_counts or ())) for split in (train, val)]
        problem = None if num_classes else explain_label_base(dataset.root, counts)
        if problem:
            raise DataError(problem)
        known = max(len(split.class_counts or ()) for split in (train, val))
        classes = tuple(map(str, range(known)))
    return replace(dataset, train=train, val=val, classes=classes)


def scan_part(
    path: Path,
    num_classes: Optional[int] = None,
    on_record: Optional[Callable[[], None]] = None,
    labels: Optional[int] = None,
) -> SampleTotals:
    """Read every record of a part file and decode every image; `labels` as in `parse_record`.

    Raises DataError naming file and record at the first that cannot be used.
    """
    scan = SampleTotals()
    for number, message in enumerate(read_messages(path)):
        where = f"{path}: record {number}"
        record = parse_record(message, where, labels)
        if isinstance(record.label, int):
            _check_label(record.label, num_classes, where)
        scan.add(record.label, check_jpeg(record.encoded, where))
        if on_record:
            on_record()
    return scan


def is_as_written(path: Path, part: PartInfo) -> bool:
    """Whether a part file still has the size and the checksum of the index."""
    with open_to_read(path):  # a pipe would be read forever
        return path.stat().st_size == part.size_bytes and digest_file(path) == part.sha256


def _check_batch_size(flag: str, batch_size: int, split: SplitInfo) -> None:
    if not 1 <= batch_size <= split.num_samples:
        raise DataError(
            f"{flag} {batch_size} does not fit the {split.num_samples} images in {split.folder}; "
            f"give 1 to {split.num_samples}"
        )


def _check_label(label: int, num_classes: Optional[int], where: str) -> None:
    top = MAX_LABEL if num_classes is None else num_classes - 1
    if not 0 <= label <= top:
        raise DataError(
            f"{where} has label {label} where labels go from 0 to {top}; "
            "give the right number of classes or write the dataset again"
        )


def _validate_split(
    split: SplitInfo, num_classes: Optional[int], labels: Optional[int], count: RecordCounter
) -> SplitInfo:
    if split.parts:
        for path, part in zip(split.part_files, split.parts):
            if not is_as_written(path, part):
                scan_part(path, num_classes, labels=labels)  # raises with the damage, if it shows
                raise DataError(
                    f"{path} is not the file that index.json describes (its checksum differs); "
                    "restore it, import the dataset again, or remove index.json to have the parts "
                    "scanned"
                )
            count.add(part.num_samples)
        _check_index_labels(split, num_classes, labels)
        return split
    totals = SampleTotals()
    for path in split.part_files:
        totals.merge(scan_part(path, num_classes, count.add))
    return replace(
        split,
        num_samples=totals.num_samples,
        class_counts=tuple(totals.list_counts()),
    )


def _check_index_labels(
    split: SplitInfo, num_classes: Optional[int], labels: Optional[int]
) -> None:
    counts = split.class_counts or ()
    largest = max((label for label, images in enumerate(counts) if images), default=0)
    _check_label(largest, num_classes, str(split.folder))
    listed = sum(part.num_samples for part in split.parts)
    counted = split.num_samples if labels else sum(counts)  # a picture may have any of several
    if not listed == split.num_samples == counted:
        raise DataError(
            f"the index of {split.folder} lists {split.num_samples} images, its parts {listed} and "
            f"its classes {counted}; make or import the dataset again"
        )
