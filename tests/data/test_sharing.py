from __future__ import annotations

import pytest
from test_sharding import create_dataset, read_with_ranks

from oneflow_bench.data import DataError, load_dataset, share_dataset, take_share


def test_each_reader_finds_its_own_parts_over_and_over(tmp_path):
    source = load_dataset(create_dataset(tmp_path / "in", [3, 2, 1, 4], [2, 2]))
    shared = share_dataset(source, 2, tmp_path / "out")
    assert (shared.train.num_samples, shared.val.num_samples) == (10, 4)
    for reader, (train, val, names) in enumerate([(5, 2, (0, 1)), (5, 2, (2, 3))]):
        share = take_share(shared, reader, 2)
        assert (share.train.num_samples, share.val.num_samples) == (train, val)
        assert share.train.folder == tmp_path / "out" / "readers" / str(reader) / "train"
        expected = [source.train.part_files[part].resolve() for part in (*names, *names)]
        assert [path.resolve() for path in share.train.part_files] == expected
    assert take_share(source, 0, 1) is source


def test_parts_that_cannot_be_shared_are_refused_and_nothing_is_written(tmp_path):
    source = load_dataset(create_dataset(tmp_path / "in", [1, 1, 1]))
    with pytest.raises(DataError, match="bench data reshard"):
        share_dataset(source, 2, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    two = load_dataset(create_dataset(tmp_path / "two", [1, 1]))
    with pytest.raises(DataError, match="does not hold the part files of one of 2 readers"):
        take_share(two, 0, 2)


@pytest.mark.slow
@pytest.mark.oneflow
def test_a_reader_gives_the_same_samples_in_one_process_and_in_either_rank(tmp_path):
    source = load_dataset(create_dataset(tmp_path / "in", [3, 2, 1, 4]))
    shared = share_dataset(source, 2, tmp_path / "out")
    for reader, labels in enumerate([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]):
        split = take_share(shared, reader, 2).train
        for ranks in (1, 2):
            for batches in read_with_ranks(split, ranks, 1, 11):
                assert [label for (label,) in batches] == (labels * 3)[:11]
