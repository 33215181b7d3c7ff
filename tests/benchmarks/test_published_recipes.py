from __future__ import annotations

import json
from pathlib import Path

import published_recipes
import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.plan.plan import create_plan


def test_there_are_ten_families():
    assert len(published_recipes.FAMILIES) == 10


@pytest.mark.parametrize("name", published_recipes.FAMILIES)
def test_a_family_is_trained_behind_its_teacher(name, tmp_path, monkeypatch):
    """Each file can be planned as the study gives it; the first run is the teacher's."""
    ran = []

    def run_bench(command, recipe, size, folder, *flags):
        path = tmp_path / "params.json"
        path.write_text(json.dumps(recipe))
        given = {"config": str(path), "image_size": size}
        if "--regularization" in flags:
            given["loss"] = "teacher_free"
        if "--self-training" in flags:
            given["loss"] = "self_distillation"
        if "--teacher-checkpoint" in flags:
            given["teacher_checkpoint"] = flags[-1]
            with pytest.raises(InputError, match=f"{flags[-1]} does not exist"):
                create_plan(given)
        else:
            ran.append(create_plan(given).workload.loss)
        ran.append(command)
        if command == "compare":
            raise InputError("enough")

    monkeypatch.setattr(published_recipes, "run_bench", run_bench)
    monkeypatch.setattr(published_recipes, "RUNS", Path("nowhere"))
    with pytest.raises(InputError, match="enough"):
        published_recipes.train_family(name)
    alone = ["teacher_free", "compare"]
    assert ran == (alone if name == "base" else ["cross_entropy", "eager", "compare"])


def test_the_table_says_what_failed():
    row = {
        "case": "cnn", "family": "cnn", "student": "cnn", "teacher": "resnet18_cifar",
        "loss": "distillation", "teacher_accuracy": 0.5, "accuracy": [0.25, 0.75],
        "max_loss_difference": 2e-6, "verdict": "identical",
    }  # fmt: skip
    text = published_recipes.write_table([row, {"case": "resnet50", "error": "it died"}])
    assert "| cnn | cnn | resnet18_cifar | distillation | 50.0 | 25.0 | 75.0 | 2.0e-06 |" in text
    assert "| resnet50 | failed: it died |" in text
