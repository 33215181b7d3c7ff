"""Weights that other programs saved, and files that are made to hang or to eat memory."""

from __future__ import annotations

import json
import os
import pickle
import zipfile

import numpy as np
import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.record import checkpoint, foreign_weights
from oneflow_bench.bench.record.flow_checkpoint import read_flow_folder
from oneflow_bench.data.sources import stored


def test_the_prefix_of_a_wrapper_is_taken_off():
    shapes = {"conv.weight": (2,), "module_list.bias": (3,)}
    state = {f"module.{name}": np.zeros(shape) for name, shape in shapes.items()}
    fitting, _ = foreign_weights.fit_state(state, shapes, None, "x")
    assert set(fitting) == set(shapes)
    assert checkpoint.find_prefix({"module.a", "b"}) == checkpoint.find_prefix({}) == ""
    with pytest.raises(InputError, match="missing, first conv"):  # one name lacks the prefix
        foreign_weights.fit_state({**state, "b": np.zeros(1)}, shapes, None, "x")


def write_safetensors(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_bfloat16_is_read_exactly(tmp_path):
    bits = np.array([0x3F80, 0xC040, 0x7F80, 0x0001], np.uint16)  # 1, -3, infinity, the least
    expected = np.array([1, -3, np.inf, 2.0**-133], np.float32)
    header = {"b": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]},
              "n": {"dtype": "I64", "shape": [], "data_offsets": [8, 16]}}  # fmt: skip
    path = write_safetensors(tmp_path / "w.safetensors", header, bits.tobytes() + b"\7" + bytes(7))
    state = checkpoint.read_state(path)
    assert state["b"].dtype == np.float32 and state["n"] == 7
    np.testing.assert_array_equal(state["b"], expected.reshape(2, 2))
    folder = write_tensor(tmp_path / "f", "kBFloat16", (4,), bits.tobytes())
    np.testing.assert_array_equal(checkpoint.read_state(folder)["w"], expected)


def test_a_type_without_a_meaning_here_is_one_sentence(tmp_path):
    header = {"b": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}
    path = write_safetensors(tmp_path / "w.safetensors", header, b"1")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        checkpoint.read_state(path)


def short(text):
    return b"\x8c" + bytes([len(text)]) + text.encode()


def dump_version_1(data):
    """The pickle of `oneflow.save` around pickled data without its head and end."""
    return b"\x80\x04}(" + short("protocol_version") + b"K\x01" + short("data") + data + b"u."


def write_tensor(folder, kind, shape, data):
    """A folder of `oneflow.save` with one tensor, called w and kept in t."""
    (folder / "t").mkdir(parents=True)
    dims = "".join(f"  dim: {size}\n" for size in shape)
    (folder / "t" / "meta").write_text(f"shape {{\n{dims}}}\ndata_type: {kind}\n")
    (folder / "t" / "out").write_bytes(data)
    stub = b"coneflow\nTensor\n)\x81}" + short("path") + short("t") + b"sb"
    (folder / "pickled_data").write_bytes(dump_version_1(b"}" + short("w") + stub + b"s"))
    return folder


def nest(levels, value, pair):
    for _ in range(levels):
        value = pair(value)
    return pickle.dumps(value, 2)[2:-1]


@pytest.mark.parametrize(
    "data, message",
    [
        (nest(24, [], lambda one: [one, one]), "no tensors by name"),
        (b"}" + nest(60, (), lambda one: (one, 1, one)) + b"K\x01s", "shares tuples"),
        (b"]" * 100_001 + b"a" * 100_000, "nested too deeply"),
        (b"]q\x00h\x00a", "holds itself"),
        (b"]r\xff\xff\xff\x7f", "numbers a value"),
    ],
    ids=["shared lists", "shared tuples", "deep", "itself", "memo"],
)
def test_a_small_pickle_that_grows_without_end_is_refused(tmp_path, data, message):
    (tmp_path / "pickled_data").write_bytes(dump_version_1(data))
    with pytest.raises(InputError, match=message):
        checkpoint.read_state(tmp_path)


@pytest.mark.parametrize("place", ["pickled_data", "t/out", "t/meta"])
@pytest.mark.parametrize("kind", ["pipe", "zeros"])
def test_a_pipe_or_a_device_in_a_folder_is_not_read(tmp_path, place, kind):
    write_tensor(tmp_path / "f", "kFloat", (1,), bytes(4))
    path = tmp_path / "f" / place
    path.unlink()
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="pipe or a device"):
        read_flow_folder(tmp_path / "f")


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "MAX_BYTES", 1000)
    np.savez_compressed(tmp_path / "w.npz", w=np.zeros(10_000))
    with pytest.raises(InputError, match="unpacks to 80128 bytes and at most 1000"):
        checkpoint.read_state(tmp_path / "w.npz")


def test_a_small_archive_that_unpacks_to_much_is_refused_and_a_large_one_is_read(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(stored, "UNSUSPICIOUS_BYTES", 100_000)
    weights = np.random.RandomState(0).normal(size=20_000)
    np.savez_compressed(tmp_path / "w.npz", w=weights)
    np.testing.assert_array_equal(checkpoint.read_state(tmp_path / "w.npz")["w"], weights)
    np.savez_compressed(tmp_path / "bomb.npz", w=np.zeros(200_000))
    with pytest.raises(InputError, match="unpacks to 1600128 bytes and at most"):
        checkpoint.read_state(tmp_path / "bomb.npz")


def test_a_header_that_promises_too_much_and_a_member_that_is_no_array_are_refused(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (2305843009213693951,)}"
    promised = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    for name, data, reason in (("w.npy", promised, "cannot be read"), ("w", b"x", "w is no array")):
        with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
            archive.writestr(name, data)
        with pytest.raises(InputError, match=reason):
            checkpoint.read_state(tmp_path / "w.npz")
