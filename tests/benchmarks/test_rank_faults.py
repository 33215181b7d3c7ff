from __future__ import annotations

import rank_faults
from rank_faults import KINDS, RANK_OF, Case, judge, list_cases, render
from study import load_rows

from oneflow_bench.bench.errors import WorkerError, WorkerTimeout

CASE = Case("raises", "eager", 1, 0.5)
ERROR = WorkerError("rank 1 of the worker 'ddp' failed in its train turn; the whole log is x")
HANG = Case("sleeps", "graph", 1, 0.5)
LATE = WorkerTimeout("ranks 0, 1 of the worker 'ddp' gave no answer; one that hangs keeps", "")


def test_a_name_always_means_the_same_case_and_every_kind_has_as_many():
    few, many = dict(list_cases(2, seed=3)), dict(list_cases(5, seed=3))
    assert few.items() <= many.items()
    assert len(many) == 5 * len(KINDS)
    assert dict(list_cases(2, seed=4)).keys().isdisjoint(few)
    for (case,) in many.values():
        assert case.rank == RANK_OF.get(case.kind, case.rank)
        assert 0.0 <= case.after_s <= rank_faults.LATEST_S


def test_a_group_must_end_in_time_name_the_rank_and_leave_nothing():
    good = judge(CASE, 6.5, ERROR, left=0, port_free=True)
    assert good["verdict"] == "ended"
    assert good["reason"] == "rank 1 of the worker 'ddp' failed in its train turn"
    for seconds, error, left, port_free in (
        (10.1, ERROR, 0, True),
        (6.5, WorkerError("rank 10 of the worker 'ddp' failed"), 0, True),
        (6.5, LATE, 0, True),
        (6.5, ERROR, 1, True),
        (6.5, ERROR, 0, False),
        (33.0, None, 0, True),
    ):
        assert judge(CASE, seconds, error, left, port_free)["verdict"] == "failed"


def test_a_group_that_hangs_has_the_timeout_more_and_may_name_the_neighbours_too():
    late = judge(HANG, rank_faults.TURN_S + 6.5, LATE, left=0, port_free=True)
    assert (late["verdict"], late["named_ranks"]) == ("ended", [0, 1])
    assert late["reason"] == "ranks 0, 1 of the worker 'ddp' gave no answer"
    others = WorkerTimeout("rank 0 of the worker 'ddp' gave no answer")
    for seconds, error in ((rank_faults.TURN_S + 10.1, LATE), (6.5, others)):
        assert judge(HANG, seconds, error, left=0, port_free=True)["verdict"] == "failed"


def test_the_table_counts_by_kind_and_shows_the_longest():
    rows = [
        judge(CASE, 6.5, ERROR, 0, True),
        judge(CASE, 12.0, ERROR, 0, True),
        {"case": "x", "error": "no python"},
    ]
    lines = render(rows).splitlines()
    assert lines[1].split() == ["raises", "2", "1", "2", "2", "12.0", "s"]
    assert lines[2].startswith("an unexpected error")


def test_the_stored_rows_of_the_earlier_version_stay_readable():
    rows = load_rows(rank_faults.STORED.with_name("faults.jsonl"))
    assert len(rows) == 70 and all(row["names_rank"] for row in rows)
    assert render(rows).count("\n") == len(KINDS)
