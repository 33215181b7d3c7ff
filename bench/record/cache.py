"""The user's cache folder: what is costly to find out or to make, and can be made again.

    $BENCH_CACHE_DIR, else $XDG_CACHE_HOME/oneflow-bench, else ~/.cache/oneflow-bench

BENCH_CACHE_DIR is an absolute path; empty: nothing is kept.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional


def find_cache_folder() -> Optional[Path]:
    """The folder, which may not be there yet; None where nothing is to be kept."""
    chosen = os.environ.get("BENCH_CACHE_DIR")
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(caches, "oneflow-bench") if chosen is None else chosen
    return Path(folder) if os.path.isabs(folder) else None  # not so without a home
