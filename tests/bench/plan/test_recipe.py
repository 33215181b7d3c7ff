from __future__ import annotations

import json
import os

import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.plan.recipe import load_recipe
from oneflow_bench.bench.record.checkpoint import (
    TrainingState,
    save_training_state,
    save_weights,
)

PUBLISHED = {
    "model_version": "resnet18_distill",
    "teacher": "resnet18",
    "alpha": 0.95,
    "temperature": 6.0,
    "multiplier": 50.0,
    "reg_alpha": 0.1,
    "reg_temperature": 20.0,
    "learning_rate": 0.1,
    "batch_size": 128,
    "num_epochs": 200,
    "dropout_rate": 0.0,
    "num_class": 10,
    "subset_percent": 0.5,
    "augmentation": "yes",
    "num_workers": 4,
    "save_summary_steps": 100,
}
# what that code does whatever its file says
TRAINING = {
    "scale_lr": True,
    "warmup_epochs": 1,
    "schedule": "multistep",
    "lr_milestones": [60, 120, 160],
    "lr_gamma": 0.2,
    "image_size": 32,
}


def write(folder, recipe, name="recipe.json"):
    path = folder / name
    path.write_text(recipe if isinstance(recipe, str) else json.dumps(recipe))
    return path


def test_toml_and_json_of_our_own_fields(tmp_path):
    toml = write(tmp_path, 'model = "lenet"\nlr = 0.1\nlr_milestones = [1, 2]\n', "r.toml")
    expected = {"model": "lenet", "lr": 0.1, "lr_milestones": [1, 2]}
    assert load_recipe(toml) == expected
    assert load_recipe(write(tmp_path, expected)) == expected


def test_the_published_json_is_translated(tmp_path):
    assert load_recipe(write(tmp_path, PUBLISHED)) == {
        "model": "resnet18_cifar",
        "teacher": "resnet18_cifar",
        "loss": "distillation",
        "alpha": 0.95,
        "temperature": 6.0,
        "lr": 0.1,
        "batch_size": 128,
        "epochs": 200,
        "num_classes": 10,
        "subset_percent": 50.0,
        "augmentation": True,
        "optimizer": "sgd",
        **TRAINING,
    }


@pytest.mark.parametrize(
    "change, loss, note",
    [
        ({"teacher": "resnet50"}, "distillation", ""),
        ({}, "distillation", "multiplier counts with --self-training alone"),
        ({"teacher": "none"}, "cross_entropy", "reg_alpha counts with --regularization alone"),
        ({"loss": "label_smoothing"}, "label_smoothing", ""),
    ],
)
def test_the_loss_is_the_one_that_the_published_trainer_takes(tmp_path, change, loss, note):
    notes = []
    recipe = load_recipe(write(tmp_path, {**PUBLISHED, **change}), (), notes.append)
    assert recipe["loss"] == loss
    assert ("alpha" in recipe) == (loss == "distillation")
    assert "reg_alpha" not in recipe
    assert note in notes[-1]


@pytest.mark.parametrize(
    "loss, arguments",
    [
        ("teacher_free", {"reg_alpha": 0.1, "reg_temperature": 20.0, "multiplier": 50.0}),
        ("self_distillation", {"alpha": 0.95, "temperature": 6.0, "multiplier": 50.0}),
    ],
)
def test_a_flag_chooses_the_loss_of_a_published_file(tmp_path, loss, arguments):
    notes = []
    recipe = load_recipe(write(tmp_path, PUBLISHED), ["loss"], notes.append, loss)
    assert arguments.items() <= recipe.items()
    assert "counts with" not in " ".join(notes)


def test_regularization_and_label_smoothing_need_no_teacher(tmp_path):
    config = {"config": str(write(tmp_path, PUBLISHED)), "epochs": 2}
    workload = create_plan({**config, "loss": "teacher_free"}).workload
    assert (workload.reg_alpha, workload.multiplier, workload.teacher) == (0.1, 50.0, None)
    workload = create_plan({**config, "label_smoothing": 0.1}).workload
    assert (workload.loss, workload.label_smoothing, workload.alpha) == (
        "label_smoothing", 0.1, None,
    )  # fmt: skip


def test_the_plain_cnn_is_trained_with_adam_and_without_weight_decay(tmp_path):
    recipe = {**PUBLISHED, "model_version": "base_cnn", "teacher": "none"}
    found = load_recipe(write(tmp_path, recipe))
    assert (found["optimizer"], found["weight_decay"]) == ("adam", 0.0)
    given = {**recipe, "optimizer": "SGD", "weight_decay": 0.1}
    found = load_recipe(write(tmp_path, given))
    assert (found["optimizer"], found["weight_decay"]) == ("sgd", 0.1)


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("r.toml", "model = ", "is not TOML"),
        ("r.json", "{", "is not JSON"),
        ("r.json", "[1]", "holds no keys"),
        ("r.toml", "lr = 0.1", "the key 'model' is missing"),
        ("r.toml", 'model = "lenet"\nlearning_rat = 1', "the key 'learning_rat' is unknown"),
        ("r.json", json.dumps({**PUBLISHED, "temprature": 3}), "did you mean temperature"),
        ("r.json", json.dumps({"model_version": "cnn"}), "the key 'learning_rate' is missing"),
        ("r.json", json.dumps({**PUBLISHED, "alpha": "much"}), "alpha = 'much' cannot be used"),
        ("r.json", json.dumps({**PUBLISHED, "batch_size": 32.7}), "batch_size = 32.7 cannot"),
        (
            "r.json",
            json.dumps({**PUBLISHED, "model_version": "cnn", "num_channels": 64}),
            "the cnn here has 32",
        ),
        ("r.json", json.dumps({**PUBLISHED, "subset_percent": 7}), "subset_percent = 7 cannot"),
        ("r.json", json.dumps({**PUBLISHED, "batch_size": True}), "batch_size = True cannot"),
        (
            "r.toml",
            'model = "lenet"\nlr = -1',
            "lr = -1 .* it takes a number above 0$",
        ),
        ("r.json", '{"model": "lenet", "lr": 1, "lr": 2}', "the key 'lr' is there twice"),
        ("r.json", '{"model": "lenet", "epochs": Infinity}', "Infinity is no number"),
        ("r.json", '{"model": "lenet", "lr": NaN}', "NaN is no number"),
        ("r.json", '{"model": "lenet", "epochs": 1e999}', "epochs = inf cannot be used"),
        ("r.toml", 'model = "lenet"\nlr = nan', "lr = nan cannot be used"),
        ("r.json", "[" * 200_000, "nested too deeply"),
        ("r.toml", "a = " + "[" * 200_000, "nested too deeply"),
        ("r.toml", 'model = "mine:make"', "model = mine:make would run code.* --model mine:make"),
        ("r.toml", 'model = "lenet"\nloss = "mine:focal"', "--loss mine:focal if you trust"),
        ("r.toml", 'model = "lenet"\noptimizer = "mine:make"', "--optimizer mine:make if you"),
        ("r.toml", 'model = "lenet"\nteacher = "mine:make"', "--teacher mine:make if you"),
        ("r.json", json.dumps({**PUBLISHED, "model_version": "mine:make"}), "would run code"),
        ("r.toml", 'model = "lenet"\ntrust_checkpoint = true', "nothing that a file may set"),
        ("r.toml", 'model = "lenet"\nfeed = "disk"', "it takes loader, graph or memory$"),
        ("r.toml", 'model = "lenet"\nnesterov = 2', "nesterov = 2 .* takes true or false$"),
        ("r.toml", 'model = "lenet"\nepochs = true', "epochs = True .* a whole number at least 1$"),
        ("r.toml", 'model = "lenet"\nlr_milestones = 3', "takes a list of whole numbers$"),
        ("r.json", '{"model": "lenet", "seed": 1%s}' % ("0" * 5000), "has 5001 digits$"),
        ("r.json", '{"model": "%s"}' % ("x" * 100_000), "^.{,400} cannot be used.{,400}$"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_one_sentence(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message):
        load_recipe(write(tmp_path, text, name))


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot be read .No such file"):
        load_recipe(tmp_path / "absent.toml")


def test_flags_override_the_recipe(tmp_path):
    path = write(tmp_path, 'model = "lenet"\nlr = 0.1\nepochs = 2\n', "r.toml")
    plan = create_plan({"config": str(path), "epochs": 7, "lr": None})
    workload = plan.workload
    assert (workload.model, workload.lr, workload.epochs) == ("lenet", 0.1, 7)
    assert workload.num_classes == 10


def test_a_flag_for_another_loss_or_schedule_takes_the_arguments_along(tmp_path):
    config = str(write(tmp_path, {**PUBLISHED, "num_epochs": 2}))
    workload = create_plan({"config": config, "loss": "cross_entropy"}).workload
    assert (workload.loss, workload.teacher, workload.alpha) == ("cross_entropy", None, None)
    assert workload.lr_milestones == [60, 120, 160]
    flags = {"loss": "teacher_free", "reg_alpha": 0.1, "reg_temperature": 20.0}
    workload = create_plan({"config": config, **flags, "schedule": "cosine"}).workload
    assert (workload.teacher, workload.multiplier, workload.lr_milestones) == (None, 50.0, [])
    with pytest.raises(InputError, match="--alpha 0.5 has no effect"):
        create_plan({"config": config, "loss": "cross_entropy", "alpha": 0.5})


def test_a_recipe_may_say_what_it_resumes(tmp_path):
    path = write(tmp_path, 'model = "lenet"\nresume = "nowhere"\n', "r.toml")
    with pytest.raises(InputError, match="nowhere does not exist"):
        create_plan({"config": str(path)})


@pytest.mark.parametrize("field", ["lr", "temperature", "clip_norm", "warmup_epochs"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_are_finite(field, value):
    flag = "--" + field.replace("_", "-")
    with pytest.raises(InputError, match=f"{flag} (inf|nan) cannot be used"):
        create_plan({field: value})


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"loss": "distilation"}, "unknown loss 'distilation'; did you mean distillation"),
        ({"loss": "distillation", "alpha": 0.5}, "--loss distillation needs temperature"),
        ({"loss": "distillation", "alpha": 0.5, "temperature": 2}, "needs teacher"),
        ({"alpha": 0.5}, "--alpha 0.5 has no effect with --loss cross_entropy"),
        ({"teacher": "lenet"}, "--teacher lenet has no effect with --loss cross_entropy"),
        ({"nesterov": True, "momentum": 0.0}, "--nesterov needs a momentum above 0"),
        ({"model_args": {"num_classes": 5}}, "num_classes=5 cannot be used; give --num-classes"),
        ({"optimizer": "adam", "nesterov": True}, "--nesterov has no effect with --optimizer adam"),
        ({"optimizer": "adam", "momentum": 0.9}, "--momentum 0.9 has no effect with --optimizer"),
        ({"beta1": 0.5}, "--beta1 0.5 has no effect with --optimizer sgd; leave it out"),
        ({"schedule": "constant", "lr_step": 2}, "--lr-step 2 has no effect with --schedule const"),
        ({"schedule": "cosine", "lr_gamma": 0.1}, "--lr-gamma 0.1 has no effect with --schedule"),
        ({"data": "synthetic", "feed": "loader"}, "--feed loader has no effect with --data synth"),
        ({"data": "synthetic", "augmentation": False}, "--no-augmentation has no effect with --da"),
        ({"optimizer": "sdg"}, "unknown optimizer 'sdg'; did you mean sgd"),
        (
            {"optimizer": "mine:make", "momentum": 0.5},
            "--momentum 0.5 has no effect with --optimizer mine:make",
        ),
        ({"schedule": "multistep"}, "needs rising epochs"),
        ({"schedule": "multistep", "lr_milestones": [3, 2]}, "--lr-milestones 3,2 cannot be used"),
        ({"lr_milestones": [3, 4]}, "--lr-milestones 3,4 has no effect with --schedule step"),
        ({"warmup_epochs": 9}, "longer than the run of 3 epochs"),
        ({"accumulation_steps": 5}, "does not divide --batch-size 32"),
        ({"accumulation_steps": 2, "feed": "graph"}, "--feed graph reads it inside"),
        ({"subset_percent": 50.0, "data": "synthetic"}, "--subset-percent 50.0 has no effect"),
        ({"subset_percent": 1.0}, "leaves 10 images, less than a batch of 32"),
        ({"load_checkpoint": "nowhere"}, "nowhere does not exist"),
        ({"drop_head": True}, "--drop-head has no effect"),
        ({"trust_checkpoint": True}, "--trust-checkpoint has no effect"),
        ({"resume": "nowhere"}, "nowhere does not exist"),
        ({"lr": -1}, "--lr -1 cannot be used"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(flags, message):
    with pytest.raises(InputError, match=message):
        create_plan(flags)


def test_a_teacher_needs_trained_weights_and_pictures_that_are_large_enough(tmp_path):
    recipe = {"loss": "distillation", "alpha": 0.5, "temperature": 2.0, "teacher": "resnet18"}
    with pytest.raises(InputError, match="--teacher resnet18 needs teacher_checkpoint"):
        create_plan(recipe)
    save_weights({}, tmp_path / "w.safetensors", {})
    given = {**recipe, "teacher_checkpoint": str(tmp_path / "w.safetensors")}
    assert create_plan(given).workload.teacher == "resnet18"
    with pytest.raises(InputError, match="too small for the teacher alexnet"):
        create_plan({**given, "teacher": "alexnet"})
    with pytest.raises(InputError, match="--teacher: unknown model 'resnet19'"):
        create_plan({**given, "teacher": "resnet19"})


def test_a_subset_is_planned_per_class():
    plan = create_plan({"subset_percent": 50.0})
    assert 700 < plan.train_samples < 720
    assert plan.steps_per_epoch == plan.train_samples // 32


def test_code_that_a_flag_names_too_is_the_users_own_word(tmp_path):
    path = write(tmp_path, 'model = "mine:make"\nloss = "mine:focal"', "r.toml")
    assert load_recipe(path, {"model", "loss"})["model"] == "mine:make"
    plan = create_plan({"config": str(path), "model": "lenet", "loss": "label_smoothing"})
    assert plan.workload.loss == "label_smoothing"


def test_an_optimizer_of_ones_own_replaces_the_files_with_its_arguments(tmp_path):
    text = 'model = "lenet"\nmomentum = 0.5\nweight_decay = 0.1\nlr = 0.3'
    path = write(tmp_path, text, "r.toml")
    work = create_plan({"config": str(path), "optimizer": "mine:make"}).workload
    assert (work.optimizer, work.lr, work.momentum) == ("mine:make", 0.3, 0.9)


def test_a_file_may_list_what_nothing_reads_and_a_note_says_so(tmp_path):
    text = 'model = "lenet"\noptimizer = "adam"\nmomentum = 0.5\nlr_step = 9\nalpha = 0.5\nlr = 0.3'
    path = write(tmp_path, text, "r.toml")
    plan = create_plan({"config": str(path), "schedule": "constant", "data": "synthetic"})
    assert (plan.workload.momentum, plan.workload.lr_step, plan.workload.lr) == (0.9, 2, 0.3)
    (note,) = plan.notes
    assert note == "keys of the recipe without effect on this training: momentum, alpha, lr_step"
    with pytest.raises(InputError, match="--momentum 0.4 has no effect with --optimizer adam"):
        create_plan({"config": str(path), "momentum": 0.4})


def test_defaults_and_what_was_stored_may_hold_what_nothing_reads():
    flags = {"optimizer": "adam", "schedule": "constant", "data": "synthetic", "feed": "memory"}
    workload = create_plan(flags).workload
    assert create_plan(workload.model_dump(), typed=()).workload == workload


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    for name, text in (("r.json", '{"model": "lenet"}'), ("r.toml", 'model = "lenet"')):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert load_recipe(tmp_path / name) == {"model": "lenet"}


def test_a_pipe_is_no_recipe(tmp_path):
    os.mkfifo(tmp_path / "r.json")
    with pytest.raises(InputError, match="cannot be read .it is a pipe"):
        load_recipe(tmp_path / "r.json")


def test_each_published_key_has_its_meaning_or_a_note(tmp_path):
    notes = []
    published = {**PUBLISHED, "dataset": "cifar100", "batch_mean": 1, "anchor_num": 10}
    del published["num_class"]
    recipe = load_recipe(write(tmp_path, published), (), notes.append)
    assert recipe["num_classes"] == 100
    assert "dataset = cifar100 sets the number of classes, 100; --data" in notes[0]
    for key in ("batch_mean", "anchor_num", "num_workers", "dropout_rate", "reg_alpha"):
        assert key in notes[1]


@pytest.mark.parametrize(
    "version, model",
    [
        ("densenet", "densenet121_cifar"),
        ("vgg19_distill", "vgg19_bn"),
        ("cnn_distill", "cnn"),
        ("resnext101", "resnext101_8x64d"),
        ("wideresnet", "wide_resnet_cifar"),
    ],
)
def test_published_names_are_known(tmp_path, version, model):
    recipe = load_recipe(write(tmp_path, {**PUBLISHED, "model_version": version}))
    assert (recipe["model"], recipe["image_size"]) == (model, 32)
    assert ("dropout" in recipe) == (model == "cnn")


@pytest.mark.parametrize(
    "stored, given, message",
    [
        ({"model": "mine:make"}, {}, "model = mine:make would run code"),
        ({"model": "lenet", "loss": "mine:focal"}, {}, "loss = mine:focal would run code"),
        ({"model": "lenet", "optimizer": "mine:make"}, {}, "optimizer = mine:make would run code"),
        ({"model": "lenet", "teacher": "mine:make"}, {}, "teacher = mine:make would run code"),
    ],
)
def test_a_resumed_run_names_no_code(tmp_path, stored, given, message):
    with pytest.raises(InputError, match=message):
        create_plan({"resume": write_run(tmp_path, stored), **given})


def test_a_resumed_run_brings_no_trust(tmp_path):
    pickled = tmp_path / "teacher"
    pickled.mkdir()
    (pickled / "pickled_data").write_bytes(b"never read here")
    stored = {
        "model": "lenet", "loss": "distillation", "alpha": 0.5, "temperature": 2, "epochs": 3,
        "teacher": "lenet", "teacher_checkpoint": str(pickled), "trust_checkpoint": True,
    }  # fmt: skip
    run = write_run(tmp_path, stored)
    assert create_plan({"resume": run, "trust_checkpoint": True}).workload.trust_checkpoint
    with pytest.raises(InputError, match="pickled_data is damaged"):  # so it is read, not run
        create_plan({"resume": run})


def write_run(folder, workload):
    """A checkpoint whose run is said to have had `workload`."""
    weights = folder / "w.safetensors"
    save_weights({}, weights, {})
    stored = {"data": "synthetic", "feed": "memory", "steps_per_epoch": 20, **workload}
    stored["val_batch_size"] = 32
    state = TrainingState(optimizer={}, step=20, epoch=1, workload=stored, steps_per_epoch=20)
    save_training_state(state, weights)
    return str(weights)
