"""`bench compare --continue` on made-up runs: no worker, and a clock that moves when told."""

from __future__ import annotations

import json
import shlex

import pytest
from command import run_command
from speed_world import World

from oneflow_bench.bench.cli import run
from oneflow_bench.bench.cli.continuing import plan_again
from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.record.events import SetupEvent, SpeedBlockEvent
from oneflow_bench.bench.record.machine import describe_machine
from oneflow_bench.bench.record.run import load_record
from oneflow_bench.bench.worker.environment import RuntimeResolver

NAMES = ("base", "other")
OPEN = {"names": NAMES, "factors": {"contender": 1.03}, "spread": 0.03, "budget_s": 3}


@pytest.fixture
def create_run(tmp_path, monkeypatch):
    """Make a stored run in `tmp_path`/RUN; `machine` replaces what its record says of this one."""
    monkeypatch.setattr(RuntimeResolver, "find_kernel", lambda *given: None)

    def create(name="first", machine=None, document=None, **fields):
        world = World(tmp_path / name, **{**OPEN, **fields})
        plan = create_plan({"model": "lenet", "data": "synthetic"})
        kernels = dict.fromkeys(NAMES)
        described = {**describe_machine(), "data_checksum": None, "blas_kernel": kernels}
        stored = world.writer.document
        stored.environment_start = {**described, **(machine or {})}
        stored.workload, stored.steps_per_epoch = plan.workload, plan.steps_per_epoch
        stored.train_samples, stored.val_samples = plan.train_samples, plan.val_samples
        for key, value in (document or {}).items():
            setattr(stored, key, value)
        for name in NAMES:
            world.writer.append(
                SetupEvent(
                    contender=name,
                    import_s=1.0,
                    build_s=0.3,
                    initial_digest="d" * 64,
                    num_params=10,
                    compile_train_s=0.0,
                    compile_eval_s=0.0,
                )
            )
        world.run()
        return world.folder

    return create


@pytest.fixture
def fake_workers(tmp_path, monkeypatch):
    """Fresh processes of a continuation are those of a made-up machine."""
    world = World(tmp_path / "unused", seed=7, **OPEN)
    world.writer.close()
    monkeypatch.setattr(run, "create_launcher", lambda folder, environments: world.launch)
    monkeypatch.setattr(run, "write_report", lambda *given: None)  # and its pictures


@pytest.mark.parametrize(
    "flags",
    [
        {"model": "lenet"},
        {"model": "lenet", "data": "synthetic", "num_classes": 7},
        {"model": "resnet18", "data": "synthetic", "image_size": 32},  # the field's own default
        {"model": "alexnet_cifar", "subset_percent": 50, "scale_lr": True},
        {"model": "lenet", "schedule": "multistep", "lr_milestones": [1], "val_batch_size": 60},
        {"model": "my_file:step", "data": "training-step", "steps_per_epoch": 5},
        {"model": "lenet", "loss": "teacher_free", "reg_alpha": 0.5, "reg_temperature": 20.0},
    ],
)
def test_a_stored_workload_is_planned_as_it_was(flags):
    plan = create_plan(flags)
    again = plan_again(plan.workload)
    assert again.workload == plan.workload and again.steps_per_epoch == plan.steps_per_epoch


def refuse(*arguments):
    done = run_command("compare", *arguments)
    assert done.returncode == 2 and not done.stdout and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "made, given, said",
    [
        ({"machine": {"memory_bytes": 2**34}}, [], "memory was 16 GiB and is "),
        ({"machine": {"cpu": {"model": "Old", "cores": 1}}}, [], "processor was Old and is "),
        ({"machine": {"git_commit": "abc"}}, [], "commit of the suite was abc and is "),
        ({"machine": {"nodes": []}}, [], "was measured on a cluster"),
        ({"factors": {"contender": 2.0}, "budget_s": 15}, [], "has its verdict (other is slower)"),
        ({"names": ("base",)}, [], "one contender and no comparison"),
        ({}, ["--replicates", "1"], "--replicates is 1; give more"),
        ({}, ["--lr", "1"], "--lr was given, and --continue keeps what"),
        ({}, ["--margin", "5%"], "--margin was given"),
        ({}, ["--gate", "5%"], "--gate was given"),
        ({}, ["RUN"], "RUN was given beside --continue"),
        ({}, ["my:step"], "--model was lenet and my:step was given"),
    ],
)
def test_what_cannot_be_continued_is_refused_in_a_sentence(create_run, tmp_path, made, given, said):
    folder = create_run(**made)
    out = tmp_path / "out"
    assert said in refuse("--continue", folder, "--out", out, *given)
    assert not out.exists()


def test_a_record_preloads_no_library_that_the_user_does_not_name(
    create_run, fake_workers, tmp_path
):
    library = tmp_path / "evil.so"
    library.touch()

    def store(name, **fields):
        made = [Contender(name=NAMES[0], mode="eager")]
        made.append(Contender(name=NAMES[1], mode="eager", **fields))
        return create_run(name, document={"contenders": made})

    preloading = store("a", blas=str(library))
    assert f"give --blas {library} if you trust it" in refuse("--continue", preloading)
    assert "no code; run bench compare anew" in refuse(
        "--continue", store("b", env={"LD_PRELOAD": str(library)})
    )
    unused = refuse("--continue", store("c"), "--blas", library)
    assert "no contender of" in unused and "leave it out" in unused
    done = run_command(
        "compare", "--continue", preloading, "--blas", library, "--out", tmp_path / "o"
    )
    assert done.returncode in (0, 3), done.stderr


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"model": "mine:step", "data": "training-step"}, ["mine:step", "--continue", "RUN"]),
        ({"model": "mine:net"}, ["--continue", "RUN", "--model", "mine:net"]),
        ({"loss": "mine:loss"}, ["--continue", "RUN", "--loss", "mine:loss"]),
        ({"optimizer": "mine:sgd"}, ["--continue", "RUN", "--optimizer", "mine:sgd"]),
    ],
)
def test_a_record_runs_no_code_that_the_command_line_does_not_name(
    create_run, fake_workers, tmp_path, fields, words
):
    plan = create_plan({"model": "lenet", "data": "synthetic", "steps_per_epoch": 4, **fields})
    sizes = {name: getattr(plan, name) for name in ("train_samples", "val_samples")}
    stored = {"workload": plan.workload, "steps_per_epoch": 4, **sizes}
    folder = create_run(document=stored)
    words = [str(folder) if word == "RUN" else word for word in words]
    said = refuse("--continue", folder)
    assert f"if you trust it, give {shlex.join(['bench', 'compare', *words])}" in said
    done = run_command("compare", *words, "--out", tmp_path / "o")
    assert done.returncode in (0, 3), done.stderr


@pytest.mark.parametrize(
    "fields", [{"python": "/nowhere/evil"}, {"env": {"PYTHONPATH": "/nowhere/evil"}}], ids=str
)
def test_a_record_chooses_no_interpreter_and_no_path(create_run, fields):
    contenders = [Contender(name=name, mode="eager", **fields) for name in NAMES]
    said = refuse("--continue", create_run(document={"contenders": contenders}))
    assert "/nowhere/evil, and a file loads no code; run bench compare anew" in said


def test_other_code_does_not_matter_and_what_parity_found_comes_along(
    create_run, fake_workers, tmp_path
):
    folder = create_run(machine={"project": {"branch": "old", "commit": "abc"}})
    (folder / "parity" / "other").mkdir(parents=True)
    (folder / "parity" / "other" / "script.py").write_text("pass")
    done = run_command("compare", "--continue", folder, "--out", tmp_path / "b")
    assert done.returncode == 0 and "This run continues test." in done.stdout, done.stderr
    assert (tmp_path / "b" / "parity" / "other" / "script.py").read_text() == "pass"


@pytest.mark.parametrize("name", ["latest", "compare-f"])
def test_a_run_is_continued_by_its_name_in_a_new_folder(create_run, fake_workers, tmp_path, name):
    folder = create_run("results/compare-first")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    flags = ["--budget", "20", "--json", "--out", "again"]
    done = run_command("compare", "--continue", name, *flags, cwd=tmp_path)
    found = json.loads(done.stdout)
    assert found["continues"] == "test" and done.returncode == 0, done.stderr
    record = load_record(tmp_path / "again")
    assert record.document.status == "complete" and record.document.measuring.budget_s == 20
    replicates = {b.replicate for b in record.of_kind(SpeedBlockEvent) if b.kind == "scored"}
    assert found["speed"]["judgement"]["replicates"] == len(replicates) > 3
    assert before == {path: path.read_bytes() for path in folder.iterdir()}
