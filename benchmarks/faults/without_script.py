"""`bench` without the search of scripts, which takes longer than all else of a check."""

from __future__ import annotations

from oneflow_bench.bench.cli import main
from oneflow_bench.bench.parity import locate
from oneflow_bench.bench.parity.result import LEVELS

if __name__ == "__main__":
    locate.NO_SCRIPT = LEVELS
    main()
