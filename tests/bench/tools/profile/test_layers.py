"""The layer profile on real OneFlow."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import oneflow as flow
import pytest
from command import run_command
from oneflow import nn

from oneflow_bench.bench.tools.profile.alone import ALONE_REPEATS
from oneflow_bench.bench.tools.profile.layers import profile_layers

pytestmark = pytest.mark.oneflow


class Slow(nn.Module):
    """Takes a known time in its forward."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def forward(self, x):
        end = time.perf_counter() + self.seconds
        while time.perf_counter() < end:
            pass
        return x * 1.0


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.act = nn.ReLU()
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.slow = Slow(0.02)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.act(self.bn(self.conv(x)))
        x = self.act(self.slow(self.conv2(x)) + x)
        return self.fc(self.drop(x.mean(dim=(2, 3))))


def create():
    flow.manual_seed(0)
    model = Model()
    optimizer = flow.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    images = flow.tensor(np.random.RandomState(0).randn(4, 3, 8, 8).astype(np.float32))
    labels = flow.tensor([0, 1, 2, 0])

    def step():
        model.train()
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return float(loss.numpy())

    return model, step


def test_layers_have_their_times_shapes_and_calls():
    model, step = create()
    with profile_layers(model) as profile:
        for _ in range(3):
            step()
    layers = {layer.name: layer for layer in profile.layers}
    assert list(layers) == ["conv", "bn", "act", "conv2", "slow", "drop", "fc"]
    assert profile.iterations == 3
    assert {name: layer.calls for name, layer in layers.items()}["act"] == 2
    assert layers["conv"].output_shape == [4, 4, 8, 8]
    assert layers["conv"].num_params == 4 * 3 * 9 + 4
    assert layers["conv"].param_sizes == [4 * 3 * 9, 4]
    assert layers["act"].param_sizes == []
    assert layers["slow"].kind == "Slow"
    for layer in layers.values():
        assert len(layer.forward_s) == 3
        assert len(layer.backward_s) == ALONE_REPEATS
        assert min(layer.forward_s) > 0
        assert min(layer.backward_s) > 0
    assert min(layers["slow"].forward_s) >= 0.02 > min(layers["slow"].backward_s)
    assert max(layers.values(), key=lambda layer: min(layer.forward_s)).name == "slow"
    lines = str(profile).splitlines()
    assert "layer" in lines[0] and "all layers" in lines[-1]
    assert [line.split()[0] for line in lines[2:-1]] == list(layers)
    markdown = profile._repr_markdown_().splitlines()
    assert markdown[0].startswith("| layer") and len(markdown) == 2 + len(layers) + 1


def test_training_is_bitwise_what_it_is_without_the_profile():
    plain_model, plain_step = create()
    plain = [plain_step() for _ in range(6)]
    model, step = create()
    losses = [step(), step()]
    with profile_layers(model):
        losses += [step(), step()]
    losses += [step(), step()]
    assert losses == plain
    for name, value in model.state_dict().items():
        assert np.array_equal(value.numpy(), plain_model.state_dict()[name].numpy()), name


def test_everything_is_restored_also_after_an_error():
    model, step = create()
    own = model.conv.forward
    object.__setattr__(model.conv, "forward", own)  # an instance attribute of somebody else's
    with pytest.raises(RuntimeError, match="stop"), profile_layers(model):
        step()
        raise RuntimeError("stop")
    assert model.conv.__dict__["forward"] is own
    assert all("forward" not in m.__dict__ for m in model.modules() if m is not model.conv)
    step()


def test_an_iteration_inside_a_graph_is_refused():
    model, _ = create()

    class Graph(nn.Graph):
        def __init__(self):
            super().__init__()
            self.model = model

        def build(self, x):
            return self.model(x)

    model.eval()
    with pytest.raises(ValueError, match="inside nn.Graph"), profile_layers(model):
        Graph()(flow.zeros(1, 3, 8, 8))


# Graphs this quick can end their process (`create_padding_operator` says why). A profile has none,
# as it would be timed too: `bench profile` starts a fresh worker then, and so do these tests.
MAX_STARTS = 5


@pytest.fixture(scope="module")
def measured():
    """What the functions below return, from a process of its own."""
    names = ("a_large_layer", "a_layer_called_twice", "an_in_place_layer")
    calls = ", ".join(f"'{name}': test_layers.measure_{name}()" for name in names)
    program = f"import json, test_layers; print(json.dumps({{{calls}}}))"
    for _ in range(MAX_STARTS):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            timeout=200,
        )
        if done.returncode >= 0:
            break
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def measure_a_large_layer():
    model = nn.Sequential(nn.ReLU(), nn.Linear(1024, 1024))
    with profile_layers(model) as profile:
        model(flow.ones(256, 1024)).sum().backward()
    return profile.measure_graph(1)


def measure_a_layer_called_twice():
    model, step = create()
    with profile_layers(model) as profile:
        step()
    names = [layer.name for layer in profile.layers]
    return profile.measure_graph(names.index("act"))


def measure_an_in_place_layer():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    with profile_layers(model) as profile:
        model(flow.ones(2, 3)).sum().backward()
    in_place = profile.layers[1]
    return in_place.kind, in_place.backward_s, profile.measure_graph(1)


def test_a_layer_is_timed_as_a_graph_of_its_own(measured):
    forward, both = measured["a_large_layer"]
    assert len(forward) == len(both) == ALONE_REPEATS
    assert 0 < min(forward) < statistics.median(both)


def test_a_layer_called_twice_has_its_times(measured):
    forward, both = measured["a_layer_called_twice"]
    assert len(forward) == len(both) == ALONE_REPEATS
    assert min(forward + both) > 0


def test_an_in_place_layer_has_its_times(measured):
    kind, backward, (forward, both) = measured["an_in_place_layer"]
    assert kind == "ReLU"
    assert len(backward) == ALONE_REPEATS
    assert min(forward) > 0
    assert min(both) > 0


def bench(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "oneflow_bench", "profile", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_the_command_leaves_a_profile_a_picture_and_a_trace(tmp_path, mode):
    out = tmp_path / "run"
    done = bench("--model", "lenet", "--batch-size", 4, "--mode", mode, "--iterations", 3,
                 "--out", out, "--top", 4)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "8 other layers" in done.stdout
    assert "features.0" in (out / "layers.txt").read_text()
    assert {p.name for p in out.iterdir()} == {
        "profile.json", "trace.json", "layers.txt", "layers.png", "layers.svg", "logs"
    }  # fmt: skip
    document = json.loads((out / "profile.json").read_text())
    assert len(document["layers"]) == 12
    assert (document["graph"] is None) == (mode == "eager")
    if mode == "graph":
        assert "operators after the passes" in done.stdout
        assert document["graph"]["ops_built"]["conv2d"] == 2
        assert all(layer["graph_forward_s"] for layer in document["layers"])
    parts = document["parts"]
    step = statistics.median(parts["step_s"])
    layers = sum(statistics.median(layer["forward_s"]) for layer in document["layers"])
    assert 0 < layers < 4 * step


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--model", "alexnt"], "did you mean alexnet"),
        (["--iterations", "0"], "--iterations"),
        (["--mode", "fast"], "--mode"),
        (["--data", "nowhere"], "nowhere does not exist"),
        (["--image-size", "8"], "--image-size 8 is too small"),
        (["--out", "{taken}"], "exists already"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, arguments, words):
    done = run_command("profile", *[argument.format(taken=tmp_path) for argument in arguments])
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_iteration_may_call_the_model_twice():
    model, _ = create()

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, batch):
            return (self.model(batch["left"]) - self.model(batch["right"])).sum()

    pair = Pair()
    with profile_layers(model, pair) as profile:
        for _ in range(2):
            pair({"left": flow.ones(4, 3, 8, 8), "right": flow.zeros(4, 3, 8, 8)}).backward()
    assert profile.iterations == 2
    layers = {layer.name: layer for layer in profile.layers}
    assert layers["conv"].calls == 2 and layers["act"].calls == 4
    assert len(layers["conv"].forward_s) == 2
