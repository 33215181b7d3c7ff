"""Datasets of images in OFRecord files: reading, checking, writing, importing.

Everything but `OFRecordDataLoader` works where OneFlow is not installed; that one is looked up on
first use, so that importing this package never imports OneFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import DataError
from .importers import Wishes, import_dataset, import_imagefolder, make_digits
from .index import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    DatasetInfo,
    SplitInfo,
    default_dataset_path,
    load_dataset,
)
from .inputs import (
    InputScale,
    create_synthetic_batches,
    find_pictures,
    imagenet_names,
    load_labels,
    read_picture,
)
from .rewriting import (
    RankParts,
    assign_parts,
    count_subset,
    reshard_dataset,
    share_dataset,
    take_share,
    write_subset,
)
from .validate import inspect_dataset, validate_dataset
from .writer import Description, Sample, write_dataset

if TYPE_CHECKING:
    from .loader import OFRecordDataLoader

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "DataError",
    "DatasetInfo",
    "Description",
    "InputScale",
    "OFRecordDataLoader",
    "RankParts",
    "Sample",
    "SplitInfo",
    "Wishes",
    "assign_parts",
    "count_subset",
    "create_synthetic_batches",
    "default_dataset_path",
    "find_pictures",
    "imagenet_names",
    "import_dataset",
    "import_imagefolder",
    "inspect_dataset",
    "load_dataset",
    "load_labels",
    "make_digits",
    "read_picture",
    "reshard_dataset",
    "share_dataset",
    "take_share",
    "validate_dataset",
    "write_dataset",
    "write_subset",
]


def __getattr__(name: str) -> Any:
    if name == "OFRecordDataLoader":
        from .loader import OFRecordDataLoader

        return OFRecordDataLoader
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
