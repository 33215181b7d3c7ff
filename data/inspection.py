"""What `bench data inspect` shows: every record read, every image decoded, all problems listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

from .errors import DataError
from .index import DatasetInfo, SplitInfo, load_dataset
from .validate import PartScan, is_as_written, scan_part


def inspect_dataset(path: Path) -> Dict[str, Any]:
    """A description ready for JSON: counts, image sizes, checksums, and `problems` (sentences).

    Raises DataError where the folder is no dataset at all; damaged parts are listed as problems,
    each with its first damage. Sizes are [width, height] in pixels.
    """
    dataset = load_dataset(path)
    problems: List[str] = []
    limit = len(dataset.classes) if dataset.has_index else None
    splits = {
        "train": _inspect_split(dataset.train, dataset, limit, problems),
        "val": _inspect_split(dataset.val, dataset, limit, problems),
    }
    return {
        "name": dataset.name,
        "path": str(dataset.root),
        "index": dataset.has_index,
        "classes": len(dataset.classes)
        or max(len(split["images_per_class"]) for split in splits.values()),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "random_crop": dataset.random_crop,
        "horizontal_flip": dataset.horizontal_flip,
        **splits,
        "problems": problems,
    }


def _inspect_split(
    split: SplitInfo, dataset: DatasetInfo, num_classes: Optional[int], problems: List[str]
) -> Dict[str, Any]:
    scans = []
    unchanged = True
    for position, part in enumerate(split.part_files):
        try:
            scans.append(scan_part(part, num_classes))
            if split.parts and not is_as_written(split, position):
                unchanged = False
                problems.append(f"{part} is not the file that index.json describes")
        except DataError as error:
            unchanged = False
            problems.append(str(error))
    return {
        "images": sum(scan.num_samples for scan in scans),
        "parts": len(split.part_files),
        "bytes": sum(part.stat().st_size for part in split.part_files),
        "min_image_size": _extreme(scans, min, "min_size"),
        "max_image_size": _extreme(scans, max, "max_size"),
        "images_per_class": _counts_by_name(scans, dataset),
        "checksums_match": unchanged if split.parts else None,
    }


def _extreme(scans: List[PartScan], choose: Any, attribute: str) -> Optional[List[int]]:
    sizes = [getattr(scan, attribute) for scan in scans if getattr(scan, attribute)]
    if not sizes:
        return None
    return [choose(size[0] for size in sizes), choose(size[1] for size in sizes)]


def _counts_by_name(scans: List[PartScan], dataset: DatasetInfo) -> Dict[str, int]:
    labels = set(range(len(dataset.classes))).union(*(scan.class_counts for scan in scans))
    return {
        dataset.classes[label] if label < len(dataset.classes) else str(label): sum(
            scan.class_counts.get(label, 0) for scan in scans
        )
        for label in sorted(labels)
    }
