"""One digest of what several readers gave."""

from __future__ import annotations

from oneflow_bench.bench.training.identity import join_digests


def test_the_digest_of_one_reader_is_its_own() -> None:
    assert join_digests(["ab"]) == "ab"


def test_the_order_of_the_readers_counts() -> None:
    assert join_digests(["ab", "cd"]) != join_digests(["cd", "ab"])
