"""Parameter counts, names and initialisations against what was published."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench.models import create_model, get_model_spec, list_models
from oneflow_bench.models.counting import count_parameters
from oneflow_bench.models.googlenet import AuxiliaryHead
from oneflow_bench.models.resnet_cifar import PaddedShortcut
from oneflow_bench.models.shufflenet_v2 import shuffle_channels

pytestmark = pytest.mark.oneflow

GOLDEN_FOLDER = Path(__file__).resolve().parent.parent / "golden"
GOLDEN = json.loads((GOLDEN_FOLDER / "params.json").read_text())
TORCHVISION = json.loads((GOLDEN_FOLDER / "torchvision_keys.json").read_text())["models"]
# in the golden file named after their sizes
GOLDEN_ROWS = {
    "densenet_bc_cifar": "densenet_bc_100_12",
    "shufflenet_v2_cifar": "shufflenet_v2_x1_0_cifar",
}


def find_smallest_of_each_family():
    smallest = {}
    for spec in map(get_model_spec, list_models()):
        least = smallest.setdefault(spec.family, spec)
        if spec.num_params < least.num_params:
            smallest[spec.family] = spec
    return sorted(spec.name for spec in smallest.values())


@pytest.mark.slow
@pytest.mark.parametrize("row", GOLDEN)
def test_parameter_counts_are_the_published_ones(row, no_initialisation):
    expected = GOLDEN[row]
    arguments = expected.get("arguments", {})
    model = create_model(expected["model"], num_classes=expected["num_classes"], **arguments)
    assert count_parameters(model) == expected["params"]


@pytest.mark.parametrize("name", list_models())
def test_the_table_says_what_is_published(name):
    spec = get_model_spec(name)
    row = GOLDEN[GOLDEN_ROWS.get(name, name)]
    assert row["params"] == spec.num_params
    assert row["num_classes"] == spec.num_classes


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_state_dicts_of_imagenet_models_are_torchvisions(name, no_initialisation):
    spec = get_model_spec(name)
    if name not in TORCHVISION:
        # torchvision has neither models for 32 px nor an AlexNet with batch norm
        assert spec.stem == "cifar" or name == "alexnet_owt_bn"
        return
    state = create_model(name, num_classes=1000).state_dict()
    lines = sorted(f"{key}:{tuple(value.shape)}" for key, value in state.items())
    assert len(lines) == TORCHVISION[name]["num_tensors"]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == TORCHVISION[name]["sha256"]


def test_every_torchvision_row_has_its_model():
    assert set(TORCHVISION) <= set(list_models())


@pytest.mark.slow
@pytest.mark.parametrize("name", find_smallest_of_each_family())
def test_the_same_seed_gives_the_same_weights(name):
    states = []
    for _ in range(2):
        flow.manual_seed(3)
        states.append(create_model(name, num_classes=5).state_dict())
    for key, value in states[0].items():
        assert np.array_equal(value.numpy(), states[1][key].numpy()), key


@pytest.mark.slow
def test_truncated_normal_initialisation_has_no_pile_at_its_bounds():
    flow.manual_seed(0)
    model = create_model("inception_v3_noaux", num_classes=5)
    weight = model.Mixed_7c.branch3x3dbl_2.conv.weight.numpy()
    assert np.abs(weight).max() <= 0.2
    assert (np.abs(weight) > 0.1999).mean() < 1e-3
    # a normal distribution cut at two standard deviations keeps 0.8796 of its spread
    assert weight.std() == pytest.approx(0.08796, rel=0.01)
    assert model.fc.bias.numpy().any() == 0


def test_alexnet_with_batch_norm_has_27_leaf_layers_and_one_bias(no_initialisation):
    model = create_model("alexnet_owt_bn")
    leaves = [m for m in model.modules() if m is not model and not isinstance(m, nn.Sequential)]
    assert len(leaves) == 27
    layers = [leaf for leaf in leaves if isinstance(leaf, (nn.Conv2d, nn.Linear))]
    assert [layer.bias is not None for layer in layers] == [False] * 7 + [True]


@pytest.mark.parametrize("depth", [5, 9, 101])
def test_a_dense_net_of_another_depth_is_refused(depth):
    with pytest.raises(ValueError, match=f"6 n \\+ 4 layers, which {depth} is not"):
        create_model("densenet_bc_cifar", num_classes=10, depth=depth)
    with pytest.raises(ValueError, match=f"6 n \\+ 4 layers, which {depth} is not"):
        create_model("wide_resnet_cifar", num_classes=10, depth=depth)


def test_a_padded_shortcut_takes_every_other_pixel_and_adds_empty_channels():
    x = flow.arange(2 * 3 * 5 * 5).reshape(2, 3, 5, 5).to(flow.float32)
    output = PaddedShortcut(4)(x).numpy()
    assert output.shape == (2, 7, 3, 3)
    assert np.array_equal(output[:, :3], x.numpy()[:, :, ::2, ::2])
    assert not output[:, 3:].any()


def test_shuffling_interleaves_the_halves():
    x = flow.arange(6).reshape(1, 6, 1, 1).to(flow.float32)
    assert shuffle_channels(x).numpy().ravel().tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize(
    "name, weights", [("googlenet", (0.3, 0.3)), ("inception_v3", (0.4,)), ("googlenet_noaux", ())]
)
def test_auxiliary_weights_are_the_published_ones(name, weights, no_initialisation):
    assert create_model(name, num_classes=2).aux_weights == weights


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_can_be_left_out(name, no_initialisation):
    without = set(create_model(name, num_classes=2, aux_logits=False).state_dict())
    assert without == set(create_model(f"{name}_noaux", num_classes=2).state_dict())
    assert without < set(create_model(name, num_classes=2).state_dict())


def test_a_head_takes_any_size():
    head = AuxiliaryHead(8, 5, dropout=0.5).eval()
    with flow.no_grad():
        assert {tuple(head(flow.randn(2, 8, n, n)).shape) for n in (1, 4, 14)} == {(2, 5)}


@pytest.mark.parametrize(
    "name",
    [
        "cnn",
        "alexnet",
        "alexnet_owt_bn",
        "vgg11",
        "googlenet",
        "inception_v3",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "squeezenet1_0",
        "mnasnet1_0",
        "efficientnet_b0",
    ],
)
def test_dropout_can_be_chosen(name, no_initialisation):
    model = create_model(name, num_classes=2, dropout=0.125)
    assert 0.125 in {m.p for m in model.modules() if isinstance(m, nn.Dropout)}
