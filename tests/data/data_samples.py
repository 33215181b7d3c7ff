"""Pictures, messages and processes that several tests of the data are made of."""

from __future__ import annotations

import os
import struct
import subprocess
import sys

from PIL import Image

from oneflow_bench.data.ofrecord_file import Record, frame_message, ofrecord_class, serialize_record
from oneflow_bench.data.pictures import encode_jpeg


def create_jpeg(value=0, size=(8, 8)):
    return encode_jpeg(Image.new("RGB", size, (value % 256, 128, 255 - value % 256)), 90)


def create_part(path, records):
    """A part file of (JPEG, label) or ready-made messages."""
    path.parent.mkdir(parents=True, exist_ok=True)
    messages = [
        record if isinstance(record, bytes) else serialize_record(Record(*record))
        for record in records
    ]
    path.write_bytes(b"".join(frame_message(message) for message in messages))
    return path


def create_message(**features):
    """A message with keys image and label renamed to OneFlow's; values are (list kind, values)."""
    names = {"image": "encoded", "label": "class/label"}
    message = ofrecord_class()()
    for name, (kind, values) in features.items():
        getattr(message.feature[names.get(name, name)], kind).value.extend(values)
    return message.SerializeToString(deterministic=True)


def frame_with_length(length, message=b"x" * 16):
    return struct.pack("<q", length) + message


def run_python(code, *arguments):
    """Run code in a process of its own; OneFlow may end it. Returns the completed process."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "2",
        "ONEFLOW_ENABLE_ONEDNN_OPTS": "0",
        "GLOG_minloglevel": "2",
    }
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
