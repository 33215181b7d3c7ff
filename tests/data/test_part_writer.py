from __future__ import annotations

import hashlib

from data_samples import create_jpeg, create_message, create_part

from oneflow_bench.data.ofrecord_file import (
    Record,
    combine_checksums,
    describe_parts,
    open_parts,
    read_messages,
    serialize_record,
)


def test_a_part_is_described_as_it_lies_on_the_disk(tmp_path):
    records = [Record(create_jpeg(40 * i), i) for i in range(3)]
    with open_parts(tmp_path, [0, 7]) as writers:
        for number, record in enumerate(records):
            writers[number % 2].write(record)
    described = describe_parts(writers)
    raw = [(tmp_path / name).read_bytes() for name in ("part-00000", "part-00007")]
    assert [part["size_bytes"] for part in described["parts"]] == [len(part) for part in raw]
    assert [part["num_samples"] for part in described["parts"]] == [2, 1]
    checksums = [hashlib.sha256(part).hexdigest() for part in raw]
    assert [part["sha256"] for part in described["parts"]] == checksums
    assert described["checksum"] == combine_checksums(checksums)


def test_a_message_is_written_byte_for_byte(tmp_path):
    # a key of its own, and labels as int64: what serializing a Record would not give
    message = create_message(
        image=("bytes_list", [create_jpeg()]),
        label=("int64_list", [3]),
        note=("bytes_list", [b"kept"]),
    )
    with open_parts(tmp_path, [0]) as (writer,):
        writer.write_message(message)
    assert list(read_messages(tmp_path / "part-00000")) == [message]
    assert message != serialize_record(Record(create_jpeg(), 3))


def test_records_and_their_messages_give_the_same_file(tmp_path):
    record = Record(create_jpeg(), 1)
    with open_parts(tmp_path, [0, 1]) as (first, second):
        first.write(record)
        second.write_message(serialize_record(record))
    expected = create_part(tmp_path / "expected", [record]).read_bytes()
    assert (tmp_path / "part-00000").read_bytes() == expected
    assert (tmp_path / "part-00001").read_bytes() == expected
