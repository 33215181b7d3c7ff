"""Where a workload's data lie; for the controller, which checks them, and the worker alike."""

from __future__ import annotations

from pathlib import Path

from ..data import default_dataset_path
from .config import EMBEDDED_DATA


def find_dataset(data: str) -> Path:
    """Folder of the dataset that `Workload.data` names; not for synthetic data."""
    return default_dataset_path() if data == EMBEDDED_DATA else Path(data)
