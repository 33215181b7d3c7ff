"""Each statement of a training's loops is carried over, named as left out, or refused."""

from __future__ import annotations

import ast

import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.tools.adopt.run import adopt

SCRIPT = """import oneflow as flow
from oneflow import nn
model = nn.Linear(3, 2)
crit = nn.CrossEntropyLoss()
opt = flow.optim.SGD(model.parameters(), lr=0.1)
sched = flow.optim.lr_scheduler.StepLR(opt, step_size=1)
loader = [(flow.randn(4, 3), flow.tensor([0, 1, 0, 1]))]
history, ratio = [], 0.9
for epoch in range(4):
    model.train()
    for i, (x, y) in enumerate(loader):
        opt.zero_grad()
        out = model(x)
        loss = crit(out, y)
        loss.backward()
        opt.step()
        history.append(loss.item())
    sched.step()
"""
CLAMP = """def clamp(net):
    with flow.no_grad():
        for p in net.parameters(): p.clamp_(-1, 1)
"""
IN = "        "  # the loop over batches
REFUSED = [
    (
        f"{IN}history",
        f"{IN}w = model.weight\n{IN}w.mul_(2)\n{IN}history",
        "line 18: .* model in",
    ),
    (
        "    sched.step()",
        "    sched.step()\n    loader[0][0].mul_(2)",
        "line 19: loader is",
    ),
    ("crit(out, y)", "crit(out, y) * weigh()", "line 18: ratio is carried"),
    (f"{IN}out = ", f"{IN}w = 2 * random.random()\n{IN}out = w * ", "line 13: .* the number w"),
    (
        "crit(out, y)",
        "crit(out, y) * epoch",
        "line 14: this depends on epoch of the loop",
    ),
    ("crit(out, y)", "crit(out, y) * i", "line 11: the loss reads the number i, and a graph keeps"),
    (
        f"{IN}out = ",
        f"{IN}lam = float(x)\n{IN}out = lam * ",
        "line 13: .* the number lam",
    ),
    ("model(x)", "model(x) * len(history)", "line 17: history is carried from step to step"),
    (f"{IN}out = ", f"{IN}ratio *= 2\n{IN}out = ratio * ", "line 13: ratio is carried from step"),
    ("    model.train()", "    if epoch: opt = make(model)", "line 10: .* changes opt"),
    (
        "    model.train()",
        "    if epoch: model.bias.data = 0",
        "line 10: .* changes model",
    ),
    (
        f"{IN}out = ",
        f"{IN}flow.set_grad_enabled(False)\n{IN}out = ",
        "line 13: set_grad_enabled switches gradients in the step",
    ),
    ("    model.train()", "    if epoch == 3: continue", "line 10: this continue passes over"),
    (f"{IN}out = ", f"{IN}if i > 2: break\n{IN}out = ", "line 13: this break passes over"),
    (
        f"{IN}opt.step()",
        f"{IN}model.bias.grad.mul_(0)\n{IN}opt.step()",
        "line 16: .* model in",
    ),
    (
        f"{IN}history",
        f"{IN}with flow.no_grad():\n{IN}  for p in model.parameters():\n{IN}    p.clamp_(0, 1)\n"
        f"{IN}history",
        "line 17: .* changes model",
    ),
    (f"{IN}history", f"{IN}clamp(model)\n{IN}history", "line 20: .* changes model"),
    ("for epoch", "for fold in range(3):\n for epoch", "the loops in lines 9, 10, 12 are around"),
    (f"{IN}opt.zero_grad()\n", "", "line 15: the gradients of batches add up"),
    (f"{IN}opt.zero_grad()", f"{IN}if i: opt.zero_grad()", "line 12: .* are not called alike"),
    (f"{IN}opt.step()", f"{IN}opt.zero_grad()\n{IN}opt.step()", "line 16: .* cleared before"),
    (f"{IN}opt.step()", f"{IN}opt.step()\n{IN}opt.step()", "line 17: .* is called twice"),
    (
        f"{IN}opt.step()\n{IN}history.append(loss.item())",
        "    opt.step()",
        "line 16: .* for several",
    ),
    ("    sched.step()", "    if epoch > 1: sched.step()", "line 18: .* under a condition"),
    ("    sched.step()", "    sched.step(epoch)", "line 18: .* or with arguments"),
    ("    model.train()", "    model.eval()", "line 10: the module is in eval mode"),
    ("    model.train()", "    model.bn.eval()", "line 10: .* a mode of its own"),
    ("    model.train()\n", "    pass\n", "line 18: the next batches are trained in eval mode"),
]


def read(tmp_path, text):
    (tmp_path / "mine.py").write_text(text)
    found = adopt(tmp_path / "mine.py", tmp_path)
    functions = {one.name: one for one in ast.parse(found.workload).body if hasattr(one, "name")}
    return found, {name: ast.unparse(one) for name, one in functions.items()}


@pytest.mark.parametrize("old, new, message", REFUSED)
def test_what_changes_the_training_is_refused_with_its_line(tmp_path, old, new, message):
    text = SCRIPT.replace(old, new)
    if "clamp(" in new:
        text = text.replace("for epoch", CLAMP + "for epoch", 1)
    if "weigh(" in new:
        text = text.replace("for epoch", "def weigh(): return ratio\nfor epoch")
        text = text.replace(f"{IN}history", f"{IN}ratio = i\n{IN}history")
    if "eval mode" in message:
        text = text.replace("    sched.step()", "    model.eval()\n    sched.step()")
    if "fold" in new:
        head, loop = text.split(" for epoch")
        text = f"{head} for epoch{loop}".replace("\n    ", "\n     ")
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_what_no_update_reads_is_named_with_its_lines(tmp_path):
    text = SCRIPT.replace("    model.train()", "    model.train(); ratio *= 0.5")
    found, _ = read(tmp_path, text.replace("loss.item())", "loss.item()); check(model)"))
    told = dict(found.notes)
    assert told[10].startswith("lines 10, 17 are left out")
    assert told[17].startswith("check() is left out, although it gets a part of the training")


def test_a_change_of_the_batch_and_of_the_weights_is_carried_over(tmp_path):
    text = SCRIPT.replace(f"{IN}out", f"{IN}x[x < 0] = 0\n{IN}out")
    text = text.replace("crit =", "_ = model.load_state_dict(flow.load('w'))\nclamp(model)\ncrit =")
    _, functions = read(tmp_path, text.replace("model =", CLAMP + "model ="))
    assert "x[x < 0] = 0" in functions["read_batches"]
    assert "load_state_dict" in functions["create_module"]
    assert "clamp(model)" in functions["create_module"]


def test_what_is_drawn_for_each_epoch_is_drawn_in_each_pass(tmp_path):
    text = SCRIPT.replace("    model.train()", "    rows = flow.randperm(4)").replace(
        f"{IN}out = model(x)", f"{IN}out = model(x[rows])"
    )
    with pytest.raises(InputError, match="line 10: .* draws anew in each epoch"):
        read(tmp_path, text)
    _, functions = read(tmp_path, text.replace("model(x[rows])", "model(z)").replace(
        f"{IN}out", f"{IN}z = x[rows]\n{IN}out"))  # fmt: skip
    assert "rows = flow.randperm(4)" in functions["read_batches"]
