from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from data_samples import create_jpeg, create_part

from oneflow_bench.bench.distributed.placement import create_rank_variables, reserve_port
from oneflow_bench.bench.training.identity import Identity
from oneflow_bench.data import DataError, assign_parts, load_dataset, reshard_dataset

# prints the labels that one reader of a folder gives, a list for each batch
READ = """
import json, sys
import oneflow as flow
from oneflow import nn

folder, parts, batch_size, steps = sys.argv[1], *map(int, sys.argv[2:])
reader = nn.OFRecordReader(
    folder, batch_size=batch_size, data_part_num=parts, part_name_prefix="part-",
    part_name_suffix_length=5, random_shuffle=False, shuffle_after_epoch=False,
)
decoder = nn.OFRecordRawDecoder("class/label", shape=(), dtype=flow.int32)
print(json.dumps([decoder(reader()).numpy().tolist() for _ in range(steps)]))
"""


def create_dataset(root, train, val=None):
    """Records numbered through by their label; `train` and `val` say how many each part holds."""
    for split, sizes in (("train", train), ("val", train if val is None else val)):
        number = 0
        for part, size in enumerate(sizes):
            records = [(create_jpeg(), number + i) for i in range(size)]
            create_part(root / split / f"part-{part:05d}", records)
            number += size
    return root


def names(paths):
    return [path.name[-1] for path in paths]


@pytest.mark.parametrize(
    ("parts", "ranks", "expected"),
    [
        (1, 1, ["0"]),
        (3, 1, ["012"]),
        (2, 2, ["0", "1"]),
        (4, 2, ["01", "23"]),
        (6, 3, ["01", "23", "45"]),
    ],
)
def test_ranks_read_runs_of_equally_many_parts(tmp_path, parts, ranks, expected):
    dataset = load_dataset(create_dataset(tmp_path, [1] * parts, [1] * (2 * parts)))
    assigned = assign_parts(dataset, ranks)
    assert ["".join(names(rank.train)) for rank in assigned] == expected
    assert [path for rank in assigned for path in rank.val] == list(dataset.val.part_files)
    assert {len(rank.val) for rank in assigned} == {2 * parts // ranks}


@pytest.mark.parametrize(
    ("train", "val", "ranks", "blamed"),
    [
        ([4], [4], 3, "train has 1 part file, which 3 ranks"),
        ([2, 2], [2, 2], 3, "train has 2 part files, which 3 ranks"),
        ([1, 1, 1], [1, 1, 1], 2, "train has 3 part files, which 2 ranks"),
        ([2, 2], [4], 2, "val has 1 part file, which 2 ranks"),
    ],
)
def test_the_remedy_for_parts_that_do_not_fit_works(tmp_path, train, val, ranks, blamed):
    root = create_dataset(tmp_path / "a set", train, val)
    with pytest.raises(DataError, match=blamed) as raised:
        assign_parts(load_dataset(root), ranks)
    command = re.search(r"run bench (data reshard .*) and use DIR", str(raised.value)).group(1)
    words = shlex.split(command.replace("DIR", str(tmp_path / "out")))
    assert words[:3] == ["data", "reshard", str(root)]
    reshard_dataset(Path(words[2]), int(words[words.index("--parts") + 1]), tmp_path / "out")
    assigned = assign_parts(load_dataset(tmp_path / "out"), ranks)
    assert all(len(rank.train) == len(rank.val) == 1 for rank in assigned)


def test_ranks_that_no_resharding_helps_are_told_how_many_can_read(tmp_path):
    dataset = load_dataset(create_dataset(tmp_path, [9], [3]))
    with pytest.raises(DataError, match="use 3 ranks or less") as raised:
        assign_parts(dataset, 4)
    assert "bench data reshard" not in str(raised.value)


def test_less_than_one_rank_is_refused(tmp_path):
    with pytest.raises(DataError, match="0 ranks cannot read.*give 1 or more"):
        assign_parts(load_dataset(create_dataset(tmp_path, [1])), 0)


def read_with_ranks(split, ranks, batch_size, steps):
    """The batches (lists of labels) of each rank of a group of OneFlow processes."""
    address, reserved = reserve_port()
    arguments = [split.folder, len(split.part_files), batch_size, steps]
    processes = []
    try:
        for rank in range(ranks):
            environment = {
                **os.environ,
                **create_rank_variables(Identity(rank, ranks), address, rank),
                "OMP_NUM_THREADS": "1",
                "ONEFLOW_ENABLE_ONEDNN_OPTS": "0",
            }
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", READ, *map(str, arguments)],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        answers = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
        reserved.close()
    for process, (_, log) in zip(processes, answers):
        assert process.returncode == 0, log
    return [json.loads(out.splitlines()[-1]) for out, _ in answers]


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.parametrize("sizes", [[3, 2], [2, 2, 2, 2]])
def test_oneflow_reads_part_after_part_and_each_rank_its_assigned_ones(tmp_path, sizes):
    dataset = load_dataset(create_dataset(tmp_path, sizes))
    (whole,) = read_with_ranks(dataset.train, 1, 1, sum(sizes) + 1)
    assert whole == [[number] for number in [*range(sum(sizes)), 0]]  # and without end
    firsts = {path: sum(sizes[:part]) for part, path in enumerate(dataset.train.part_files)}
    length = dict(zip(dataset.train.part_files, sizes))
    expected = [
        [[firsts[path] + i] for path in rank.train for i in range(length[path])]
        for rank in assign_parts(dataset, 2)
    ]
    steps = max(len(rank) for rank in expected)
    for read, rank in zip(read_with_ranks(dataset.train, 2, 1, steps), expected):
        assert read[: len(rank)] == rank


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.parametrize(("sizes", "exact_steps"), [([5, 3], 6), ([5, 4], 2)])
def test_the_batches_of_two_ranks_are_the_batch_of_one_process(tmp_path, sizes, exact_steps):
    source = load_dataset(create_dataset(tmp_path / "in", sizes))
    reshard_dataset(source.root, 2, tmp_path / "out")
    made = load_dataset(tmp_path / "out")
    (alone,) = read_with_ranks(source.train, 1, 4, 6)
    first, second = read_with_ranks(made.train, 2, 2, 6)
    together = [sorted(a + b) for a, b in zip(first, second)]
    same = [a == sorted(b) for a, b in zip(together, alone)]
    # over the ends of epochs where the parts are equally long; else up to the first end
    assert [*same, False].index(False) == exact_steps
