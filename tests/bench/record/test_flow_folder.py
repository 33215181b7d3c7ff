"""A checkpoint as a folder for `oneflow.load`."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from oneflow_bench.bench.cli.export import export
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.record.checkpoint import read_state, save_weights
from oneflow_bench.bench.record.flow_checkpoint import write_flow_folder

STATE = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "norm.num_batches_tracked": np.array(7, dtype=np.int64),
    "wide": np.array([1e-300, np.inf]),
    "narrow": np.array([0.5, -2], dtype=np.float16),
    "bytes": np.array([-1, 1], dtype=np.int8),
    "nothing": np.zeros((0, 3), dtype=np.float32),
}


def test_a_written_folder_is_read_again_bit_for_bit(tmp_path):
    (tmp_path / "weights").mkdir()
    write_flow_folder(STATE, tmp_path / "weights")
    found = read_state(tmp_path / "weights")
    assert found.keys() == STATE.keys()
    for name, value in STATE.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape
        assert found[name].tobytes() == value.tobytes()


@pytest.mark.parametrize(
    "state, message",
    [
        ({"../up": np.zeros(1)}, "no name of a folder"),
        ({"snapshot_done": np.zeros(1)}, "no name of a folder"),
        ({"complex": np.zeros(1, complex)}, "complex128, which OneFlow does not have"),
    ],
)
def test_a_tensor_that_has_no_such_folder_is_refused(tmp_path, state, message):
    with pytest.raises(InputError, match=message):
        write_flow_folder(state, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_folder_is_refused(tmp_path):
    write_flow_folder({"a": np.zeros(3, np.float32)}, tmp_path)
    (tmp_path / "a" / "out").write_bytes(b"12345")
    with pytest.raises(InputError, match="tensor .*a cannot be read"):
        read_state(tmp_path)


def run(*words):
    return CliRunner().invoke(export, [*map(str, words), "--format", "oneflow"])


def test_the_command_writes_a_folder_once(tmp_path):
    save_weights(STATE, tmp_path / "epoch.safetensors", {})
    words = (tmp_path / "epoch.safetensors", "--out", tmp_path / "weights")
    assert run(*words).exception is None
    assert read_state(tmp_path / "weights").keys() == STATE.keys()
    assert "exists already" in str(run(*words).exception)


@pytest.mark.parametrize("words", [["a", "b", "--out", "c"], ["a"], ["a", "--contender", "eager"]])
def test_the_command_takes_one_checkpoint_and_a_folder(words):
    assert "give one RUN or checkpoint, --out FOLDER" in str(run(*words).exception)


def test_a_missing_checkpoint_leaves_no_folder(tmp_path):
    done = run(tmp_path / "nothing", "--out", tmp_path / "weights")
    assert "does not exist" in str(done.exception) and not list(tmp_path.iterdir())


@pytest.mark.oneflow
def test_oneflow_loads_the_folder_into_a_model(tmp_path):
    import oneflow as flow

    from oneflow_bench.models import create_model

    flow.manual_seed(1)
    saved, loaded = (create_model("lenet") for _ in range(2))
    state = {name: np.array(value.numpy()) for name, value in saved.state_dict().items()}
    save_weights({**state, **STATE}, tmp_path / "epoch.safetensors", {})
    assert run(tmp_path / "epoch.safetensors", "--out", tmp_path / "all").exception is None
    for name, value in flow.load(str(tmp_path / "all")).items():
        wanted = {**state, **STATE}[name]
        assert value.numpy().tobytes() == wanted.tobytes() and value.shape == wanted.shape
    (tmp_path / "weights").mkdir()
    write_flow_folder(state, tmp_path / "weights")
    loaded.load_state_dict(flow.load(str(tmp_path / "weights")))
    assert all(
        np.array_equal(value.numpy(), state[name]) for name, value in loaded.state_dict().items()
    )
