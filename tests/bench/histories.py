"""Made-up histories: runs of known step times, a day apart."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, List, Optional, Sequence

from records import create_events, create_record

from oneflow_bench.bench.record.run import RunRecord

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def create_run(
    day: int,
    step_time_s: float = 0.1,
    graph_step_time_s: Optional[float] = 0.08,
    cores: int = 2,
    folder: Optional[Path] = None,
    **graph: Any,
) -> RunRecord:
    """A complete run of that day; `graph` goes to the graph's events, None leaves graph out."""
    sides = [create_events("eager", step_time_s, noise=0.01, seed=day)]
    if graph_step_time_s is not None:
        graph = {"compile_s": 0.5, **graph}
        sides.append(create_events("graph", graph_step_time_s, noise=0.01, seed=day, **graph))
    record = create_record(*sides, folder=folder)
    record.document.run_id = f"run-{day:02d}"
    record.document.created = (START + timedelta(days=day)).isoformat()
    record.document.environment_start = {
        "cpu": {"model": "Example CPU", "cores": cores, "flags": []},
        "memory_bytes": 8 * 2**30 - 12345678,
    }
    return record


def create_runs(graph_step_times_s: Sequence[float], first_day: int = 0) -> List[RunRecord]:
    """A run a day with that step time in graph mode, 1 % noise from run to run."""
    source = random.Random(0)
    return [
        create_run(day, graph_step_time_s=time * (1 + source.gauss(0, 0.01)))
        for day, time in enumerate(graph_step_times_s, start=first_day)
    ]
