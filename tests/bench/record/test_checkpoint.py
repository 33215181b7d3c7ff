from __future__ import annotations

import errno
import pickle

import numpy as np
import pytest
from fakes import create_writer

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.record import checkpoint, foreign_weights
from oneflow_bench.bench.record.events import CheckpointEvent
from oneflow_bench.bench.record.flow_checkpoint import read_flow_folder

STATE = {"fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "fc.bias": np.ones(2)}


def write_flow_folder(folder, data, tensors):
    """As `oneflow.save` does; `data` is pickled as it is."""
    folder.mkdir()
    for name, array in tensors.items():
        (folder / name).mkdir()
        dims = "".join(f"  dim: {size}\n" for size in array.shape)
        kind = {"float32": "kFloat", "int64": "kInt64"}[str(array.dtype)]
        (folder / name / "meta").write_text(f"shape {{\n{dims}}}\ndata_type: {kind}\n")
        (folder / name / "out").write_bytes(array.tobytes())
    (folder / "pickled_data").write_bytes(data)


def test_weights_keep_their_values_and_what_was_said_of_them(tmp_path):
    path = tmp_path / "deep" / "w.safetensors"
    checkpoint.save_weights(STATE, path, {"model": "lenet", "classes": ["a", "b"]})
    read = checkpoint.read_state(path)
    assert {k: v.tolist() for k, v in read.items()} == {k: v.tolist() for k, v in STATE.items()}
    assert checkpoint.read_about(path) == {"model": "lenet", "classes": ["a", "b"]}
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]


def test_a_scalar_stays_a_scalar(tmp_path):
    path = tmp_path / "w.safetensors"
    counter = np.array(7, dtype=np.int64)  # as batch norm's num_batches_tracked
    columns = np.arange(6, dtype=np.float32).reshape(2, 3).T
    checkpoint.save_weights({"counter": counter, "columns": columns}, path, {})
    read = checkpoint.read_state(path)
    assert (read["counter"].shape, read["counter"].item()) == ((), 7)
    assert read["columns"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_training_state_lies_beside_its_weights(tmp_path):
    weights = tmp_path / "epoch-002.safetensors"
    checkpoint.save_weights(STATE, weights, {})
    state = checkpoint.TrainingState(
        optimizer={"fc.bias/momentum": np.ones(2)},
        step=88,
        epoch=2,
        workload={"lr": 0.1},
        steps_per_epoch=44,
    )
    checkpoint.save_training_state(state, weights)
    read = checkpoint.load_training_state(weights)
    assert (read.step, read.epoch, read.workload, read.steps_per_epoch) == (88, 2, {"lr": 0.1}, 44)
    assert read.optimizer["fc.bias/momentum"].tolist() == [1, 1]


def test_without_a_training_state_there_is_no_resuming(tmp_path):
    weights = tmp_path / "w.safetensors"
    checkpoint.save_weights(STATE, weights, {})
    with pytest.raises(InputError, match="w.training.safetensors is missing.*--load-checkpoint"):
        checkpoint.load_training_state(weights)
    checkpoint.save_weights({}, tmp_path / "w.training.safetensors", {"step": 3})
    with pytest.raises(InputError, match="was not written by bench"):
        checkpoint.load_training_state(weights)


def test_a_run_folder_stands_for_its_last_checkpoint(tmp_path):
    last = tmp_path / "checkpoints" / "eager" / "last.safetensors"
    checkpoint.save_weights(STATE, last, {})
    assert checkpoint.find_checkpoint(tmp_path) == last
    checkpoint.save_weights(STATE, tmp_path / "checkpoints" / "graph" / "last.safetensors", {})
    with pytest.raises(InputError, match="has checkpoints of 2 contenders"):
        checkpoint.find_checkpoint(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        checkpoint.find_checkpoint(tmp_path / "nowhere")


def save_pair(folder, name, epoch):
    weights = folder / f"{name}.safetensors"
    values = {"w": np.full(3, epoch, np.float32)}
    checkpoint.save_weights(values, weights, {})
    state = checkpoint.TrainingState(
        optimizer=values,
        step=epoch,
        epoch=epoch,
        workload={},
        steps_per_epoch=1,
        weights_digest=checkpoint.digest_state(values),
    )
    checkpoint.save_training_state(state, weights)
    return weights


@pytest.fixture
def run(tmp_path):
    """A folder with the checkpoints of two epochs, and of the second as the last."""
    folder = tmp_path / "checkpoints" / "eager"
    save_pair(folder, "epoch-001", 1)
    checkpoint.copy_checkpoint(save_pair(folder, "epoch-002", 2), folder / "last.safetensors")
    return tmp_path


def test_a_kill_between_the_files_of_the_last_checkpoint_costs_nothing(run):
    folder = run / "checkpoints" / "eager"
    assert checkpoint.load_training_state(run).path.name == "last.safetensors"
    (folder / "last.training.safetensors").unlink()  # else both names of one file would change
    (folder / "last.training.safetensors").write_bytes(
        (folder / "epoch-001.training.safetensors").read_bytes()
    )
    assert checkpoint.load_training_state(run).path.name == "epoch-002.safetensors"
    with pytest.raises(InputError, match="are of different steps .* another epoch"):
        checkpoint.load_training_state(folder / "last.safetensors")


def test_a_kill_before_the_last_checkpoint_is_replaced_costs_nothing(run):
    newer = save_pair(run / "checkpoints" / "eager", "epoch-003", 3)
    assert checkpoint.load_training_state(run).path == newer


def test_a_changed_digit_of_a_training_state_is_noticed(run):
    path = run / "checkpoints" / "eager" / "epoch-001.training.safetensors"
    path.write_bytes(path.read_bytes().replace(b'step\\": 1', b'step\\": 7'))
    with pytest.raises(InputError, match="training.safetensors was changed"):
        checkpoint.load_training_state(path.with_name("epoch-001.safetensors"))


@pytest.mark.parametrize("name", ["epoch-002", "epoch-002.training"])
@pytest.mark.parametrize("content", [b"", b"half a file"])
def test_a_run_goes_on_from_its_newest_whole_epoch(run, name, content):
    folder = run / "checkpoints" / "eager"
    (folder / "last.safetensors").unlink()
    (folder / f"{name}.safetensors").write_bytes(content)
    assert checkpoint.load_training_state(run).epoch == 1
    assert checkpoint.read_state(run)["w"].tolist() == [1, 1, 1]


def test_a_checkpoint_that_is_not_the_record_s_is_passed_by(run):
    with_record = run / "run"
    writer = create_writer(with_record)
    (run / "checkpoints").rename(with_record / "checkpoints")
    writer.append(CheckpointEvent(contender="eager", epoch=1, digest="another"))
    writer.close()
    assert checkpoint.load_training_state(with_record).epoch == 1


def test_a_copy_that_fails_leaves_the_old_pair(run, monkeypatch):
    folder = run / "checkpoints" / "eager"
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def fill_disk(source, target):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    def refuse_link(source, target):
        raise OSError(errno.EPERM, "no links on this disk")

    monkeypatch.setattr(checkpoint.os, "link", refuse_link)
    monkeypatch.setattr(checkpoint.shutil, "copyfile", fill_disk)
    with pytest.raises(InputError, match=r"cannot be written \(No space left .* make room"):
        checkpoint.copy_checkpoint(folder / "epoch-001.safetensors", folder / "last.safetensors")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_optimizers_are_compared_bit_by_bit(tmp_path):
    one, other = save_pair(tmp_path, "a", 1), save_pair(tmp_path, "b", 2)
    assert checkpoint.have_equal_optimizers(one, one)
    assert not checkpoint.have_equal_optimizers(one, other)


def test_a_checkpoint_is_copied_where_the_disk_has_no_links(run, monkeypatch):
    def refuse_link(source, target):
        raise OSError(errno.EPERM, "no links on this disk")

    monkeypatch.setattr(checkpoint.os, "link", refuse_link)
    folder = run / "checkpoints" / "eager"
    checkpoint.copy_checkpoint(folder / "epoch-001.safetensors", folder / "best.safetensors")
    assert checkpoint.read_state(folder / "best.safetensors")["w"].tolist() == [1, 1, 1]


def test_npz_is_read_without_pickles(tmp_path):
    np.savez(tmp_path / "w.npz", **STATE)
    assert checkpoint.read_state(tmp_path / "w.npz")["fc.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    np.savez(tmp_path / "p.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(InputError, match="cannot be read as .npz"):
        checkpoint.read_state(tmp_path / "p.npz")


def test_an_array_without_a_name_and_an_empty_file_are_one_sentence(tmp_path):
    with open(tmp_path / "array.npz", "wb") as file:
        np.save(file, np.zeros(3))
    (tmp_path / "empty.npz").touch()
    for name, words in (("array.npz", "not a zip file"), ("empty.npz", "not a zip file")):
        with pytest.raises(InputError, match=f"cannot be read as .npz .*{words}"):
            checkpoint.read_state(tmp_path / name)


def test_metadata_of_another_kind_are_one_sentence(tmp_path):
    checkpoint.save_file(STATE, str(tmp_path / "w.safetensors"), {checkpoint.METADATA_KEY: "[1]"})
    with pytest.raises(InputError, match="metadata are no object"):
        checkpoint.read_about(tmp_path / "w.safetensors")
    deep = {checkpoint.METADATA_KEY: "[" * 100_000}
    checkpoint.save_file(STATE, str(tmp_path / "w.safetensors"), deep)
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        checkpoint.read_about(tmp_path / "w.safetensors")


def test_an_encrypted_archive_is_one_sentence(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, **STATE)
    data = bytearray(path.read_bytes())
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + flags] |= 1  # "encrypted" in the archive's headers
    path.write_bytes(data)
    with pytest.raises(InputError, match="cannot be read as .npz .*encrypted"):
        checkpoint.read_state(path)


@pytest.mark.parametrize("name", ["w.safetensors", "w.npz", "w.pth"])
def test_a_damaged_file_is_one_sentence(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04 not what it seems")
    with pytest.raises(InputError, match="cannot be read as"):
        checkpoint.read_state(tmp_path / name)


class _Runs:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def test_nothing_stored_in_a_folder_of_oneflow_is_executed(tmp_path):
    marker = tmp_path / "executed"
    data = pickle.dumps({"protocol_version": 1, "data": {"model": _Runs(marker)}})
    write_flow_folder(tmp_path / "evil", data, {})
    with pytest.raises(InputError, match=r"would execute (_?io|builtins).open.*--trust-checkpoint"):
        read_flow_folder(tmp_path / "evil")
    assert not marker.exists()


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "is damaged"),
        (b"\x80\x04garbage", "is damaged"),
        (pickle.dumps({"protocol_version": 7, "data": {}}), "not of the version"),
        (pickle.dumps([1, 2]), "not of the version"),
        (pickle.dumps({"protocol_version": 1}), "not of the version"),
    ],
)
def test_a_damaged_folder_is_one_sentence(tmp_path, data, message):
    write_flow_folder(tmp_path / "f", data, {})
    with pytest.raises(InputError, match=message):
        read_flow_folder(tmp_path / "f")


def test_a_folder_without_tensors_says_what_it_found(tmp_path):
    write_flow_folder(
        tmp_path / "f", pickle.dumps({"protocol_version": 1, "data": {"epoch": 3}}), {}
    )
    with pytest.raises(InputError, match="no tensors by name .found: 'epoch'"):
        checkpoint.read_state(tmp_path / "f")


def test_a_mismatch_names_the_first_of_each_kind():
    shapes = {"a": (2, 3), "b": (4,), "c": (5,)}
    state = {"a": np.zeros((9, 3)), "b": np.zeros(4), "d": np.zeros(1), "e": np.zeros(1)}
    with pytest.raises(InputError) as caught:
        foreign_weights.fit_state(state, shapes, False, "--load-checkpoint x")
    text = str(caught.value)
    for part in (
        "1 missing, first c",
        "2 unexpected, first d",
        "1 misshapen, first a (9, 3) where the model has (2, 3)",
        "--drop-head",
    ):
        assert part in text


def test_dropping_is_offered_only_where_it_can_be_asked_for():
    with pytest.raises(InputError) as caught:
        foreign_weights.fit_state({"a": np.zeros(3)}, {"a": (2,)}, None, "--teacher-checkpoint x")
    assert "1 misshapen, first a (3,)" in str(caught.value)
    assert "--" not in str(caught.value).replace("--teacher-checkpoint", "")


def test_only_a_differing_number_of_classes_can_be_dropped():
    shapes = {"w": (2, 3), "b": (2,), "conv": (4, 3, 5, 5)}
    state = {"w": np.zeros((9, 3)), "b": np.zeros(9), "conv": np.zeros((4, 3, 5, 5))}
    fitting, dropped = foreign_weights.fit_state(state, shapes, True, "x")
    assert (list(fitting), dropped) == (["conv"], ["w", "b"])
    state["conv"] = np.zeros((4, 3, 3, 3))
    with pytest.raises(InputError, match="1 misshapen, first conv"):
        foreign_weights.fit_state(state, shapes, True, "x")
