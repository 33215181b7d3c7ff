"""Small datasets in the layouts in which others publish theirs."""

from __future__ import annotations

import gzip
import pickle
import struct

import numpy as np
from data_samples import create_jpeg

from oneflow_bench.data.ofrecord_file import frame_message, ofrecord_class

NAMES = list("abcdefghij")
SYNSETS = ["n01440764", "n02102040"]


def create_pixels(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def write_cifar10_binary(root):
    """Six files of four pictures each; the label of a picture is its place in the file."""
    root.mkdir(parents=True)
    for name in [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]:
        pixels = create_pixels(4, 3072)
        (root / name).write_bytes(b"".join(bytes([n]) + pixels[n].tobytes() for n in range(4)))
    (root / "batches.meta.txt").write_text("\n".join(f"{name}{name}" for name in NAMES) + "\n")
    return root


def write_cifar10_python(root):
    """As the binary version, pickled as Python 2 did: text and bytes are one type there."""
    root.mkdir(parents=True)
    for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]:
        stored = {b"data": create_pixels(4, 3072), b"labels": [0, 1, 2, 3], b"batch_label": b"x"}
        (root / name).write_bytes(pickle.dumps(stored, protocol=2))
    names = {b"label_names": [f"{name}{name}".encode() for name in NAMES]}
    (root / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))
    return root


def write_cifar100_binary(root):
    root.mkdir(parents=True)
    for name in ("train.bin", "test.bin"):
        pixels = create_pixels(5, 3072)
        rows = (bytes([7, label]) + pixels[label].tobytes() for label in range(5))
        (root / name).write_bytes(b"".join(rows))
    (root / "fine_label_names.txt").write_text("\n".join(f"fine{n}" for n in range(100)))
    return root


def pack_idx(array):
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return head + array.tobytes()


def write_idx(root, label_base=0):
    """Ten pictures of 28 x 28 to train on, compressed, and five plain ones to test on."""
    root.mkdir(parents=True)
    for prefix, count in (("train", 10), ("t10k", 5)):
        labels = (np.arange(count) % 5 + label_base).astype(np.uint8)
        for kind, array in (("images-idx3", create_pixels(count, 28, 28)), ("labels-idx1", labels)):
            packed, name = pack_idx(array), f"{prefix}-{kind}-ubyte"
            if prefix == "train":
                packed, name = gzip.compress(packed), f"{name}.gz"
            (root / name).write_bytes(packed)
    return root


def write_tiny_imagenet(root):
    (root / "val" / "images").mkdir(parents=True)
    lines = []
    for number, synset in enumerate(SYNSETS):
        folder = root / "train" / synset / "images"
        folder.mkdir(parents=True)
        (root / "train" / synset / f"{synset}_boxes.txt").write_text("boxes")
        for place in range(3):
            (folder / f"{synset}_{place}.JPEG").write_bytes(create_jpeg(number))
        (root / "val" / "images" / f"val_{number}.JPEG").write_bytes(create_jpeg(number))
        lines.append(f"val_{number}.JPEG\t{synset}\t0\t0\t62\t57\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "words.txt").write_text("n01440764\ttench, Tinca tinca\nn02102040\tspringer\nn1\tx\n")
    return root


def write_pictures(root, count=6):
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (root / f"{number}.jpg").write_bytes(create_jpeg(number))
    return root


def write_faces(path, rows=9):
    """Nine faces of 48 x 48, three of each usage, with the expressions 0 to 6."""
    lines = ["emotion,pixels,Usage"]
    for number in range(rows):
        pixels = " ".join(map(str, create_pixels(1, 48 * 48, seed=number)[0].tolist()))
        usage = ("Training", "PublicTest", "PrivateTest")[number % 3]
        lines.append(f"{number % 7},{pixels},{usage}")
    path.write_text("\n".join(lines) + "\n")
    return path


def write_records(root, rows, image_key="img", label_key="cls"):
    """A part file of others: rows of labels, a picture each."""
    root.mkdir(parents=True, exist_ok=True)
    framed = []
    for number, labels in enumerate(rows):
        message = ofrecord_class()()
        message.feature[image_key].bytes_list.value.append(create_jpeg(number))
        message.feature[label_key].int64_list.value.extend(labels)
        framed.append(frame_message(message.SerializeToString(deterministic=True)))
    (root / "part-00000").write_bytes(b"".join(framed))
    return root
