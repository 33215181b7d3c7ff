"""Ways of writing a training loop, by what they become in the workload file."""

from __future__ import annotations

import ast
import os
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.tools.adopt.run import adopt
from oneflow_bench.bench.tools.adopt.writing import name_file

HEAD = "import oneflow as flow\nfrom oneflow import nn\n"

STEP_FUNCTION = """
def train_step(model, batch, opt, crit):
    x, y = batch
    loss = crit(model(x), y)
    loss.backward()
    opt.step()
    opt.zero_grad()
def run(epochs, lr=0.1):
    net = nn.Linear(3, 2)
    opt = flow.optim.SGD(net.parameters(), lr=lr)
    data = [(flow.randn(4, 3), flow.tensor([0, 1, 0, 1]))]
    for epoch in range(epochs):
        for batch in data:
            train_step(net, batch, opt, nn.CrossEntropyLoss())
run(2)
"""
RUNNER = """
class Runner:
    lr = 0.1
    def __init__(self, net):
        self.net = net
        self.opt = flow.optim.SGD(self.net.parameters(), lr=self.lr)
    @property
    def beta(self):
        return 0.5
    def scale(self, x):
        return 3 * x
    def loop(self, n):
        for step in range(n):
            x = flow.randn(4, 8)
            self.loss = self.scale(self.net(x)).sum() * self.beta
            self.loss.backward()
            self.opt.step()
            self.opt.zero_grad()
Runner(nn.Linear(8, 2)).loop(10)
"""
GUARD = """
import argparse
def validate(model, loader):
    model.eval()
    return [model(x) for x, _ in loader]
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--evaluate", action="store_true")
    args = parser.parse_args()
    model = nn.Linear(3, 2)
    loader = [(flow.randn(4, 3), flow.tensor([0, 1, 0, 1]))]
    if args.evaluate:
        print(validate(model, loader))
        return
    opt = flow.optim.SGD(model.parameters(), lr=0.1)
    sched = flow.optim.lr_scheduler.ExponentialLR(opt, 0.9)
    for epoch in range(2):
        validate(model, loader)
        model.train()
        for x, y in loader:
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            opt.zero_grad()
        sched.step()
main()
"""
OUTER_NUMBER = """
model = nn.Linear(3, 2)
opt = flow.optim.SGD(model.parameters(), lr=0.1)
loader = [flow.randn(4, 3)]
for epoch in range(3, 9):
    loader.set_epoch(epoch)
    for x in loader:
        loss = model(x).sum()
        loss.backward()
        opt.step()
        opt.zero_grad()
"""


def read(tmp_path, text):
    (tmp_path / "mine.py").write_text(HEAD + text)
    found = adopt(tmp_path / "mine.py", tmp_path)
    functions = {one.name: one for one in ast.parse(found.workload).body if hasattr(one, "name")}
    return found, {name: ast.unparse(one) for name, one in functions.items()}


def test_a_function_of_one_step_is_followed(tmp_path):
    found, functions = read(tmp_path, STEP_FUNCTION)
    assert "def compute_loss(net, batch)" in functions["compute_loss"]
    assert "crit(net(x), y)" in functions["compute_loss"]
    assert "(x, y) = batch" in functions["read_batches"]
    assert "lr = 0.1" in functions["create_optimizer"]
    assert "crit = nn.CrossEntropyLoss()" in found.workload


def test_attributes_properties_and_methods_become_names(tmp_path):
    found, functions = read(tmp_path, RUNNER)
    assert "scale(net(x)).sum() * beta()" in functions["compute_loss"]
    assert functions["beta"].startswith("def beta():")
    assert functions["scale"].startswith("def scale(x):")
    assert "self" not in found.workload


def test_what_only_evaluates_or_returns_early_is_left_out(tmp_path):
    found, functions = read(tmp_path, GUARD)
    assert "validate" not in found.workload and "args" not in found.workload
    assert "StepLR(opt, step_size=steps_per_epoch, gamma=0.9)" in functions["create_optimizer"]


def test_data_are_made_once_and_by_the_seed_of_the_script(tmp_path):
    text = OUTER_NUMBER.replace("model = ", "flow.manual_seed(7)\nmodel = ")
    found, functions = read(tmp_path, text)
    top = [ast.unparse(one) for one in ast.parse(found.workload).body]
    assert top.index("flow.manual_seed(7)") < top.index("loader = [flow.randn(4, 3)]")
    assert "loader = " not in functions["read_batches"]
    assert "seed_generators(0)" not in found.graph.split("def main")[1]


def test_a_stream_is_begun_anew_only_if_the_script_begins_it_once(tmp_path):
    once = (
        RUNNER.replace("for step in range(n):", "for x in self.gen:")
        .replace("            x = flow.randn(4, 8)\n", "")
        .replace(
            "self.net = net\n", "self.net = net\n        self.gen = iter([flow.randn(4, 8)])\n"
        )
    )
    _, functions = read(tmp_path, once)
    assert "gen = iter([flow.randn(4, 8)])" in functions["read_batches"]
    again = OUTER_NUMBER.replace("[flow.randn(4, 3)]", "iter([flow.randn(4, 3)])")
    with pytest.raises(InputError, match="line 6: loader is used up or goes on from pass to pass"):
        read(tmp_path, again)


def test_the_epoch_of_a_sampler_is_left_out_and_told(tmp_path):
    found, _ = read(tmp_path, OUTER_NUMBER)
    assert any(line == 8 and "set_epoch" in text for line, text in found.notes)


def test_shapes_are_compared_inside_a_nest_and_a_changing_number_is_refused(tmp_path):
    _, functions = read(tmp_path, OUTER_NUMBER)
    names = {"flow": SimpleNamespace(Tensor=np.ndarray), "np": np}
    exec(functions["list_leaves"] + "\n" + functions["keep_shapes"], names)
    batches = [{"pair": [np.zeros(2), {"y": np.zeros(n)}], "kind": "a"} for n in (3, 3, 1)]
    assert list(names["keep_shapes"](batches)) == batches[:2]
    with pytest.raises(ValueError, match=r"\[0.5\] is no tensor"):
        list(names["keep_shapes"]([{"lam": 0.1}, {"lam": 0.5}]))


class Loader:
    """As much of a DataLoader as the written file asks for."""

    batch_size, sampler = 4, range(10)

    def __init__(self, module):
        self.collate_fn = SimpleNamespace(__module__=module)


@pytest.mark.parametrize(
    "source, count",
    [(Loader("oneflow.utils.data"), 2), (Loader("mine"), 3), ([1, 2], 3)],
)
def test_a_schedule_counts_the_updates_that_are_made(tmp_path, source, count):
    made = "sched = flow.optim.lr_scheduler.StepLR(opt, 2)\nloader ="
    text = OUTER_NUMBER.replace("loader =", made) + "    sched.step()\n"
    found, functions = read(tmp_path, text)
    assert "steps_per_epoch = count_steps(loader)" in functions["create_optimizer"]
    assert "2 * steps_per_epoch" in functions["create_optimizer"]
    assert any(one == 10 and "smaller last one, are left" in told for one, told in found.notes)
    drawn = []
    numpy = SimpleNamespace(random=SimpleNamespace(get_state=list, set_state=drawn.append))
    names = {"np": numpy, "random": random, "create_batches": lambda seed: iter(range(3))}
    names["flow"] = SimpleNamespace(
        utils=SimpleNamespace(data=SimpleNamespace(DataLoader=Loader)),
        get_rng_state=list, set_rng_state=drawn.append,
    )  # fmt: skip
    exec(functions["count_steps"], names)
    assert names["count_steps"](source) == count
    assert len(drawn) == 2 * (count == 3)  # the random numbers go on as if nothing was counted


def test_a_loader_that_drops_its_last_batch_needs_no_note(tmp_path):
    made = "loader = flow.utils.data.DataLoader(data, batch_size=4, drop_last=True)"
    text = OUTER_NUMBER.replace("loader = [flow.randn(4, 3)]", f"data = []\n{made}")
    assert not any("another shape" in told for _, told in read(tmp_path, text)[0].notes)


def test_a_device_that_the_module_is_moved_to_needs_no_line(tmp_path):
    moved = OUTER_NUMBER.replace("model(x)", "model(x.to(device))").replace(
        "model = ", "device = flow.device('cuda')\nmodel = "
    )
    assert "device" not in read(tmp_path, moved)[0].workload.split("def create_module")[1]


def test_a_part_of_the_batch_may_be_replaced_in_the_step(tmp_path):
    new = "        x = model(x)\n        loss = x.sum()"
    _, functions = read(tmp_path, OUTER_NUMBER.replace("        loss = model(x).sum()", new))
    assert "x = model(x)" in functions["compute_loss"]


def test_accumulated_gradients_are_told(tmp_path):
    text = OUTER_NUMBER.replace(
        "opt.step()\n        opt", "if epoch % 2:\n          opt.step()\n          opt"
    )
    found, _ = read(tmp_path, text)
    assert any("--accumulation-steps" in text for _, text in found.notes)


@pytest.mark.parametrize(
    "old, new, message",
    [
        (
            "model = nn.Linear(3, 2)\nopt = flow.optim.SGD(model.parameters(), lr=0.1)",
            "model, opt = build()",
            "line 4: model and opt are made together",
        ),
        (
            "opt = flow.optim.SGD(model.parameters(), lr=0.1)",
            "head = nn.Linear(2, 1)\n"
            "opt = flow.optim.SGD([*model.parameters(), *head.parameters()], lr=0.1)",
            "head and model are trained together",
        ),
        (
            "        loss = model(x).sum()",
            "        state = model(x + state)\n        loss = state.sum()",
            "line 10: state is carried from step to step",
        ),
        ("model = nn.Linear(3, 2)\n", "", "line .*: the module that is trained was not found"),
    ],
)
def test_what_cannot_be_taken_apart_is_refused(tmp_path, old, new, message):
    text = OUTER_NUMBER.replace(old, new).replace(
        "model(x)", "head(model(x))" * ("head" in new) or "model(x)"
    )
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(InputError, match="it is a pipe"):
        adopt(tmp_path / "pipe.py", tmp_path)


def test_a_file_is_named_so_that_python_can_import_it():
    assert str(name_file(Path("src/train-v2.1.py"), "bench")) == "train_v2_1_bench.py"
