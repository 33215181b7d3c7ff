"""Which rank a process is."""

from __future__ import annotations

from oneflow_bench.bench.training.identity import read_identity


def test_a_process_without_a_group_is_rank_0_of_1() -> None:
    assert read_identity({}) == (0, 1)


def test_a_rank_reads_its_place_from_oneflows_variables() -> None:
    assert read_identity({"RANK": "3", "WORLD_SIZE": "4"}) == (3, 4)


def test_a_process_alone_is_rank_0_where_oneflow_has_set_its_own_variables() -> None:
    assert read_identity({"RANK": "-1", "WORLD_SIZE": "1"}) == (0, 1)
