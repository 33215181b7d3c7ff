import pytest

from oneflow_bench import TrainingStep


def test_a_wrong_argument_is_told_with_the_line_that_gives_it():
    with pytest.raises(TypeError) as told:
        TrainingStep(create_module=dict, create_batches=list, loss=0.5)
    assert f"{__file__}:8" in str(told.value)
    assert "loss=0.5" in str(told.value) and "a function is expected" in str(told.value)
    with pytest.raises(TypeError, match="evaluate='accuracy'"):
        TrainingStep(dict, list, max, evaluate="accuracy")


def test_a_step_knows_its_line():
    step = TrainingStep(create_module=dict, create_batches=list, loss=max)
    assert step.place == f"{__file__}:16"
