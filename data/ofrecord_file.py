"""OFRecord files without OneFlow: an int64 little-endian length, then that many bytes of message.

The message is wire-compatible with oneflow/core/record/record.proto. Its descriptor is built here,
in a pool of its own, so that it can live in one process beside OneFlow's generated classes.
"""

from __future__ import annotations

import hashlib
import os
import struct
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import (
    Any,
    BinaryIO,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from .errors import DataError
from .files import open_regular


class PartWriter:
    """Appends records to one part file and describes it for the index."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._count = self._size = 0
        self.digest = hashlib.sha256()

    def write(self, record: Record) -> None:
        self.write_message(serialize_record(record))

    def write_message(self, message: bytes) -> None:
        """Append a record that is serialized already, byte for byte."""
        framed = frame_message(message)
        self._file.write(framed)
        self.digest.update(framed)
        self._size += len(framed)
        self._count += 1

    def describe(self) -> Dict[str, Any]:
        digest = self.digest.hexdigest()
        return {"sha256": digest, "num_samples": self._count, "size_bytes": self._size}


@contextmanager
def open_parts(folder: Path, numbers: Iterable[int]) -> Iterator[List[PartWriter]]:
    """Writers of the part files of these numbers, in their order."""
    with ExitStack() as stack:
        yield [
            PartWriter(stack.enter_context((folder / f"part-{number:05d}").open("wb")))
            for number in numbers
        ]


def describe_parts(writers: Sequence[PartWriter]) -> Dict[str, Any]:
    """The index's fields of all part files of a split: `checksum` and `parts`."""
    return {
        "checksum": combine_checksums([writer.digest.hexdigest() for writer in writers]),
        "parts": [writer.describe() for writer in writers],
    }


def combine_checksums(checksums: Sequence[str]) -> str:
    """One sha256 for a split: over its parts' sha256, in order."""
    return hashlib.sha256("\n".join(checksums).encode()).hexdigest()


IMAGE_KEY = "encoded"
LABEL_KEY = "class/label"
_LENGTH = struct.Struct("<q")
_REMEDY = "write or import the dataset again"
# field number, name, protobuf's type number of the values (descriptor.proto, Type)
_LISTS = ((1, "Bytes", 12), (2, "Float", 2), (3, "Double", 1), (4, "Int32", 5), (5, "Int64", 3))
_TYPE_STRING, _TYPE_MESSAGE, _OPTIONAL, _REPEATED, _TYPE_BYTES = 9, 11, 1, 3, 12


Label = Union[int, Tuple[int, ...]]  # a class, or 0 or 1 for each label of several


class Record(NamedTuple):
    """One training example: a JPEG file's bytes, and its class or 0 and 1 for each label."""

    encoded: bytes
    label: Label


@lru_cache(maxsize=None)
def ofrecord_class() -> Any:
    """The message class `oneflow.OFRecord`."""
    from google.protobuf import descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(_describe_messages().SerializeToString())
    descriptor = pool.FindMessageTypeByName("oneflow.OFRecord")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


def _describe_messages() -> Any:
    from google.protobuf import descriptor_pb2

    file = descriptor_pb2.FileDescriptorProto(
        name="oneflow/core/record/record.proto", package="oneflow", syntax="proto2"
    )
    for _, kind, value_type in _LISTS:
        message = file.message_type.add(name=f"{kind}List")
        value = message.field.add(name="value", number=1, label=_REPEATED, type=value_type)
        if value_type != _TYPE_BYTES:
            value.options.packed = True
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, kind, _ in _LISTS:
        field = feature.field.add(name=f"{kind.lower()}_list", number=number, label=_OPTIONAL)
        field.type, field.type_name, field.oneof_index = _TYPE_MESSAGE, f".oneflow.{kind}List", 0
    record = file.message_type.add(name="OFRecord")
    entry = record.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=_OPTIONAL, type=_TYPE_STRING)
    value = entry.field.add(name="value", number=2, label=_OPTIONAL, type=_TYPE_MESSAGE)
    value.type_name = ".oneflow.Feature"
    features = record.field.add(name="feature", number=1, label=_REPEATED, type=_TYPE_MESSAGE)
    features.type_name = ".oneflow.OFRecord.FeatureEntry"
    return file


def serialize_record(record: Record) -> bytes:
    """The message of one record; the same record always gives the same bytes."""
    message = ofrecord_class()()
    message.feature[IMAGE_KEY].bytes_list.value.append(record.encoded)
    message.feature[LABEL_KEY].int32_list.value.extend(list_values(record.label))
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def list_values(label: Label) -> Tuple[int, ...]:
    """A label as it is stored."""
    return label if isinstance(label, tuple) else (label,)


def list_held(label: Label) -> Sequence[int]:
    """The classes that a picture has."""
    return [n for n, bit in enumerate(label) if bit] if isinstance(label, tuple) else [label]


def frame_message(message: bytes) -> bytes:
    """The message as it stands in a part file, behind its length."""
    return _LENGTH.pack(len(message)) + message


def read_messages(path: Path) -> Iterator[bytes]:
    """The serialized messages of a part file, in order.

    Raises DataError if the file cannot be opened, is empty, or ends before a record does.
    """
    return (message for _, message in read_placed_messages(path))


def read_placed_messages(path: Path, start: int = 0) -> Iterator[Tuple[int, bytes]]:
    """(place in bytes, message) of the records from `start` on. Errors as `read_messages`."""
    with open_to_read(path) as file:
        file.seek(start)
        for number, length in _lengths(file, path):
            message = file.read(length)
            if len(message) != length:
                raise DataError(f"{path}: record {number} could not be read in full; {_REMEDY}")
            yield start, message
            start += _LENGTH.size + length


def count_records(path: Path) -> int:
    """How many records a part file holds; hops over the messages. Errors as `read_messages`."""
    records = 0
    with open_to_read(path) as file:
        for _, length in _lengths(file, path):
            file.seek(length, os.SEEK_CUR)
            records += 1
    return records


@contextmanager
def open_to_read(path: Path) -> Iterator[BinaryIO]:
    """A file of a dataset. Raises DataError if it cannot be opened."""
    try:
        file = open_regular(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); {_REMEDY}") from None
    with file:
        yield file


def _lengths(file: BinaryIO, path: Path) -> Iterator[Tuple[int, int]]:
    """(record number, its length); the caller moves the file past each message."""
    left = os.fstat(file.fileno()).st_size - file.tell()
    if left == 0:
        raise DataError(f"{path} is empty, a part file needs at least one record; {_REMEDY}")
    for number in count():
        if left == 0:
            return
        header = file.read(_LENGTH.size)
        if len(header) != _LENGTH.size:
            raise DataError(f"{path}: record {number} is cut off within its length; {_REMEDY}")
        (length,) = _LENGTH.unpack(header)
        left -= _LENGTH.size
        if not 0 < length <= left:
            raise DataError(
                f"{path}: record {number} has a length of {length} bytes where 1 to {left} are "
                f"possible, so the file is truncated or no OFRecord file; {_REMEDY}"
            )
        yield number, length
        left -= length


def parse_record(message: bytes, where: str, labels: Optional[int] = None) -> Record:
    """Image and label of a message; of several `labels` it has 0 or 1 for each.

    `where` names file and record in errors. Raises DataError for a message that is no OFRecord,
    lacks `encoded` or `class/label`, or has not exactly one image and as many labels.
    """
    image, values = parse_values(message, where)
    if len(values) != (labels or 1):
        several = "bench data import makes a dataset of several labels a picture"
        remedy = several if len(values) > 1 else _REMEDY
        wanted = "not one" if labels is None else f"not {labels}"
        raise DataError(f"{where} has {len(values)} values of '{LABEL_KEY}' and {wanted}; {remedy}")
    if labels is None:
        return Record(image, values[0])
    if not set(values) <= {0, 1}:
        raise DataError(f"{where} has labels other than 0 and 1; {_REMEDY}")
    return Record(image, values)


def parse_values(
    message: bytes, where: str, image_key: str = IMAGE_KEY, label_key: str = LABEL_KEY
) -> Tuple[bytes, Tuple[int, ...]]:
    """An image's bytes and all values of its label, by their keys. Errors as `parse_record`."""
    from google.protobuf.message import DecodeError

    record = ofrecord_class()()
    try:
        record.ParseFromString(message)
    except DecodeError:
        raise DataError(f"{where} is no OFRecord message; {_REMEDY}") from None
    images = _list_feature(record, image_key, ("bytes_list",), where)
    if len(images) != 1:
        raise DataError(f"{where} has {len(images)} values of '{image_key}' and not one; {_REMEDY}")
    labels = _list_feature(record, label_key, ("int32_list", "int64_list"), where)
    return images[0], tuple(labels)


def _list_feature(record: Any, key: str, kinds: Tuple[str, ...], where: str) -> Any:
    if key not in record.feature:
        found = ", ".join(sorted(map(str, record.feature))) or "nothing"  # bytes if not UTF-8
        raise DataError(
            f"{where} has no '{key}' (it has {found}); {_REMEDY}, or import it with --image-key "
            "and --label-key"
        )
    kind = record.feature[key].WhichOneof("kind")
    if kind not in kinds:
        raise DataError(f"{where} has '{key}' as {kind} and not as {kinds[0]}; {_REMEDY}")
    return getattr(record.feature[key], kind).value
