"""The job of a recipe in both modes, on real OneFlow: same losses, same resumption."""

from __future__ import annotations

import numpy as np
import oneflow as flow
import pytest
from safetensors.numpy import save_file

from oneflow_bench.bench.config import Contender, Workload
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.record.checkpoint import save_weights
from oneflow_bench.bench.training.job import copy_state, create_job
from oneflow_bench.bench.training.modes import ModeSetting, create_forward, create_mode
from oneflow_bench.bench.training.optimizers import create_optimizer

pytestmark = pytest.mark.oneflow

BASE = {
    "model": "lenet",
    "data": "synthetic",
    "feed": "memory",
    "batch_size": 8,
    "val_batch_size": 8,
    "epochs": 2,
}
STEPS = 5


def create(mode, **recipe):
    workload = Workload(**{**BASE, **recipe})
    job = create_job(workload, None, STEPS, "cpu")
    return job, make_mode(job, mode)


def make_mode(job, mode, graph_options=None):
    contender = Contender(name=mode, mode=mode, graph_options=graph_options or {})
    return create_mode(job, ModeSetting(Workload(**BASE), contender, STEPS))


def train(mode, steps=STEPS, **recipe):
    job, made = create(mode, **recipe)
    made.compile_train()
    losses = [made.train_step()[0].numpy().tolist() for _ in range(steps)]
    return losses, job


@pytest.mark.parametrize(
    "recipe, tolerance",
    [
        ({"nesterov": True, "schedule": "constant"}, 1e-6),
        ({"optimizer": "adam", "lr": 1e-3}, 1e-4),
        ({"optimizer": "adamw", "lr": 1e-3, "warmup_epochs": 1}, 1e-4),
        ({"optimizer": "rmsprop", "lr": 1e-3, "schedule": "linear"}, 1e-4),
        ({"optimizer": "adagrad", "schedule": "exponential"}, 1e-4),
        ({"optimizer": "adadelta", "lr": 1.0, "schedule": "constant"}, 1e-4),
        ({"optimizer": "lamb", "lr": 1e-3}, 1e-4),
        ({"clip_norm": 0.05}, 1e-5),
        ({"accumulation_steps": 4, "clip_norm": 0.5}, 1e-5),
        ({"loss": "label_smoothing", "label_smoothing": 0.1, "schedule": "cosine"}, 1e-6),
        ({"loss": "teacher_free", "reg_alpha": 0.1, "reg_temperature": 20.0, "multiplier": 100.0},
         1e-5),
        ({"loss": "binary_cross_entropy", "schedule": "multistep", "lr_milestones": [1]}, 1e-6),
    ],
)  # fmt: skip
def test_both_modes_train_alike(recipe, tolerance):
    eager, graph = (np.array(train(mode, **recipe)[0]) for mode in ("eager", "graph"))
    parts = (recipe["accumulation_steps"],) if "accumulation_steps" in recipe else ()
    assert eager.shape == graph.shape == (STEPS, *parts)
    np.testing.assert_allclose(graph, eager, rtol=tolerance)
    assert len(np.unique(eager)) == eager.size


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_clipping_accumulation_and_decay_change_the_training(mode):
    plain = train(mode)[0]
    assert train(mode, clip_norm=0.05)[0][1:] != plain[1:]
    assert train(mode, weight_decay=0.1)[0][2:] != plain[2:]
    parts = np.array(train(mode, accumulation_steps=4)[0])
    np.testing.assert_allclose(parts.mean(axis=1), plain, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_the_teacher_is_used_and_stays_as_it_is(mode, tmp_path):
    flow.manual_seed(5)
    teacher = create_job(Workload(**{**BASE, "model": "resnet18"}), None, STEPS, "cpu").model
    save_file(copy_state(teacher), str(tmp_path / "t.safetensors"))
    recipe = {
        "loss": "distillation",
        "alpha": 0.9,
        "temperature": 4.0,
        "teacher": "resnet18",
        "teacher_checkpoint": str(tmp_path / "t.safetensors"),
    }
    losses, job = train(mode, **recipe)
    after = copy_state(job.teacher)
    before = copy_state(teacher)
    assert all(np.array_equal(after[name], before[name]) for name in before)
    assert losses != train(mode)[0]
    # the student starts from the same weights as without a teacher
    plain = copy_state(create("eager")[0].model)
    with_teacher = copy_state(create("eager", **recipe)[0].model)
    assert all(np.array_equal(plain[name], with_teacher[name]) for name in plain)


def test_a_teacher_has_the_arguments_that_its_checkpoint_was_made_with(tmp_path):
    about = {"model": "densenet_bc_cifar", "model_args": {"depth": 10, "growth": 4}}
    teacher = create_job(Workload(**{**BASE, **about}), None, STEPS, "cpu").model
    save_weights(copy_state(teacher), tmp_path / "t.safetensors", about)
    job, _ = create(
        "eager",
        loss="distillation",
        alpha=0.9,
        temperature=4.0,
        teacher="densenet_bc_cifar",
        teacher_checkpoint=str(tmp_path / "t.safetensors"),
    )
    assert list(copy_state(job.teacher)) == list(copy_state(teacher))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("first", ["eager", "graph"])
@pytest.mark.parametrize("second", ["eager", "graph"])
def test_training_goes_on_where_it_stopped_in_either_mode(first, second, optimizer, tmp_path):
    recipe = {"optimizer": optimizer, "lr": 0.001, "schedule": "cosine", "warmup_epochs": 0.4}
    whole = train(first, steps=2 * STEPS, **recipe)[0][STEPS:]
    job, mode = create(first, **recipe)
    mode.compile_train()
    for _ in range(STEPS):
        mode.train_step()
    save_file(copy_state(job.model), str(tmp_path / "w.safetensors"))
    state = mode.capture_optimizer()
    assert len(state) == (10 if optimizer == "sgd" else 20)
    again, resumed = create(second, load_checkpoint=str(tmp_path / "w.safetensors"), **recipe)
    resumed.restore_optimizer(state, STEPS)
    again.train_feed.skip(STEPS)
    resumed.compile_train()
    losses = [float(resumed.train_step()[0].numpy()) for _ in range(STEPS)]
    if first == second:
        assert losses == whole
    else:
        np.testing.assert_allclose(losses, whole, rtol=1e-5 if optimizer == "sgd" else 1e-4)


def test_a_head_of_another_size_is_dropped_only_on_request(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(copy_state(create("eager", num_classes=7)[0].model), str(path))
    with pytest.raises(InputError, match="2 misshapen, first classifier.4.weight.*--drop-head"):
        create("eager", load_checkpoint=str(path))
    job, _ = create("eager", load_checkpoint=str(path), drop_head=True)
    assert job.dropped == ["classifier.4.weight", "classifier.4.bias"]


def test_oneflow_s_own_folders_are_loaded(tmp_path):
    source = create("eager", seed=9)[0].model
    flow.save(source.state_dict(), str(tmp_path / "saved"))
    flow.save({"model": source.state_dict(), "epoch": 3}, str(tmp_path / "nested"))
    wanted = copy_state(source)
    for name in ("saved", "nested"):
        for trust in (False, True):
            job, _ = create("eager", load_checkpoint=str(tmp_path / name), trust_checkpoint=trust)
            loaded = copy_state(job.model)
            assert all(np.array_equal(loaded[key], wanted[key]) for key in wanted)


def test_graph_options_change_the_compiled_graph_and_not_the_training():
    def compile_with(options):
        workload = Workload(**{**BASE, "model": "resnet20"})
        job = create_job(workload, None, STEPS, "cpu")
        mode = make_mode(job, "graph", options)
        mode.compile_train()
        return mode.graph_ops, [mode.train_step()[0].numpy().tolist() for _ in range(3)]

    plain, fused = compile_with({}), compile_with({"allow_fuse_add_to_output": True})
    assert fused[0] < plain[0]
    assert fused[1] == plain[1]
    with pytest.raises(InputError, match="did you mean allow_fuse_add_to_output"):
        make_mode(create("eager")[0], "graph", {"fuse_add_to_output": True})
    model, images = create("eager")[0].model, flow.zeros(2, 3, 32, 32)
    assert create_forward("graph", model, images, {"enable_amp": False})[0](images).shape == (2, 10)
    with pytest.raises(InputError, match="unknown graph option 'amp'"):
        create_forward("graph", model, images, {"amp": False})


def test_an_argument_that_the_model_does_not_take_is_named():
    with pytest.raises(InputError, match="lenet cannot be made with depth=3 .*defaults are: none"):
        create("eager", model_args={"depth": 3})
    with pytest.raises(InputError, match="unexpected keyword argument 'dropout'"):
        create("eager", dropout=0.5)
    assert create("eager", dropout=0.0)[0].model is not None  # there is nothing to leave out


def test_an_sgd_without_nesterov_is_said_with_the_version(monkeypatch):
    class Old:
        def __init__(self, parameters, lr, momentum, weight_decay):
            self.momentum = momentum

    monkeypatch.setattr(flow.optim, "SGD", Old)
    model = flow.nn.Linear(2, 2)
    assert create_optimizer(Workload(**BASE), model).momentum == 0.9
    with pytest.raises(InputError, match=f"OneFlow {flow.__version__} has no such SGD"):
        create_optimizer(Workload(**BASE, nesterov=True), model)


def test_a_parameter_that_a_forward_makes_is_refused():
    job, mode = create("eager")
    mode.train_step()
    job.refuse_late_parameters()
    job.model.late = flow.nn.Linear(2, 2)
    with pytest.raises(InputError, match="forward makes the parameter late.weight"):
        job.refuse_late_parameters()
