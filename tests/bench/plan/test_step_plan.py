import pytest

from oneflow_bench.bench.config import IMAGE_FIELDS, STEP_DATA, Workload
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.plan.check_plan import create_check_flags
from oneflow_bench.bench.plan.plan import SYNTHETIC_STEPS_PER_EPOCH, create_plan

STEP = {"model": "my_file:gpt", "data": STEP_DATA}


def test_a_step_is_planned_without_its_file():
    plan = create_plan({**STEP, "optimizer": "adamw", "epochs": 2, "accumulation_steps": 4})
    assert plan.steps_per_epoch == plan.workload.steps_per_epoch == SYNTHETIC_STEPS_PER_EPOCH
    assert plan.dataset is None and plan.workload.optimizer == "adamw"


@pytest.mark.parametrize("name, value", [("batch_size", 32), ("image_size", 32), ("loss", "x:y")])
def test_flags_of_images_are_refused_even_with_their_defaults(name, value):
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} .* TrainingStep"):
        create_plan({**STEP, name: value})


def test_the_flags_of_images_are_fields():
    assert set(Workload.model_fields) >= IMAGE_FIELDS


def test_a_name_of_a_model_is_no_step():
    with pytest.raises(InputError, match="'lenet' names no TrainingStep.*package.module:object"):
        create_plan({**STEP, "model": "lenet"})


def test_a_check_of_a_step_is_short_and_leaves_the_rest_to_it():
    flags = create_check_flags("my_file:gpt", {"data": STEP_DATA})
    assert flags == {**STEP, "epochs": 3, "steps_per_epoch": 2}
