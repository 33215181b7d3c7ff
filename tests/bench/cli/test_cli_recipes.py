"""Recipes, checkpoints and resumption as a user types them; each run in real workers."""

from __future__ import annotations

import json

import pytest
from command import run_command

from oneflow_bench.bench.record.events import BlockEvent, EndEvent, SetupEvent
from oneflow_bench.bench.record.run import load_record

pytestmark = [pytest.mark.oneflow, pytest.mark.usefixtures("no_pictures")]

QUICK = ["--model", "lenet", "--steps-per-epoch", "6", "--epochs", "2", "--lr-step", "1"]


def losses_of(folder, contender=None):
    return [x for b in load_record(folder).of_kind(BlockEvent, contender) for x in b.losses]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "run"
    done = run_command("eager", *QUICK, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow  # tests/bench/training/test_job.py goes on in all pairs of modes
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_a_resumed_run_ends_as_the_one_that_was_not_interrupted(mode, tmp_path):
    recipe = [*QUICK, "--model", "cnn", "--dropout", "0", "--optimizer", "adam"]  # has batch norm
    kept = ["--keep-checkpoints", "every:1"]
    assert run_command(mode, *recipe, *kept, "--out", tmp_path / "a").returncode == 0
    [first] = (tmp_path / "a" / "checkpoints" / mode).glob("epoch-001-*[0-9].safetensors")
    done = run_command(mode, "--resume", first, "--out", tmp_path / "b")
    assert done.returncode == 0, done.stderr
    assert losses_of(tmp_path / "b") == losses_of(tmp_path / "a")[6:]
    record = load_record(tmp_path / "b")
    assert record.document.start_epoch == 1
    assert record.of_kind(SetupEvent)[0].first_step == 6
    assert {block.epoch for block in record.of_kind(BlockEvent)} == {1}


@pytest.mark.slow
def test_only_the_same_training_is_resumed(teacher):
    for change, words in (
        (["--lr", "0.5"], "--lr 0.5 is not what the resumed run had (0.02)"),
        (["--steps-per-epoch", "3"], "--steps-per-epoch 3 is not what"),
        (["--epochs", "2"], "has done 2 epochs"),
        (["--epochs", "3", "--load-checkpoint", teacher], "leave one out"),
    ):
        done = run_command("eager", "--resume", teacher, *change)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr


@pytest.mark.slow
def test_distillation_is_compared_and_the_teacher_does_not_change(teacher, tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(
        json.dumps(
            {
                "model_version": "lenet",
                "teacher": "lenet",
                "alpha": 0.9,
                "temperature": 4,
                "learning_rate": 0.02,
                "batch_size": 32,
                "num_epochs": 1,
            }
        )
    )
    done = run_command(
        "compare", "--config", recipe, "--teacher-checkpoint", teacher, "--steps-per-epoch", "6",
        "--no-speed", "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = load_record(tmp_path / "run")
    digests = {e.teacher_digest for e in record.events if isinstance(e, (SetupEvent, EndEvent))}
    assert len(digests) == 1
    assert record.document.workload.loss == "distillation"
    assert losses_of(tmp_path / "run", "eager") == pytest.approx(
        losses_of(tmp_path / "run", "graph"), rel=1e-5
    )


@pytest.mark.slow
def test_a_subset_is_trained_on_and_does_not_stay(tmp_path):
    done = run_command(
        "eager", "--model", "lenet", "--epochs", "1", "--subset-percent", "20", "--out",
        tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = load_record(tmp_path / "run")
    assert 270 < record.document.train_samples < 290
    assert len(losses_of(tmp_path / "run")) == record.document.steps_per_epoch == 8
    assert not (tmp_path / "run" / "data").exists()


@pytest.mark.slow
def test_accumulation_gives_the_same_losses_in_both_modes(tmp_path):
    brief = ["--accumulation-steps", "4", "--no-speed"]
    done = run_command("compare", *QUICK, *brief, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert losses_of(tmp_path / "run", "eager") == pytest.approx(
        losses_of(tmp_path / "run", "graph"), rel=1e-6
    )


@pytest.mark.slow
def test_a_loss_of_ones_own_is_found_in_the_current_folder(tmp_path):
    (tmp_path / "own.py").write_text(
        "from oneflow.nn import functional\n"
        "def loss(logits, labels): return 2 * functional.cross_entropy(logits, labels)\n"
    )
    done = run_command("graph", *QUICK, "--loss", "own:loss", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert losses_of(tmp_path / "run")[0] > 4
    done = run_command("graph", *QUICK, "--loss", "own:absent", "--out", "bad", cwd=tmp_path)
    assert done.returncode == 2
    assert "has no function or class 'absent'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--model-arg", "depth"], "depth is not KEY=VALUE"),
        (["--model-arg", "depth=3"], "cannot be made with depth=3"),
        (["--model", "densenet_bc_cifar", "--model-arg", "depth=41"], "which 41 is not; try 40"),
        (["--lr-milestones", "1,x"], "in the list '1,x', 'x' is not a whole number"),
        (["--config", "absent.toml"], "absent.toml cannot be read"),
        (["--dropout", "1.5"], "--dropout"),
    ],
)
def test_bad_flags_are_one_sentence(tmp_path, arguments, words):
    done = run_command("eager", "--model", "lenet", *arguments, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert not (tmp_path / "run").exists()
    assert words in done.stderr
    assert "Traceback" not in done.stderr
