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


EVALUATE = """
def evaluate(net):
    net.eval()
    return crit(net(loader[0][0]), loader[0][1])
"""
FREEZE = """
def freeze(part):
    if isinstance(part, nn.BatchNorm2d):
        part.eval()
"""
MODES = [
    (f"{EVALUATE}print(evaluate(model))", "line 12: the module is in eval mode here"),
    ("model.training = False", "line 8: `model.training` gives the module or a part"),
    ("vars(model)['training'] = False", "line 8: .* a mode of its own"),
    ("setattr(model, 'training', False)", "line 8: .* a mode of its own"),
    ("for part in model.modules():\n    part.eval()", "line 9: `part.eval..` gives"),
    (f"{FREEZE}model.apply(freeze)", "line 12: `model.apply.freeze.` gives"),
    ("model = build()", "line 8: the module is in eval mode here"),
    ("model = nn.Linear(3, 2).eval()", "line 8: the module is in eval mode here"),
]


@pytest.mark.parametrize("before, message", MODES)
def test_a_mode_that_is_set_before_the_loops_is_refused_unless_they_undo_it(
    tmp_path, before, message
):
    build = "def build():\n    net = nn.Linear(3, 2)\n    net.eval()\n    return net\n"
    text = SCRIPT.replace("history, ratio", f"{before}\nhistory, ratio")
    if "build()" in before:
        text = text.replace("model = nn.Linear(3, 2)\n", build, 1)
        message = message.replace("line 8", "line 11")
    read(tmp_path, text)  # model.train() follows
    with pytest.raises(InputError, match=message):
        read(tmp_path, text.replace("    model.train()\n", ""))


@pytest.mark.parametrize(
    "before",
    [
        "if ratio > 2:\n    print(evaluate(model))\n    raise SystemExit",
        "teacher = nn.Linear(3, 2)\nteacher.eval()",
        "print(evaluate(nn.Linear(3, 2)))",
        "model.eval()\nmodel.train()",
    ],
)
def test_a_mode_of_something_else_does_not_matter(tmp_path, before):
    text = SCRIPT.replace("    model.train()\n", "").replace("for epoch", f"{before}\nfor epoch", 1)
    read(tmp_path, text.replace("crit =", f"{EVALUATE}crit =", 1))


OWN = """from parts import DataLoader, imported
class Own({base}):
    alpha = 1
    def set_epoch(self, epoch):
        self.alpha = epoch
"""
EPOCHS = [
    ("", "model = Own()", "    model.set_epoch(epoch)", "changes model"),
    ("", "crit = Own()", "    crit.set_epoch(epoch)", "depends on epoch"),
    ("", "loader = Own()", "    loader.set_epoch(epoch)", "depends on epoch"),
    ("", "loader = DataLoader(Own())", "    loader.dataset.set_epoch(epoch)", "depends on epoch"),
    ("", "model = imported()", "    model.set_epoch(epoch)", "changes model"),
    (
        "flow.utils.data.Sampler",
        "loader = DataLoader(sampler=Own())",
        "    loader.sampler.set_epoch(epoch)",
        None,
    ),
    ("", "loader = imported()", "    if ratio: loader.set_epoch(epoch)", None),
]


@pytest.mark.parametrize("base, made, line, message", EPOCHS)
def test_only_the_epoch_of_a_sampler_or_loader_is_left_out(tmp_path, base, made, line, message):
    name = made.split()[0]
    text = "\n".join(made if one.startswith(f"{name} = ") else one for one in SCRIPT.split("\n"))
    text = text.replace(
        "from oneflow import nn\n", f"from oneflow import nn\n{OWN.format(base=base)}"
    )
    text = text.replace("    model.train()", f"    model.train()\n{line}")
    if message is None:
        found, _ = read(tmp_path, text)
        assert any("set_epoch is left out" in told for _, told in found.notes)
    else:
        with pytest.raises(InputError, match=message):
            read(tmp_path, text)


def test_a_rate_is_named_only_where_the_loops_set_it(tmp_path):
    def tell(text):
        return [line for line, told in read(tmp_path, text)[0].notes if "param_groups" in told]

    decay = "opt.param_groups[0]['weight_decay'] = 0.1"
    text = SCRIPT.replace("sched =", f"{decay}; opt.param_groups[0]['lr'] = 0.2\nsched =")
    assert not tell(text) and decay in read(tmp_path, text)[1]["create_optimizer"]
    assert not tell(SCRIPT.replace("loss.item()", "opt.param_groups[0]['lr']"))
    rate = "def rate(o):\n    for g in o.param_groups: g['lr'] = 0.1\n"
    called = SCRIPT.replace("for epoch", f"{rate}for epoch").replace(
        "    model.train()", "    model.train(); rate(opt)"
    )
    assert tell(called) == [10]
    assert not any(line == 12 for line, _ in read(tmp_path, called)[0].notes)


def test_an_optimizer_that_steps_under_a_condition_has_one_note(tmp_path):
    text = SCRIPT.replace("opt.zero_grad()\n", "pass\n").replace(
        "opt.step()", "if i % 2: opt.step(); opt.zero_grad()"
    )
    found, _ = read(tmp_path, text)
    (told,) = [text for line, text in found.notes if line == 16]
    assert "--accumulation-steps" in told


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
