from __future__ import annotations

import json
import resource

import pytest
from data_samples import create_jpeg, create_message, create_part

from oneflow_bench.data import DataError, inspect_dataset, reshard_dataset
from oneflow_bench.data.index import load_dataset
from oneflow_bench.data.ofrecord_file import read_messages

SPLITS = ("train", "val")


def read_parts(split):
    return [list(read_messages(path)) for path in split.part_files]


def read_in_order(split):
    return [message for part in read_parts(split) for message in part]


def reshard(source, parts, out):
    written = reshard_dataset(source, parts, out)
    return written, load_dataset(out)


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 10])
def test_record_i_goes_to_part_i_mod_n_unchanged(indexed_dataset, tmp_path, parts):
    _, made = reshard(indexed_dataset, parts, tmp_path / "out")
    source = load_dataset(indexed_dataset)
    for split in SPLITS:
        records = read_in_order(getattr(source, split))
        assert len(set(records)) == 10
        expected = [records[number::parts] for number in range(parts)]
        assert read_parts(getattr(made, split)) == expected


@pytest.mark.parametrize(("parts", "batch_size"), [(2, 1), (2, 5), (5, 1), (5, 2), (10, 1)])
def test_the_parts_batches_of_a_step_are_one_batch_of_the_source(
    indexed_dataset, tmp_path, parts, batch_size
):
    _, made = reshard(indexed_dataset, parts, tmp_path / "out")
    records = read_in_order(load_dataset(indexed_dataset).train)
    whole = parts * batch_size
    for step in range(10 // whole):
        of_ranks = [
            message
            for part in read_parts(made.train)
            for message in part[step * batch_size : (step + 1) * batch_size]
        ]
        assert sorted(of_ranks) == sorted(records[step * whole : (step + 1) * whole])


def test_bytes_that_the_writer_would_not_give_are_kept(tmp_path):
    message = create_message(
        image=("bytes_list", [create_jpeg()]),
        label=("int64_list", [1]),
        filename=("bytes_list", [b"cat.jpg"]),
    )
    for split in SPLITS:
        create_part(tmp_path / "in" / split / "part-0", [message, (create_jpeg(9), 0)])
    _, made = reshard(tmp_path / "in", 2, tmp_path / "out")
    assert read_parts(made.train)[0] == [message]


def test_the_index_is_true_of_the_new_parts_and_else_the_same(indexed_dataset, tmp_path):
    path = indexed_dataset / "index.json"
    before = json.loads(path.read_text())
    before["kept"] = "é"  # what a later version may add
    path.write_text(json.dumps(before))
    written, made = reshard(indexed_dataset, 3, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "index.json").read_text(encoding="utf-8"))
    assert [part["num_samples"] for part in index["splits"]["train"]["parts"]] == [4, 3, 3]
    described = inspect_dataset(tmp_path / "out")
    assert described["problems"] == [] and described["train"]["checksums_match"]
    assert made.train.class_counts == (2, 2, 2, 2, 2)
    assert written["splits"]["val"]["parts"] == index["splits"]["val"]["parts"]
    for split in SPLITS:
        for key in ("parts", "checksum"):
            assert index["splits"][split].pop(key) != before["splits"][split].pop(key)
    assert index == before


def test_a_set_without_an_index_works_and_gets_none(bare_dataset, tmp_path):
    (bare_dataset / "val").rename(bare_dataset / "validation")
    written, made = reshard(bare_dataset, 5, tmp_path / "out")
    assert not made.has_index and not written["index"]
    assert len(made.val.part_files) == 5 and made.val.num_samples == 10
    assert inspect_dataset(tmp_path / "out")["problems"] == []


def test_the_same_source_gives_the_same_bytes(indexed_dataset, tmp_path):
    made = []
    for name in ("a", "b"):
        reshard_dataset(indexed_dataset, 3, tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        made.append([path.read_bytes() for path in files])
    assert made[0] == made[1] and len(made[0]) == 7


def test_there_may_be_more_parts_than_files_a_process_may_open(tmp_path):
    for split in SPLITS:
        records = [(create_jpeg(), label) for label in range(600)]
        create_part(tmp_path / "in" / split / "part-00000", records)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        _, made = reshard(tmp_path / "in", 600, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert read_in_order(made.train) == read_in_order(load_dataset(tmp_path / "in").train)


def test_progress_tells_of_every_record(indexed_dataset, tmp_path):
    seen = []
    reshard_dataset(indexed_dataset, 2, tmp_path / "out", lambda *now: seen.append(now))
    assert [now for now in seen if now[0] == "writing"] == [
        ("writing", done, 20) for done in range(1, 21)
    ]
    assert ("checking", 20, 20) in seen


@pytest.mark.parametrize(
    ("parts", "said"),
    [(0, "0 part files.*--parts 1 or more"), (11, "10 images for 11 part files.*--parts 10 or")],
)
def test_a_number_of_parts_that_cannot_be_is_refused(indexed_dataset, tmp_path, parts, said):
    with pytest.raises(DataError, match=said):
        reshard_dataset(indexed_dataset, parts, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [indexed_dataset]


@pytest.mark.parametrize("harm", ["changed", "truncated", "missing"])
@pytest.mark.parametrize("has_index", [True, False])
def test_damaged_parts_are_refused_before_anything_is_written(
    indexed_dataset, tmp_path, harm, has_index
):
    if not has_index:
        (indexed_dataset / "index.json").unlink()
    part = indexed_dataset / "val" / "part-00000"
    raw = part.read_bytes()
    if harm == "missing":
        part.unlink()
    else:
        part.write_bytes(raw[:-9] if harm == "truncated" else raw.replace(b"\xff\xd8", b"\0\0"))
    with pytest.raises(DataError, match=str(part)):
        reshard_dataset(indexed_dataset, 2, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [indexed_dataset]


def test_a_source_that_shrinks_while_it_is_copied_is_noticed(bare_dataset, tmp_path):
    def shrink(stage, done, total):
        if stage == "checking" and done == total:
            create_part(bare_dataset / "train" / "part-00001", [(create_jpeg(), 0)])

    with pytest.raises(DataError, match="gave 6 records and had 10"):
        reshard_dataset(bare_dataset, 2, tmp_path / "out", shrink)
    assert list(tmp_path.iterdir()) == [bare_dataset]


def test_an_interruption_leaves_nothing_behind(indexed_dataset, tmp_path):
    def interrupt(stage, done, total):
        if stage == "writing" and done == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reshard_dataset(indexed_dataset, 2, tmp_path / "out", interrupt)
    assert list(tmp_path.iterdir()) == [indexed_dataset]


def test_a_target_that_holds_something_is_refused(indexed_dataset, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").touch()
    with pytest.raises(DataError, match="not empty"):
        reshard_dataset(indexed_dataset, 2, tmp_path / "x")
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["mine"]
    with pytest.raises(DataError, match="lies in"):
        reshard_dataset(indexed_dataset, 2, indexed_dataset / "x")
