"""The description of a dataset, as tables."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from ..blocks import Block, Heading, Table, Text
from ..format import MISSING, format_size, format_yes


def describe_dataset(described: Dict[str, Any]) -> List[Block]:
    """A column for each split. `described` is what `inspect_dataset` gives."""
    splits = {name: one for name, one in described.items() if isinstance(one, dict)}
    columns = [_list_rows(one) for one in splits.values()]
    rows = [[label, *(column[label] for column in columns)] for label in columns[0]]
    facts = [
        f"{described['classes']} {'class' if described['classes'] == 1 else 'classes'}, "
        f"{'with' if described['index'] else 'without'} an index.",
        f"Normalised by mean {_join(described['mean'])} and deviation {_join(described['std'])}.",
        f"Augmentation: random crop {_switch(described['random_crop'])}, "
        f"horizontal flip {_switch(described['horizontal_flip'])}.",
    ]
    title = Heading(f"{described['name']}: {described['path']}")
    return [title, Text(facts), Table(["", *splits], rows, list(splits))]


def _list_rows(split: Dict[str, Any]) -> Dict[str, str]:
    counts = list(split["images_per_class"].values())
    return {
        "images": f"{split['images']:,}",
        "images of a class": _range([f"{min(counts):,}", f"{max(counts):,}"]) if counts else "none",
        "image size, pixels": _range(
            [_shape(split["min_image_size"]), _shape(split["max_image_size"])]
        ),
        "part files": str(split["parts"]),
        "size": format_size(split["bytes"]),
        "checksums match": format_yes(split["checksums_match"]),
    }


def _shape(size: Optional[Sequence[int]]) -> str:
    return "x".join(map(str, size)) if size else MISSING


def _range(ends: Sequence[str]) -> str:
    """As one value where both ends are equal."""
    return " to ".join(dict.fromkeys(ends))


def _join(values: Sequence[float]) -> str:
    """A value for each channel, or one where they are equal."""
    return ", ".join(dict.fromkeys(f"{value:.2f}" for value in values))


def _switch(on: bool) -> str:
    return "on" if on else "off"
