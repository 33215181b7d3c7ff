import struct

import pytest
from data_samples import create_jpeg, create_message, create_part, frame_with_length

from oneflow_bench.data.errors import DataError
from oneflow_bench.data.ofrecord_file import (
    Record,
    count_records,
    parse_record,
    read_messages,
    serialize_record,
)


def test_records_come_back_in_order(tmp_path):
    records = [Record(create_jpeg(i), i) for i in range(3)]
    path = create_part(tmp_path / "part-00000", records)
    assert [parse_record(message, "x") for message in read_messages(path)] == records
    assert count_records(path) == 3


def test_the_length_is_a_little_endian_int64(tmp_path):
    path = create_part(tmp_path / "part-00000", [Record(b"jpeg", 7)])
    message = serialize_record(Record(b"jpeg", 7))
    assert path.read_bytes() == struct.pack("<q", len(message)) + message


@pytest.mark.oneflow
def test_messages_are_those_of_oneflow():
    from oneflow.core.record import record_pb2

    theirs = record_pb2.OFRecord()
    theirs.feature["encoded"].bytes_list.value.append(b"\xff\xd8jpeg")
    theirs.feature["class/label"].int32_list.value.append(300)
    ours = serialize_record(Record(b"\xff\xd8jpeg", 300))
    assert ours == theirs.SerializeToString(deterministic=True)
    assert record_pb2.OFRecord.FromString(ours) == theirs
    assert parse_record(theirs.SerializeToString(), "x") == Record(b"\xff\xd8jpeg", 300)


@pytest.mark.oneflow
@pytest.mark.parametrize("kind", ["bytes", "float", "double", "int32", "int64"])
def test_every_kind_of_list_is_wire_compatible(kind):
    from oneflow.core.record import record_pb2

    values = [b"a", b"b"] if kind == "bytes" else [1, 2, 300]
    ours = create_message(thing=(f"{kind}_list", values))
    theirs = record_pb2.OFRecord()
    getattr(theirs.feature["thing"], f"{kind}_list").value.extend(values)
    assert ours == theirs.SerializeToString(deterministic=True)


def test_int64_labels_are_read():
    message = create_message(image=("bytes_list", [b"j"]), label=("int64_list", [4]))
    assert parse_record(message, "x") == Record(b"j", 4)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\x01\x00", "cut off within its length"),
        (frame_with_length(-5), "length of -5 bytes"),
        (frame_with_length(0), "length of 0 bytes"),
        (frame_with_length(1 << 60), "truncated or no OFRecord"),
        (frame_with_length(17), "where 1 to 16 are possible"),
    ],
)
@pytest.mark.parametrize("read", [count_records, lambda path: list(read_messages(path))])
def test_damaged_files_are_refused_with_their_path(tmp_path, read, content, said):
    path = tmp_path / "part-00000"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        count_records(tmp_path / "part-00000")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"\xff" * 20, "is no OFRecord message"),
        (create_message(label=("int32_list", [1])), "no 'encoded' .it has class/label"),
        (create_message(image=("bytes_list", [b"j"])), "no 'class/label'"),
        (
            create_message(image=("bytes_list", [b"j"]), label=("int32_list", [1, 2])),
            "has 2 values of 'class/label'",
        ),
        (
            create_message(image=("bytes_list", [b"j", b"k"]), label=("int32_list", [1])),
            "has 2 values of 'encoded'",
        ),
        (
            create_message(image=("bytes_list", [b"j"]), label=("float_list", [1.0])),
            "as float_list and not as int32_list",
        ),
    ],
)
def test_wrong_messages_are_refused(message, said):
    with pytest.raises(DataError, match=said) as caught:
        parse_record(message, "train/part-00000: record 3")
    assert str(caught.value).startswith("train/part-00000: record 3")
