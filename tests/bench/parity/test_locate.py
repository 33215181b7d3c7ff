"""Which layer a difference belongs to, and what running it alone says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oneflow_bench.bench.errors import WorkerError
from oneflow_bench.bench.parity import locate
from oneflow_bench.bench.parity.locate import (
    Isolation,
    describe_operators,
    examine,
    find_first_mismatch,
    find_layer,
    list_parts,
)
from oneflow_bench.bench.parity.result import (
    BATCHES,
    EVAL_FORWARD,
    FIRST_UPDATE,
    FORWARD,
    GRADIENTS,
    LevelResult,
    TensorDifference,
)
from oneflow_bench.bench.parity.tensors import OUTPUT, STEPS, Entry, LayerCall, Pair

OP_NAMES = ["conv1-conv2d-0", "conv1-bias_add-1", "conv1.weight", "conv10-conv2d-7"]
INPUT = np.ones((2, 3), np.float32)


def create_difference(level, name, kind="Conv2d"):
    return TensorDifference(
        level=level, name=name, kind=kind, shape=[2], verdict="different", reference_rms=1.0,
        eager_error=0.0, graph_error=1.0, difference_rms=1.0, error_ratio=9.0, max_abs=1.0,
        max_ulp=9, cosine=0.5, largest_at=[0], eager_value=1.0, graph_value=2.0,
        reference_value=1.0,
    )  # fmt: skip


def create_level(level, name, kind="Conv2d"):
    return LevelResult(
        level=level, verdict="different", reason="", tensors=2, identical=1, within_rounding=0,
        different=1, first_different=create_difference(level, name, kind),
    )  # fmt: skip


class Workers:
    """Answers the turns of workers for one layer, with arrays for each side."""

    def __init__(self, folder: Path, graph=INPUT, constructor="nn.ReLU()") -> None:
        self.folder = folder
        self.arrays = {"eager": INPUT, "graph": graph, "reference": INPUT.astype(np.float64)}
        self.constructor = constructor
        self.refused = None
        self.asked = []

    def ask(self, run, layer):
        self.asked.append((run, layer.name, layer.training))
        if self.refused is not None:
            return {"refused": self.refused}
        LayerCall("ReLU", self.constructor, True, [INPUT], {}, None).save(layer.recording)
        for path in filter(None, (layer.output, layer.reference)):
            np.savez(path, output=self.arrays[path.stem])
        return {"refused": None}

    def create(self):
        return Isolation(self.ask, self.folder, self.folder, {}, {"oneflow": "0.9.0"}, OP_NAMES,
                         lambda level, name: None)  # fmt: skip


@pytest.fixture
def script_says(monkeypatch):
    """The scripts that were run, and the number of those that show nothing before one does."""
    said = {"run": [], "silent": 0}

    def confirm(script):
        said["run"].append(script.name)
        return len(said["run"]) > said["silent"]

    monkeypatch.setattr(locate, "confirm_difference", confirm)
    return said


def test_the_layer_of_a_tensor():
    assert find_layer(FORWARD, "layer1.0.conv1", "Conv2d") == "layer1.0.conv1"
    assert find_layer(GRADIENTS, "layer1.0.conv1.weight", "gradient") == "layer1.0.conv1"
    assert find_layer(GRADIENTS, "scale", "gradient") == "output"
    assert find_layer(FIRST_UPDATE, "bn.running_mean", "buffer") == "bn"
    assert find_layer(FIRST_UPDATE, "bn.weight", "parameter") is None
    assert find_layer(BATCHES, "step 1 images", "images") is None


def test_operators_carry_the_very_layers_name():
    assert describe_operators("conv1", OP_NAMES) == "conv2d, bias_add"
    assert describe_operators("conv1 (call 2)", OP_NAMES) == "conv2d, bias_add"
    assert describe_operators("relu", OP_NAMES) is None


def test_a_stage_without_a_layer_says_where_to_look(tmp_path):
    origin = examine(create_difference(BATCHES, "step 2 images"), Workers(tmp_path).create())
    assert (origin.level, origin.name, origin.isolated_layer) == (
        BATCHES,
        "step 2 images",
        "not run",
    )
    assert "other data" in origin.isolated_layer_reason


def test_a_layer_that_differs_in_isolation_is_reproduced_and_gets_a_script(tmp_path, script_says):
    workers = Workers(tmp_path, graph=INPUT * np.float32(1.1))
    origin = examine(create_difference(EVAL_FORWARD, "conv1"), workers.create())
    assert origin.isolated_layer == "reproduced"
    assert "differ in its output" in origin.isolated_layer_reason
    assert origin.kind == "ReLU" and origin.operator == "conv2d, bias_add"
    assert (tmp_path / origin.script).is_file() and origin.script_confirms is True
    assert workers.asked == [(run, "conv1", False) for run in ("eager", "graph")]


def test_a_layer_that_agrees_in_isolation_is_used_differently(tmp_path, script_says):
    workers = Workers(tmp_path, graph=np.nextafter(INPUT, np.float32(2)))
    origin = examine(create_difference(FORWARD, "conv1"), workers.create())
    assert origin.isolated_layer == "agrees"
    assert "the model's use of it" in origin.isolated_layer_reason
    assert all(training for *_, training in workers.asked)
    assert script_says["run"] == ["reproduce-output.py"]  # the layer's would run the same again


def test_each_pass_has_a_recording_of_its_own(tmp_path, script_says):
    workers = Workers(tmp_path).create()
    for level in (EVAL_FORWARD, FORWARD):
        examine(create_difference(level, "conv1"), workers)
    assert {path.name for path in tmp_path.glob("conv1-*")} == {"conv1-eval.npz", "conv1-train.npz"}


def test_the_script_is_of_the_smallest_part_that_shows_the_difference(tmp_path, script_says):
    script_says["silent"] = 2
    workers = Workers(tmp_path, graph=INPUT * 2)
    origin = examine(create_difference(FORWARD, "a.b.conv (call 2)"), workers.create())
    names = ["reproduce-a.b.conv-call-2-", "reproduce-a.b.py", "reproduce-a.py"]
    assert len(script_says["run"]) == 3
    assert all(run.startswith(name) for run, name in zip(script_says["run"], names))
    assert (origin.script, origin.script_confirms) == ("reproduce-a.py", True)
    offered = {path.name for path in tmp_path.glob("reproduce-*")}
    assert offered == {"reproduce-a.py", "reproduce-a.npz"}


def test_a_script_that_shows_nothing_is_not_offered(tmp_path, script_says):
    script_says["silent"] = 99
    origin = examine(create_difference(FORWARD, "a.conv"), Workers(tmp_path).create())
    assert len(script_says["run"]) == 3 and origin.script is origin.script_confirms is None
    assert "none of 4 parts of the model shows it by itself" in origin.isolated_layer_reason
    assert not list(tmp_path.glob("reproduce-*"))


def test_a_part_that_cannot_be_built_again_has_no_script(tmp_path, script_says):
    workers = Workers(tmp_path, graph=INPUT * 2, constructor=None)
    origin = examine(create_difference(FORWARD, "block"), workers.create())
    assert origin.isolated_layer == "reproduced" and origin.script is None
    assert not script_says["run"] and "no standalone script" in origin.isolated_layer_reason


def test_the_parts_go_from_the_layer_to_the_train_steps():
    assert list_parts(FORWARD, "a.b[0]") == ["a.b[0]", "a", OUTPUT, STEPS]
    assert list_parts(GRADIENTS, OUTPUT) == [OUTPUT, STEPS]
    assert list_parts(FIRST_UPDATE, None) == [STEPS]
    assert list_parts(BATCHES, None) == []


def test_the_first_mismatch_is_the_first_tensor_with_other_bits_if_it_is_a_layers():
    def pair(level, name, graph="e"):
        entries = [
            Entry(level=level, name=name, kind="Conv2d", shape=[2], digest=digest)
            for digest in ("e", graph)
        ]
        return Pair(*entries)

    pairs = [pair(FORWARD, "a"), pair(FORWARD, "b", "g"), pair(FORWARD, "c", "g")]
    passed = create_level(FORWARD, "c").model_copy(update={"first_inexact": "b"})
    assert find_first_mismatch(pairs, [passed]).name == "b"
    caught = passed.model_copy(update={"first_inexact": "c"})
    assert find_first_mismatch(pairs, [caught]) is None
    later = create_level(FIRST_UPDATE, "w").model_copy(update={"first_inexact": "w"})
    assert find_first_mismatch(pairs, [later]) is None
    assert find_first_mismatch(pairs, []) is None


def test_a_first_mismatch_that_agrees_in_isolation_leaves_no_script(tmp_path):
    mismatch = Entry(level=FORWARD, name="conv1", kind="Conv2d", shape=[2], digest="d")
    workers = Workers(tmp_path)
    assert examine(mismatch, workers.create(), passed_as_rounding=True).isolated_layer == "agrees"
    assert not list(tmp_path.glob("reproduce-*"))


def test_trouble_with_the_layer_does_not_hide_the_difference(tmp_path):
    workers = Workers(tmp_path)
    workers.refused = "block takes more than tensors, and cannot be run in isolation"
    origin = examine(create_difference(FORWARD, "block"), workers.create())
    assert origin.isolated_layer == "not run"
    assert origin.isolated_layer_reason.startswith(f"{workers.refused}; no standalone script")

    def dies(*call):
        raise WorkerError("the worker 'graph' died")

    isolation = Isolation(dies, tmp_path, tmp_path, {}, {}, [], lambda level, name: None)
    origin = examine(create_difference(FORWARD, "block"), isolation)
    assert origin.name == "block" and "died" in origin.isolated_layer_reason
