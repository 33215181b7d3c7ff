from __future__ import annotations

import pytest
from limits_records import create_layer, create_limits
from test_profile_report import document as create_profile
from test_profile_report import layer as create_profile_layer

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.errors import InputError, RecordError
from oneflow_bench.bench.tools.limits.profile_times import (
    check_limits,
    check_profile,
    limit_shares,
)
from oneflow_bench.bench.tools.profile.document import load_profile

STEP = Workload(model="alexnet", batch_size=4, image_size=32)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"model": "vgg11"}, "--profile is of --model vgg11 and this run has alexnet"),
        ({"batch_size": 5}, "--profile is of --batch-size 5 and this run has 4"),
        ({"image_size": 64}, "--profile is of --image-size 64 and this run has 32"),
        ({"mode": "graph"}, "--mode graph, which this run does not time"),
    ],
)
def test_a_profile_of_another_step_is_refused(change, words):
    profile = create_profile([])
    check_profile(profile, STEP, ["eager"])
    with pytest.raises(InputError, match=words):
        check_profile(profile.model_copy(update=change), STEP, ["eager"])


def test_limits_of_another_step_are_refused():
    limits = create_limits(workload=STEP)
    check_limits(limits, STEP)
    with pytest.raises(InputError, match="--limits is of --batch-size 4 and this run has 9"):
        check_limits(limits, STEP.model_copy(update={"batch_size": 9}))
    with pytest.raises(InputError, match="--limits is of --num-classes 10 and this run has 100"):
        check_limits(limits, STEP.model_copy(update={"num_classes": 100}))


def test_the_share_is_of_what_was_measured():
    # each of three parts takes 1 GFLOP, 1 / 150 s on two cores
    layers = [create_profile_layer(0, 0.1, 0.1), create_profile_layer(1, 0.1, backward=0.0)]
    limits = create_limits([create_layer(f"features.{number}") for number in range(3)])
    assert limit_shares(create_profile(layers), limits) == {
        "features.0": pytest.approx(3 / 150 / 0.2),
        "features.1": pytest.approx(1 / 150 / 0.1),
    }


def test_other_layers_and_other_parameters_are_refused():
    limits = create_limits([create_layer("features.0")])
    for layer in (
        create_profile_layer(7),
        create_profile_layer(0).model_copy(update={"num_params": 11}),
    ):
        with pytest.raises(InputError, match="the same --num-classes and --model-arg"):
            limit_shares(create_profile([layer]), limits)


def test_a_folder_without_a_profile_is_refused(tmp_path):
    with pytest.raises(RecordError, match="give the folder of a `bench profile`"):
        load_profile(tmp_path)
    profile = create_profile([create_profile_layer(0)])
    (tmp_path / "profile.json").write_text(profile.model_dump_json())
    assert load_profile(tmp_path) == profile
