"""A dataset on disk: `index.json` beside `train/` and `val/` with their part files."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Counter, Dict, List, Mapping, Optional, Tuple

from .errors import DataError
from .files import AnyPath, digest_file, read_regular
from .ofrecord_file import Label, combine_checksums, count_records, list_held

SCHEMA_VERSION = 1
INDEX_NAME = "index.json"
_MAX_INDEX_BYTES = 1 << 28
SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "validation")}
# per channel, 0..255: means and deviations commonly used for ImageNet, for sets without an index
IMAGENET_MEAN = (123.68, 116.779, 103.939)
IMAGENET_STD = (58.393, 57.12, 57.375)
RESIZE_RATIO = 256 / 224  # validation's shorter side to its centre crop, as published for ImageNet
_NO_INDEX = (OSError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError,
             RecursionError)  # fmt: skip
_PART = re.compile(r"part-(\d+)$")

Triple = Tuple[float, float, float]
Size = Tuple[int, int]
Progress = Callable[[int, int], None]  # (records done, records in all)


class RecordCounter:
    """Reports progress as records are done; `add` never reports more than there are."""

    def __init__(self, total: int, on_progress: Optional[Progress]) -> None:
        self._done, self._total, self._report = 0, total, on_progress

    def add(self, records: int = 1) -> None:
        self._done += records
        if self._report:
            self._report(min(self._done, self._total), self._total)


@dataclass(frozen=True)
class PartInfo:
    """One part file as the writer left it."""

    sha256: str
    num_samples: int
    size_bytes: int


@dataclass
class SampleTotals:
    """Counts of samples by label, and the extremes of their (width, height) in pixels."""

    num_samples: int = 0
    class_counts: Counter[int] = field(default_factory=Counter)
    min_size: Optional[Size] = None
    max_size: Optional[Size] = None

    def add(self, label: Label, size: Size) -> None:
        self.num_samples += 1
        self.class_counts.update(list_held(label))
        self._extend(size)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> SampleTotals:
        """Those that `describe` gave for an index."""
        sizes = (tuple(stored[name]) for name in ("min_image_size", "max_image_size"))
        counts = Counter(dict(enumerate(stored["class_counts"])))
        return cls(stored["num_samples"], +counts, *sizes)

    def merge(self, other: SampleTotals) -> None:
        self.num_samples += other.num_samples
        self.class_counts.update(other.class_counts)
        for size in (other.min_size, other.max_size):
            if size:
                self._extend(size)

    def _extend(self, size: Size) -> None:
        low, high = self.min_size or size, self.max_size or size
        self.min_size = (min(low[0], size[0]), min(low[1], size[1]))
        self.max_size = (max(high[0], size[0]), max(high[1], size[1]))

    def list_counts(self, num_classes: int = 0) -> List[int]:
        """Samples of each class, up to `num_classes` or the largest label."""
        classes = max(num_classes, 1 + max(self.class_counts, default=-1))
        return [self.class_counts[label] for label in range(classes)]

    def describe(self, num_classes: int) -> Dict[str, Any]:
        """The fields of an index."""
        return {
            "num_samples": self.num_samples,
            "class_counts": self.list_counts(num_classes),
            "min_image_size": list(self.min_size or ()),
            "max_image_size": list(self.max_size or ()),
        }


@dataclass(frozen=True)
class SplitInfo:
    """One split; `class_counts` is None if only a scan can tell."""

    folder: Path
    part_files: Tuple[Path, ...]
    part_name_suffix_length: int
    num_samples: int
    class_counts: Optional[Tuple[int, ...]] = None
    parts: Tuple[PartInfo, ...] = ()


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset. Mean and std are per channel (R, G, B), in the pixels' units of 0..255.

    `classes` is empty for a dataset without an index until `validate_dataset` has seen the labels.
    A picture has one of them; of a `multi_label` dataset any number, as 0 or 1 for each.
    """

    root: Path
    name: str
    classes: Tuple[str, ...]
    train: SplitInfo
    val: SplitInfo
    mean: Triple
    std: Triple
    random_crop: bool = True
    horizontal_flip: bool = True
    has_index: bool = False
    multi_label: bool = False

    @property
    def labels(self) -> Optional[int]:
        """Labels of a record, as `parse_record` takes it; None where it has one class."""
        return len(self.classes) if self.multi_label else None

    @property
    def splits(self) -> Dict[str, SplitInfo]:
        return {"train": self.train, "val": self.val}

    @property
    def num_samples(self) -> int:
        return self.train.num_samples + self.val.num_samples

    @property
    def checksum(self) -> str:
        """sha256 over the sha256 of all part files, training first: the same in every folder."""
        splits = self.splits.values()
        parts = [part.sha256 for split in splits for part in split.parts]
        parts = parts or [digest_file(path) for split in splits for path in split.part_files]
        return combine_checksums(parts)

    @property
    def num_classes(self) -> Optional[int]:
        """Those of the index; None without one."""
        return len(self.classes) if self.has_index else None


def default_dataset_path() -> Path:
    """The embedded handwritten digits."""
    return Path(__file__).resolve().parent / "digits"


def load_dataset(path: AnyPath) -> DatasetInfo:
    """Read the index, or count the records if there is none; looks at no image.

    Raises DataError for a missing or empty folder, a missing split or part file, a bad index.
    """
    root = Path(path)
    if root.exists() and not root.is_dir():
        raise DataError(
            f"{root} is a file, and a dataset is a folder with train/ and val/; give that folder, "
            "or make one with bench data import"
        )
    if not root.is_dir():
        raise DataError(
            f"dataset folder {root} does not exist; give a folder with train/ and val/, "
            "or make one with bench data make digits or bench data import"
        )
    try:
        is_empty = not any(root.iterdir())
    except OSError as error:
        raise DataError(
            f"dataset folder {root} cannot be read ({error.strerror}); allow reading it"
        ) from None
    if is_empty:
        raise DataError(f"dataset folder {root} is empty; it needs train/ and val/ with part files")
    if (root / INDEX_NAME).exists():
        return _load_indexed(root)
    found = (_find_split(root, split) for split in SPLIT_FOLDERS)
    train, val = (replace(o, num_samples=sum(map(count_records, o.part_files))) for o in found)
    return DatasetInfo(root, root.resolve().name, (), train, val, IMAGENET_MEAN, IMAGENET_STD)


def find_parts(folder: Path) -> Tuple[Tuple[Path, ...], int]:
    """Part files in order and the length of their number (-1: not padded), as OneFlow names them.

    Raises DataError for no part file or a gap: the reader would abort the process on it.
    """
    matches = [_PART.match(entry.name) for entry in folder.iterdir() if entry.is_file()]
    numbered = sorted((int(match.group(1)), match.group(1)) for match in matches if match)
    if not numbered:
        raise DataError(f"{folder} holds no part files; expected part-00000, part-00001 and so on")
    first = numbered[0][1]
    padded = len(first) if len(first) > 1 else -1
    files = []
    for position, (number, text) in enumerate(numbered):
        expected = f"part-{position:0{max(padded, 1)}d}"
        if number != position or f"part-{text}" != expected:
            raise DataError(
                f"{folder / expected} is missing from the sequence of {len(numbered)} part files "
                f"(found part-{text} in its place); restore it or import the dataset again"
            )
        files.append(folder / expected)
    return tuple(files), padded


def _find_split(root: Path, split: str) -> SplitInfo:
    """The part files of a split, without its counts. Raises DataError for one that is missing."""
    for folder in [root / name for name in SPLIT_FOLDERS[split]]:
        if folder.is_dir():
            return SplitInfo(folder, *find_parts(folder), num_samples=0)
    names = " or ".join(f"{name}/" for name in SPLIT_FOLDERS[split])
    raise DataError(f"folder {root} has no {names}; a dataset needs both train/ and val/")


def read_index(root: Path) -> Dict[str, Any]:
    """The index of a dataset as JSON, not checked."""
    text = read_regular(root / INDEX_NAME, _MAX_INDEX_BYTES).decode("utf-8-sig")
    index: Dict[str, Any] = json.loads(text)
    return index


def save_index(root: Path, index: Mapping[str, Any]) -> None:
    """Write a dataset's index into its folder."""
    text = json.dumps(index, indent=1, ensure_ascii=False) + "\n"
    (root / INDEX_NAME).write_text(text, encoding="utf-8")


def _load_indexed(root: Path) -> DatasetInfo:
    index_file = root / INDEX_NAME
    try:
        index = read_index(root)
        if index["schema_version"] != SCHEMA_VERSION:
            raise DataError(
                f"{index_file} has schema version {index['schema_version']} and this program reads "
                f"{SCHEMA_VERSION}; make or import the dataset again"
            )
        return DatasetInfo(
            root=root,
            name=str(index["name"]),
            classes=tuple(str(name) for name in index["classes"]),
            train=_load_split(root, "train", index["splits"]["train"]),
            val=_load_split(root, "val", index["splits"]["val"]),
            mean=_triple(index["mean"]),
            std=_triple(index["std"]),
            random_crop=bool(index["augmentation"]["random_crop"]),
            horizontal_flip=bool(index["augmentation"]["horizontal_flip"]),
            has_index=True,
            multi_label=bool(index.get("multi_label", False)),
        )
    except DataError:
        raise
    except _NO_INDEX as error:
        raise DataError(
            f"{index_file} is no index of a dataset ({type(error).__name__}: {error}); "
            "make or import the dataset again, or remove the file to have the parts scanned"
        ) from None


def _load_split(root: Path, split: str, stored: Dict[str, Any]) -> SplitInfo:
    found = _find_split(root, split)
    parts = tuple(
        PartInfo(str(part["sha256"]), int(part["num_samples"]), int(part["size_bytes"]))
        for part in stored["parts"]
    )
    if len(parts) != len(found.part_files):
        raise DataError(
            f"{found.folder} holds {len(found.part_files)} part files and {root / INDEX_NAME} "
            f"lists {len(parts)}; restore the missing ones or import the dataset again"
        )
    return replace(
        found,
        num_samples=int(stored["num_samples"]),
        class_counts=tuple(int(count) for count in stored["class_counts"]),
        parts=parts,
    )


def _triple(values: Any) -> Triple:
    red, green, blue = map(float, values)
    return red, green, blue
