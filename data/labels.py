"""Names of classes: ImageNet's, which come with the suite, and those of a user's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Tuple

from .errors import DataError

_IMAGENET_FILE = Path(__file__).resolve().parent / "imagenet_names.json"


def imagenet_names() -> Tuple[str, ...]:
    """The 1,000 classes of ILSVRC2012 in the order of their labels."""
    return tuple(json.loads(_IMAGENET_FILE.read_text(encoding="utf-8"))["classes"])


def load_labels(path: Path) -> Tuple[str, ...]:
    """Names from a text file, one a line in the order of the labels, or a JSON list of them.

    Raises DataError for a file that cannot be read or holds no names.
    """
    try:
        text = path.read_text(encoding="utf-8")
        names = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"the labels {path} cannot be read ({reason}); give a text file with a name a line, or "
            "a JSON list of names"
        ) from None
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise DataError(f"the labels {path} hold no list of names; give one name a line")
    while names[-1].strip() == "":
        names.pop()
        if not names:
            raise DataError(f"the labels {path} hold no names; give one name a line")
    return tuple(name.strip() for name in names)
