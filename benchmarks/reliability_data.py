"""Mutates every data format that is read, and counts what goes wrong.

A reader may return or raise its own error in time. Anything else is a fault: another exception,
more than LIMIT_S, or a file whose end is cut off and that is accepted. Each line of
results/reliability/data.jsonl is one format with its inputs from `first` on. A run goes on behind
the last line.

    python benchmarks/reliability_data.py --inputs 10000
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import pickle
import random
import signal
import struct
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.plan.recipe import load_recipe
from oneflow_bench.bench.record.checkpoint import read_state
from oneflow_bench.data import DataError, InputScale, load_dataset, load_labels, read_picture
from oneflow_bench.data.ofrecord_file import Record, frame_message, serialize_record
from oneflow_bench.data.pictures import READ_FORMATS, encode_jpeg
from oneflow_bench.data.sources import Choices
from oneflow_bench.data.sources.arrays import read_arrays
from oneflow_bench.data.sources.cifar import read_binary, read_pickled
from oneflow_bench.data.sources.labels import name_classes
from oneflow_bench.data.sources.stored import load_npy, read_idx
from oneflow_bench.data.sources.tables import read_faces, read_table
from oneflow_bench.data.validate import scan_part

LIMIT_S = 10.0
BATCH = 500  # inputs of a line
RESULTS = Path("results/reliability/data.jsonl")
_SCALE = InputScale(image_size=8, mean=(0, 0, 0), std=(1, 1, 1), resize_ratio=1.0)


class Format(NamedTuple):
    """A kind of file: a whole one, how it is read, and whether a cut must be noticed."""

    name: str
    whole: bytes
    read: Callable[[Path], Any]
    notices_cuts: bool = True


class _TookTooLong(BaseException):
    """Not an Exception, so that no reader takes it for damage."""


def list_formats(folder: Path) -> List[Format]:
    """All formats; the checkpoints of `oneflow.save` are a folder below `folder`."""
    image = Image.effect_noise((24, 24), 60).convert("RGB")
    jpeg = encode_jpeg(image, 90)
    part = b"".join(frame_message(serialize_record(Record(jpeg, label))) for label in range(3))
    weights = {"w": np.arange(12, dtype=np.float32).reshape(3, 4)}
    save_file(weights, str(folder / "whole.safetensors"))
    packed = io.BytesIO()
    np.savez(packed, **weights)
    index = (Path(__file__).parents[1] / "data/digits/index.json").read_bytes()
    for number in range(2):
        (folder / f"{number}.jpg").write_bytes(jpeg)
    pictures = [
        Format(f"x.{kind.lower()}", _encode(image, kind), lambda path: read_picture(path, _SCALE),
               kind in ("JPEG", "PNG"))
        for kind in READ_FORMATS
    ]  # fmt: skip
    return [
        *pictures,
        *_list_sources(),
        Format("part-00000", part, scan_part),
        Format("index.json", index, _read_index),
        Format("labels.json", json.dumps(["cat", "dog"]).encode(), load_labels),
        Format("labels.txt", b"cat\ndog\n", load_labels, False),
        Format("recipe.json", b'{"model": "lenet", "lr": 0.1}', load_recipe),
        Format("recipe.toml", b'model = "lenet"\nlr = 0.1\n', load_recipe, False),
        Format("w.safetensors", (folder / "whole.safetensors").read_bytes(), read_state),
        Format("w.npz", packed.getvalue(), read_state),
        Format("pickled_data", _flow_pickle(), lambda path: read_state(path.parent)),
        Format("out", bytes(48), lambda path: read_state(path.parent.parent)),
    ]


def _list_sources() -> List[Format]:
    """The files of datasets that others publish."""
    pixels = np.arange(2 * 3072, dtype=np.uint32).astype(np.uint8).reshape(2, 3072)
    pickled = {b"data": pixels, b"labels": [0, 1]}
    idx = struct.pack(">HBB3I", 0, 8, 3, 2, 32, 96) + pixels.tobytes()
    archive, array = io.BytesIO(), io.BytesIO()
    np.savez(archive, images=pixels.reshape(2, 32, 32, 3), labels=np.arange(2))
    np.save(array, pixels)
    faces = "emotion,pixels,Usage\n" + "".join(f"{n},{'7 ' * 16},Training\n" for n in range(3))
    choices = Choices()
    return [
        Format("data_batch_1.bin", b"\1" + pixels[0].tobytes(), read_binary),
        Format("data_batch_1", pickle.dumps(pickled, protocol=2), read_pickled),
        Format("data_batch_2", pickle.dumps(pickled, protocol=4), read_pickled),
        Format("train-images-idx3-ubyte", idx, read_idx),
        Format("train-images-idx3-ubyte.gz", gzip.compress(idx), read_idx),
        Format("set.npz", archive.getvalue(), lambda path: read_arrays(path, choices)),
        Format("images.npy", array.getvalue(), load_npy),
        Format("labels.csv", b"file,labels\n0.jpg,cat|dog\n1.jpg,dog\n",
               lambda path: read_table(path, choices), False),
        Format("bits.csv", b"file,cat,dog\n0.jpg,1,1\n1.jpg,0,1\n",
               lambda path: read_table(path, choices), False),
        Format("faces.csv", faces.encode(), lambda path: read_faces(path, choices), False),
        Format("names.txt", b"a cat\nb dog\n",
               lambda path: name_classes(["a", "b"], path, str), False),
    ]  # fmt: skip


def _encode(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _flow_pickle() -> bytes:
    head = b"\x80\x04}(\x8c\x10protocol_versionK\x01\x8c\x04data}\x8c\x01w"
    return head + b"coneflow\nTensor\n)\x81}\x8c\x04path\x8c\x01tsbsu."


def _read_index(path: Path) -> Any:
    for split in ("train", "val"):
        folder = path.parent / split
        folder.mkdir(exist_ok=True)
        for number in range(2):
            (folder / f"part-{number:05d}").touch()
    return load_dataset(path.parent)


def mutate(whole: bytes, source: random.Random) -> Tuple[bytes, bool]:
    """A changed copy, and whether its end was cut off with nothing else changed."""
    data = bytearray(whole)
    kind = source.randrange(6)
    at = source.randrange(len(data))
    if kind == 0:
        return bytes(data[: source.randrange(len(data) * 9 // 10)]), True
    if kind == 1:
        for _ in range(source.choice((1, 1, 4, 32))):
            data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    elif kind == 2:  # numbers at their limits
        value = source.choice((0, 1, 0x7F, 0x80, 0xFF)).to_bytes(1, "big")
        data[at : at + 4] = value * len(data[at : at + 4])
    elif kind == 3:
        del data[at : at + source.randrange(1, 64)]
    elif kind == 4:
        data[at:at] = data[: source.randrange(1, 256)] * source.choice((1, 1, 50))
    else:
        data[at:] = source.randbytes(source.randrange(1, 256))
    return bytes(data), False


def try_input(one: Format, folder: Path, seed: int) -> str:
    """What is wrong with how a mutated file was taken; an empty text for nothing."""
    data, is_cut = mutate(one.whole, random.Random(f"{one.name} {seed}"))
    path = _place(one, folder)
    path.write_bytes(data)
    signal.signal(signal.SIGALRM, _raise_too_long)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        one.read(path)
    except (DataError, InputError):
        return ""
    except _TookTooLong:
        return "hang"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "accepted, though its end is cut off" if is_cut and one.notices_cuts else ""


def _place(one: Format, folder: Path) -> Path:
    """The path of a file, with the other files of a folder of `oneflow.save` beside it."""
    if one.name not in ("pickled_data", "out"):
        return folder / one.name
    tensor = folder / "flow" / "t"
    tensor.mkdir(parents=True, exist_ok=True)
    (tensor / "meta").write_text("shape {\n  dim: 3\n  dim: 4\n}\ndata_type: kFloat\n")
    (tensor / "out").write_bytes(bytes(48))
    (folder / "flow" / "pickled_data").write_bytes(_flow_pickle())
    return folder / "flow" / one.name if one.name == "pickled_data" else tensor / one.name


def _raise_too_long(*_: Any) -> None:
    raise _TookTooLong


def try_formats(inputs: int, first: Dict[str, int]) -> Iterator[Dict[str, Any]]:
    """A line for each format and batch, from `first` on; `inputs` are of each format."""
    with tempfile.TemporaryDirectory() as name:
        for one in list_formats(Path(name)):
            for start in range(first.get(one.name, 0), inputs, BATCH):
                end, begin = min(start + BATCH, inputs), time.monotonic()
                found = {seed: try_input(one, Path(name), seed) for seed in range(start, end)}
                yield {
                    "format": one.name,
                    "first": start,
                    "end": end,
                    "faults": {str(seed): fault for seed, fault in found.items() if fault},
                    "seconds": round(time.monotonic() - begin, 1),
                }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1000, help="Of each format.")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    done = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    first = {line["format"]: line["end"] for line in map(json.loads, done)}
    with arguments.out.open("a") as file:
        for line in try_formats(arguments.inputs, first):
            print(json.dumps(line), file=file, flush=True)
            print(f"{line['format']:14} {line['end']:6} inputs, {len(line['faults'])} faults")


if __name__ == "__main__":
    main()
