"""`bench adopt` on scripts of six styles, and on scripts that it cannot read."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from oneflow_bench.bench.cli.adopt import adopt as command
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.tools.adopt.run import adopt

SCRIPTS = Path(__file__).parent / "scripts"
ARGUMENTS = {"parsed": ["--hidden", "512"]}
# style: module, batch, optimizer, scheduler, names imported from the script, has evaluation batches
STYLES = {
    "flat": ("model", ["inputs", "targets"], "Adam", None, [], False),
    "parsed": ("model", ["points", "labels"], "SGD", "StepLR", ["Net", "Spirals"], True),
    "trainer": ("model", ["ids", "labels"], "AdamW", "CosineDecayLR", ["Config", "Tagger"], False),
    "functions": ("net", ["user", "film", "stars"], "RMSprop", None, [], True),
    "regularised": ("model", ["inputs", "target"], "SGD", None, [], True),
    "images": (
        *("model", ["images", "target"], "SGD", "MultiStepLR"),
        *(["CLASSES", "Pictures", "small_net"], False),
    ),
}


@lru_cache
def read(name):
    return adopt(SCRIPTS / f"{name}.py", SCRIPTS, ARGUMENTS.get(name, []))


def read_text(tmp_path, text):
    (tmp_path / "mine.py").write_text(text)
    return adopt(tmp_path / "mine.py", tmp_path)


def list_calls(tree):
    """The last name of everything that is called."""
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [
        one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "") for one in called
    ]


def find_function(text, name):
    """The function of the written file that stands for `name`, whose own name may be taken."""
    found = {one.name: one for one in ast.parse(text).body if isinstance(one, ast.FunctionDef)}
    return found.get(f"{name}_of_step", found.get(name))


def find_strings(node):
    return [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]


@pytest.mark.parametrize("name", STYLES)
def test_the_parts_of_a_style_are_found(name):
    module, batch, optimizer, scheduler, imported, evaluates = STYLES[name]
    found = read(name)
    tree = ast.parse(found.workload)
    assert [one.arg for one in find_function(found.workload, "compute_loss").args.args] == [
        module, "batch",
    ]  # fmt: skip
    batches = find_function(found.workload, "read_batches")
    (given,) = [one.value for one in ast.walk(batches) if isinstance(one, ast.Yield)]
    assert [one.value for one in given.keys] == batch
    calls = list_calls(find_function(found.workload, "create_optimizer"))
    assert optimizer in calls and (scheduler is None or scheduler in calls)
    assert "backward" not in list_calls(tree)
    own = [one for one in tree.body if isinstance(one, ast.ImportFrom) and one.module == name]
    assert [each.name for one in own for each in one.names] == imported
    (step,) = [one for one in tree.body if isinstance(one, ast.Assign)][-1:]
    words = [one.arg for one in step.value.keywords]
    assert step.targets[0].id == found.step and ("create_evaluation_batches" in words) == evaluates


@pytest.mark.parametrize("name", STYLES)
def test_the_graph_script_needs_oneflow_alone(name):
    graph = read(name).graph
    assert "oneflow_bench" not in graph
    kinds = [one for one in ast.parse(graph).body if isinstance(one, ast.ClassDef)]
    train = next(one for one in kinds if one.name == "TrainGraph")
    assert "add_optimizer" in list_calls(train) and "backward" in list_calls(train)
    build = next(one for one in train.body if getattr(one, "name", "") == "build")
    assert [one.arg for one in build.args.args] == ["self", *STYLES[name][1]]


def test_nothing_of_a_device_or_of_worker_processes_is_left():
    for name in STYLES:
        words = read(name).workload.split("def create_module")[1]
        assert ".to(" not in words and "cuda" not in words and "num_workers" not in words


def test_clipping_becomes_a_parameter_group():
    optimizer = find_function(read("images").workload, "create_optimizer")
    assert "clip_grad_norm_" not in list_calls(optimizer)
    assert "clip_grad_max_norm" in find_strings(optimizer)
    assert "args.clip" in ast.unparse(optimizer)


@pytest.mark.parametrize(
    "name, words",
    [
        ("parsed", "step_size=steps_per_epoch"),
        ("images", "[steps_per_epoch * milestone for milestone in [1, 2]]"),
    ],
)
def test_a_schedule_by_epochs_counts_updates(name, words):
    assert words in ast.unparse(find_function(read(name).workload, "create_optimizer"))


def test_a_schedule_by_updates_stays():
    text = ast.unparse(find_function(read("trainer").workload, "create_optimizer"))
    assert "decay_steps=16" in text and "steps_per_epoch" not in text


def test_each_part_and_change_has_its_line():
    found = read("images")
    lines = (SCRIPTS / "images.py").read_text().splitlines()
    for number, text in found.parts:
        kind, _, name = text.partition(": ")
        if kind in ("module", "optimizer", "scheduler"):
            assert lines[number - 1].strip().startswith(f"{name} = ")
    changed = {lines[number - 1].strip(): text for number, text in found.notes}
    assert "write create_evaluation_batches()" in changed["for images, target in data:"]
    clip = "nn.utils.clip_grad_norm_(model.parameters(), max_norm=args.clip)"
    assert "does nothing in a graph" in changed[clip]
    assert "left out" in changed["if args.resume:"]


HEAD = """import oneflow as flow
from oneflow import nn
model = nn.Linear(2, 2)
opt = flow.optim.SGD(model.parameters(), lr=0.1)
data = [flow.randn(4, 2)]
"""
LOOP = (
    "for x in data:\n    loss = model(x).sum()\n    loss.backward()\n    opt.step()\n"
    "    opt.zero_grad()\n"
)


@pytest.mark.parametrize(
    "text, message",
    [
        ("x = (\n", "mine.py, line 1: this is no Python 3"),
        ("print(1)\n", "no loss.backward() was found"),
        (HEAD + LOOP + LOOP, "backward passes were found in lines 8, 13"),
        (HEAD + "def train():\n    model(data[0]).sum().backward()\n", "line 7: .* by no call"),
        (HEAD + "model(data[0]).sum().backward()\nopt.step()\n", "line 6: .* in no loop"),
        (HEAD + LOOP.replace("model(x)", "model(data[0])"), "line 8: the loss reads nothing"),
        (
            HEAD + LOOP.replace("opt.step()", "opt.step(); other.step()")
            .replace("for x", "other = flow.optim.SGD(model.parameters(), lr=1)\nfor x"),
            "opt and other are stepped",
        ),
        (HEAD + LOOP.replace("model(x)", "(model(x) * scale)"), "line 7: the value of scale"),
        ("from oneflow import *\n", "line 1: `from oneflow import *` hides"),
        ("import torch\n", "this is a PyTorch script"),
        ("from .engine import train\ntrain()\n", "imports are not followed (.engine)"),
        (HEAD + LOOP.replace("loss.b", "flow.autograd.b"), "line 8: `flow.autograd.backward` is"),
        (HEAD + "flow.amp.GradScaler()\n" + LOOP, "line 9: a GradScaler changes the update"),
        (HEAD + "def train():\n    for x in data:\n        model(x).sum().backward()\n"
         "        opt.step()\ntrain()\ntrain()\n", "line 11: this trains again .* in line 8"),
        (HEAD + "while True:\n    model(data[0]).sum().backward()\n", "line 6: this is no plain"),
        (HEAD + "def build():\n  def go():\n    model(data[0]).sum().backward()\n",
         "line 8: this backward pass is in the function go inside build"),
        (HEAD + LOOP.replace("    loss.b", "    if x.any():\n        loss.b"),
         "line 8: this step is made under a condition"),
        (
            HEAD + LOOP.replace("for x", "norm = model.weight.sum()\nfor x")
            .replace("model(x)", "(model(x) + norm)"),
            "line 6: norm is made of the module",
        ),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_said_with_its_line(tmp_path, text, message):
    with pytest.raises(InputError, match=re.sub(r"([()]|(?<=t )\*)", r"\\\1", message)):
        read_text(tmp_path, text)


@pytest.mark.parametrize(
    "added, note",
    [
        (
            "sched = flow.optim.lr_scheduler.LambdaLR(opt, lambda step: 1)\n|sched.step()",
            "line 6 the scheduler LambdaLR is left out",
        ),
        ("|opt.param_groups[0]['lr'] = 0.1", "line 11 a graph does not see a rate"),
        (
            "|flow.nn.utils.clip_grad_value_(model.parameters(), 1.0)",
            "line 11 clip_grad_value_ does nothing in a graph and is left out",
        ),
    ],
)
def test_what_no_graph_can_run_is_said_with_a_remedy(tmp_path, added, note):
    before, _, inside = added.partition("|")
    found = read_text(tmp_path, f"{HEAD}{before}{LOOP}    {inside}\n")
    told = [f"line {number} {text}" for number, text in found.notes]
    assert any(one.startswith(note) and "create_optimizer" in one for one in told), told


@pytest.mark.parametrize(
    "given, message", [("é".encode("latin-1"), "no text in UTF-8"), (None, "is a folder")]
)
def test_a_file_that_is_no_text_is_refused(tmp_path, given, message):
    path = tmp_path / "mine.py"
    path.mkdir() if given is None else path.write_bytes(given)
    with pytest.raises(InputError, match=message):
        adopt(path, tmp_path)


def test_arguments_that_are_read_directly_are_carried_over(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import sys\n" + HEAD.replace("lr=0.1", "lr=float(sys.argv[1])") + LOOP
    )
    found = adopt(tmp_path / "mine.py", tmp_path, ["0.5"])
    assert "float(['mine.py', '0.5'][1])" in found.workload
    assert any("sys.argv is taken as" in text for _, text in found.notes)


def test_a_missing_argument_of_the_script_is_named():
    with pytest.raises(InputError, match="line 42: the script requires --hidden; .* -- --hidden"):
        adopt(SCRIPTS / "parsed.py", SCRIPTS)


def run(folder, name, *words):
    shutil.copy(SCRIPTS / f"{name}.py", folder)
    given = ["--", *ARGUMENTS.get(name, [])]
    return CliRunner().invoke(command, [str(folder / f"{name}.py"), *words, *given])


def test_both_files_are_written_and_never_overwritten(tmp_path):
    done = run(tmp_path, "parsed", "--json")
    told = json.loads(done.stdout)
    assert told["step"] == "parsed_bench:step"
    assert {"module: model", "optimizer: optimizer"} <= {one["text"] for one in told["found"]}
    assert (tmp_path / "parsed_bench.py").read_text() == read("parsed").workload
    assert (tmp_path / "parsed_graph.py").is_file()
    assert "parsed_bench.py exists; move it away" in str(run(tmp_path, "parsed").exception)


def test_another_folder_imports_from_that_of_the_script(tmp_path):
    (tmp_path / "out").mkdir()
    done = run(tmp_path, "trainer", "--out", str(tmp_path / "out"))
    assert done.exception is None and "line 75    module: model" in done.output
    assert "parent / '..'" in (tmp_path / "out" / "trainer_bench.py").read_text()


@pytest.mark.parametrize(
    "words, message",
    [
        (["--budget", "3"], "--budget limits the measuring of --run"),
        (["--json", "--run"], "leave one out"),
        (["--out", "nowhere"], "--out nowhere is no folder"),
    ],
)
def test_flags_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, words, message):
    assert message in str(run(tmp_path, "flat", *words).exception)
    assert [one.name for one in tmp_path.iterdir()] == ["flat.py"]


EAGER = """
import importlib, inspect, sys
parts = vars(importlib.import_module(sys.argv[1]))
compute_loss = parts.get("compute_loss_of_step", parts["compute_loss"])
if "seed_generators(0)" in inspect.getsource(parts["main"]):
    parts["seed_generators"](0)
model = parts["create_module"]()
optimizer, scheduler = parts["create_optimizer"](model)
losses = []
for batch in parts["create_batches"](0):
    optimizer.zero_grad()
    loss = compute_loss(model, batch)
    loss.backward()
    if "clip_grad_max_norm" in optimizer.param_groups[0]._options:
        optimizer.clip_grad()
    optimizer.step()
    if scheduler is not None:
        scheduler.step()
    losses.append(loss.numpy().item())
print(sum(losses) / len(losses))
"""  # one epoch of the parts of a graph script


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", STYLES)
def test_the_files_of_a_style_train_alike_in_both_modes(name, tmp_path):
    done = run(tmp_path, name)
    assert done.exception is None, done.output
    python = [sys.executable]
    options = {"cwd": tmp_path, "capture_output": True, "text": True}
    graph = subprocess.run([*python, f"{name}_graph.py"], **options)
    assert graph.returncode == 0, graph.stderr
    mean = float(re.search("epoch 0: loss (.*)", graph.stdout).group(1))
    eager = subprocess.run([*python, "-c", EAGER, f"{name}_graph"], **options)
    assert eager.returncode == 0 and mean == pytest.approx(float(eager.stdout), rel=1e-4)
    check = [*python, "-m", "oneflow_bench", "check", f"{name}_bench:step", "--out", "run"]
    checked = subprocess.run(check, **options)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.timeout(600)
def test_the_graph_script_evaluates_as_the_script_does(tmp_path):
    done = run(tmp_path, "regularised")
    assert done.exception is None, done.output
    told = []
    for name in ("regularised", "regularised_graph"):
        command = [sys.executable, f"{name}.py"]
        told.append(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout)
    expected = re.findall(r"\((.*), (.*)\)", told[0])
    found = zip(*(re.findall(f"evaluation {one} (.*)", told[1]) for one in ("accuracy", "loss")))
    for (percent, loss), (share, other) in zip(expected, found):
        assert float(share) == pytest.approx(float(percent) / 100, abs=1e-6)
        assert float(other) == pytest.approx(float(loss), abs=1e-5)
    assert len(expected) == 3


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.timeout(600)
def test_a_script_is_checked_and_compared_in_one_command(tmp_path):
    shutil.copy(SCRIPTS / "flat.py", tmp_path)
    words = ["-m", "oneflow_bench", "adopt", "flat.py", "--run", "--budget", "8"]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "parity" in done.stdout.lower() and "speed" in done.stdout.lower()
