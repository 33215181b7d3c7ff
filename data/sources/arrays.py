"""Pictures and labels as arrays: one `.npz`, a folder of `.npy`, or IDX files as of MNIST."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..errors import DataError
from ..ofrecord_file import Label
from . import (
    SPLIT_WORDS,
    Choices,
    Labelled,
    Note,
    Source,
    as_text,
    choose_val,
    list_names,
    name_some,
)
from .labels import list_classes, number_labels
from .stored import load_npy, load_npz, read_idx

_IMAGES = ("x", "images", "image", "data", "imgs")
_LABELS = ("y", "labels", "label", "targets", "target")
_CHANNELS = (1, 3, 4)
_FRACTION = 1.01  # the most that is still taken for a 1, such as after a resize
_DARK = 26  # of 255; pictures with no brighter pixel look black

_IDX_SPLITS = {"train": "train", "t10k": "val", "test": "val", "val": "val", "valid": "val"}
_IDX = re.compile(r"(?:.*[-_])?(train|t10k|test|valid|val)-images[.-]idx[34]-ubyte(?:\.gz)?$")

_PIXELS_WANTED = "give uint8, or numbers from 0 to 1 or from 0 to 255"

Pair = Tuple[np.ndarray, np.ndarray]  # pictures and labels of a split


def is_arrays(path: Path) -> bool:
    if path.is_dir():
        return any(name.endswith((".npy", ".npz")) for name in list_names(path))
    return path.suffix in (".npz", ".npy")


def read_arrays(path: Path, choices: Choices) -> Source:
    """The pictures of an `.npz` file, or of a folder with one or with `.npy` files.

    Raises DataError for a file that is damaged or holds pickles, for arrays that are not found by
    their names, and for shapes and values that are no pictures or labels.
    """
    named = _load(path)
    pairs = choose_val(_pair(named, path, choices), path, choices.on_note)
    shapes = name_some([f"{name} {array.shape}" for name, array in named.items()])
    return label_arrays(f"arrays of NumPy, {shapes}", path, pairs, choices)


def _load(path: Path) -> Dict[str, np.ndarray]:
    if path.is_dir():
        archives = sorted(path.glob("*.npz"))
        if len(archives) > 1:
            raise DataError(f"{path} holds {len(archives)} .npz files; give one of them")
        if archives:
            return load_npz(archives[0])
        return {file.stem: load_npy(file) for file in sorted(path.glob("*.npy"))}
    if path.suffix == ".npy":
        raise DataError(
            f"{path} is one array, and pictures need labels; give the folder with both, such as "
            "images.npy and labels.npy"
        )
    return load_npz(path)


def _pair(named: Mapping[str, np.ndarray], path: Path, choices: Choices) -> Dict[str, Pair]:
    """Pictures and labels of each split, found by the names of the arrays."""
    images = (choices.image_key,) if choices.image_key else _IMAGES
    labels = (choices.label_key,) if choices.label_key else _LABELS
    found: Dict[str, Tuple[str, str]] = {}
    for split, words in (*SPLIT_WORDS.items(), ("all", ("",))):
        names = [_find(named, words, kinds) for kinds in (images, labels)]
        if names[0] is not None and names[1] is not None:
            found[split] = (names[0], names[1])
    if "train" not in found and "all" in found:
        found["train"] = found["all"]
    found.pop("all", None)
    if "train" not in found:
        raise DataError(
            f"{path} has the arrays {name_some(list(named)) or '(none)'}; expected are x_train and "
            "y_train, or images and labels; --image-key and --label-key give other names"
        )
    unused = sorted(set(named) - {name for pair in found.values() for name in pair})
    if unused:
        choices.on_note(f"left out the arrays {name_some(unused)} of {path}")
    return {split: (named[pair[0]], named[pair[1]]) for split, pair in found.items()}


def _find(
    named: Mapping[str, np.ndarray], words: Sequence[str], kinds: Sequence[str]
) -> Optional[str]:
    """The name of the first array that is called by a word of a split and one of a kind."""
    by_name = {name.lower(): name for name in named}
    pairs = ((kind, word) for word in words for kind in kinds)
    names = (f"{a}_{b}".strip("_").lower() for pair in pairs for a, b in (pair, pair[::-1]))
    return next((by_name[name] for name in names if name in by_name), None)


def is_idx(path: Path) -> bool:
    return bool(_find_images(path))


def _find_images(folder: Path) -> Dict[str, str]:
    """The names of the files of pictures by split. Raises DataError for two of one split."""
    found: Dict[str, str] = {}
    for name in list_names(folder):
        match = _IDX.match(name)
        if match:
            split = _IDX_SPLITS[match.group(1)]
            other = found.setdefault(split, name)
            if name not in (other, f"{other}.gz"):  # a copy that is compressed
                raise DataError(
                    f"{folder} has the pictures of two splits {split}, {other} and {name}; give a "
                    "folder with one of them"
                )
    return found


def read_idx_folder(folder: Path, choices: Choices) -> Source:
    """The pictures of a folder. The test files are the validation split.

    Raises DataError for a folder without training files, and for a missing or damaged file.
    """
    files = _find_images(folder)
    if "train" not in files:
        raise DataError(
            f"{folder} has no training pictures in IDX; expected train-images-idx3-ubyte and "
            "train-labels-idx1-ubyte, or both with .gz"
        )
    found = {
        split: (read_idx(folder / name), read_idx(_find_labels(folder, name)))
        for split, name in files.items()
    }
    return label_arrays("IDX files, as of MNIST", folder, found, choices)


def _find_labels(folder: Path, images: str) -> Path:
    name = re.sub("images([.-])idx[34]", r"labels\1idx1", images)
    plain = name[: -len(".gz")] if name.endswith(".gz") else name
    candidates: List[Path] = [folder / name, folder / plain, folder / f"{plain}.gz"]
    found: Optional[Path] = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise DataError(f"{folder / name} is missing beside {images}; add it")
    return found


def label_arrays(kind: str, path: Path, pairs: Mapping[str, Pair], choices: Choices) -> Source:
    """The source that pictures (N, ...) and labels (N,), (N, 1) or (N, K) of 0 and 1 make.

    Raises DataError for other shapes, and for values that are no pictures or labels.
    """
    where = {split: f"the {split} split of {path}" for split in pairs}
    for split, (images, labels) in pairs.items():
        if images.ndim < 3 or not 0 < labels.ndim <= 2 or len(images) != len(labels):
            raise DataError(
                f"{where[split]} has pictures of shape {images.shape} and labels of shape "
                f"{labels.shape}; expected are (N, H, W) or (N, H, W, C), and (N,) or (N, K)"
            )
    rows = [labels for _, labels in pairs.values()]
    multi_label = all(one.ndim == 2 and one.shape[1] > 1 for one in rows)
    numbered: Sequence[Sequence[Label]]
    if multi_label:
        classes = [str(number) for number in range(rows[0].shape[1])]
        numbered = [_read_indicators(one, len(classes), path) for one in rows]
    else:
        flat = [one.reshape(-1) for one in rows]
        if any(len(one) != len(whole) for one, whole in zip(flat, rows)):
            raise DataError(f"{path} has one label a picture in one split and several in another")
        classes, numbered = _number(flat, path, choices)
    shaped = {split: _put_channels_last(pair[0], where[split]) for split, pair in pairs.items()}
    scale = _find_scale(shaped, path, choices.on_note)
    splits = {
        split: list(map(Labelled, _scale(images, scale), labels))
        for (split, images), labels in zip(shaped.items(), numbered)
    }
    return Source(kind, classes, splits, multi_label=multi_label)


def _number(
    rows: Sequence[np.ndarray], path: Path, choices: Choices
) -> Tuple[List[str], List[List[int]]]:
    kinds = {one.dtype.kind for one in rows}
    if kinds <= set("f") and all((one == np.rint(one)).all() for one in rows):
        raise DataError(
            f"{path} has labels of the type {rows[0].dtype}; give whole numbers, as "
            ".astype(int) makes"
        )
    if kinds <= set("iub"):
        return number_labels([one.tolist() for one in rows], choices.label_base, str(path))
    if kinds <= set("US"):
        texts = [[as_text(value) for value in one.tolist()] for one in rows]
        classes = list_classes((text for row in texts for text in row), path)
        place = {name: number for number, name in enumerate(classes)}
        return classes, [[place[text] for text in row] for row in texts]
    raise DataError(
        f"{path} has labels of the type {rows[0].dtype}; give whole numbers, names, or (N, K) of "
        "0 and 1"
    )


def _read_indicators(rows: np.ndarray, labels: int, path: Path) -> List[Tuple[int, ...]]:
    if rows.shape[1] != labels or rows.dtype.kind not in "iubf" or not np.isin(rows, (0, 1)).all():
        raise DataError(
            f"{path} has labels of shape {rows.shape}; several labels a picture are a column each "
            "of 0 or 1, as many in each split"
        )
    return list(map(tuple, rows.astype(np.int64).tolist()))


def _put_channels_last(images: np.ndarray, where: str) -> np.ndarray:
    """Numbers from 0 to 255 as (N, H, W) or (N, H, W, C)."""
    if images.ndim == 4 and images.shape[3] not in _CHANNELS and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if (
        not images.size
        or images.ndim not in (3, 4)
        or (images.ndim == 4 and images.shape[3] not in _CHANNELS)
    ):
        raise DataError(
            f"{where} has pictures of shape {images.shape}; expected are (N, H, W), "
            "(N, H, W, 1 or 3 or 4) or (N, 1 or 3, H, W)"
        )
    if images.dtype.kind not in "biuf":
        raise DataError(f"{where} has pixels of the type {images.dtype}; {_PIXELS_WANTED}")
    if images.dtype.kind == "f" and np.isnan(images).any():
        raise DataError(f"{where} has pixels that are NaN, no number; {_PIXELS_WANTED}")
    low, high = images.min(), images.max()
    if low < 0 or high > 255:
        raise DataError(f"{where} has pixels from {low:g} to {high:g}; {_PIXELS_WANTED}")
    return images


def _find_scale(shaped: Mapping[str, np.ndarray], path: Path, on_note: Note) -> int:
    """The factor, 1 or 255, that makes the pixels of all splits go from 0 to 255."""
    highest = {split: float(images.max()) for split, images in shaped.items()}
    is_small = {split: high <= _FRACTION for split, high in highest.items()}
    if len(set(is_small.values())) > 1:
        ranges = name_some([f"{high:g} in {split}" for split, high in highest.items()])
        raise DataError(f"{path} has pixels up to {ranges}; scale all splits in the same way")
    high = max(highest.values())
    if all(is_small.values()):
        whole = [images.dtype for images in shaped.values() if images.dtype.kind in "iu"]
        if whole and high:
            on_note(f"the pixels of {path} are 0 or 1 of type {whole[0]}, and become 0 and 255")
        return 255
    if high < _DARK:
        on_note(f"the pixels of {path} go up to {high:g} of 255, so its pictures are nearly black")
    return 1


def _scale(images: np.ndarray, scale: int) -> np.ndarray:
    """The pixels times `scale` as uint8."""
    if images.dtype == np.uint8 and scale == 1:
        return images
    scaled: np.ndarray = np.minimum(np.rint(images * float(scale)), 255).astype(np.uint8)
    return scaled
