"""Scripts of a user's own models: each that is offered shows the difference when it is run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.parity.isolated_layer import record_layer, record_steps
from oneflow_bench.bench.parity.reproduction import ReproducedLayer, write_reproduction
from oneflow_bench.bench.parity.run import check_model
from oneflow_bench.bench.plan.check_plan import create_check_plans
from oneflow_bench.bench.training.job import create_job

pytestmark = pytest.mark.oneflow

WORKLOAD = Workload(
    model="lenet", data="synthetic", feed="memory", image_size=32, batch_size=4, val_batch_size=4,
    num_classes=10, nesterov=True, clip_norm=0.1, loss="label_smoothing",
    label_smoothing=0.1, schedule="cosine",
)  # fmt: skip


def run_script(script, *flags):
    done = subprocess.run(
        [sys.executable, str(script), *flags],
        cwd=script.anchor,
        capture_output=True,
        text=True,
        timeout=240,
    )
    return done.returncode, done.stdout + done.stderr


def test_train_steps_of_a_recipe_run_in_a_script_and_agree(tmp_path):
    """Optimizer, clipping, schedule and loss are built again from expressions."""
    call = record_steps(create_job(WORKLOAD, None, 2, "cpu"), WORKLOAD, 3)
    script = write_reproduction(tmp_path, ReproducedLayer(**vars(call), name="train-steps"))
    text = script.read_text(encoding="utf-8")
    assert "smoothed_cross_entropy(outputs, labels, label_smoothing=0.1)" in text
    assert "CosineDecayLR(optimizer" in text and "'clip_grad_max_norm': 0.1" in text
    status, output = run_script(script, "--tolerance", "1e-5")
    assert status == 0, output
    assert "loss of step 3" in output and "evaluation" in output


def test_train_steps_with_a_part_that_has_no_expression_are_refused():
    taught = WORKLOAD.model_copy(
        update={"loss": "distillation", "alpha": 0.5, "temperature": 2.0, "teacher": "lenet"}
    )
    with pytest.raises(ValueError, match="the train step has a teacher"):
        record_steps(create_job(taught, None, 2, "cpu"), taught, 2)
    warmed = WORKLOAD.model_copy(update={"warmup_epochs": 1.0})
    with pytest.raises(ValueError, match="the schedule WarmupLR"):
        record_steps(create_job(warmed, None, 2, "cpu"), warmed, 2)


def test_a_module_with_children_is_taken_out_of_its_model():
    job = create_job(WORKLOAD, None, 2, "cpu")
    call = record_layer(job, "features", True, WORKLOAD)
    assert call.constructor == "dict(create_model().named_modules())['features']"
    assert "create_model(name='lenet', num_classes=10)" in call.described["model"]
    root = Path(__file__).resolve().parents[3]
    assert (Path(call.described["folders"][0]) / root.name / "models").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize(
    "model, script",
    [
        ("scaled", "reproduce-block.0.py"),
        ("detached", "reproduce-block.0.py"),
        ("counting", "reproduce-train-steps.py"),
    ],
)
def test_a_difference_of_an_own_model_has_a_script_that_ends_with_1(
    tmp_path, monkeypatch, model, script
):
    shutil.copy(Path(__file__).with_name("own_models.py"), tmp_path)
    monkeypatch.chdir(tmp_path)
    (plan,) = create_check_plans([f"own_models:{model}"], {})
    check = check_model(plan, tmp_path, 240.0)
    assert check.verdict == "different"
    assert (check.origin.script, check.origin.script_confirms) == (script, True)
    status, output = run_script(tmp_path / script)
    assert status == 1, output
    assert "oneflow_bench" not in (tmp_path / script).read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.glob("reproduce-*")} == {script, f"{script[:-3]}.npz"}
