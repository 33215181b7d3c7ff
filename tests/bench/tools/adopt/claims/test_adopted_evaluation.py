"""An evaluation loop of the usual form becomes `evaluate`; any other is named as left out."""

from __future__ import annotations

import ast

import pytest

from oneflow_bench.bench.tools.adopt.run import adopt

SCRIPT = """import numpy as np
import oneflow as flow
from oneflow import nn
model = nn.Linear(3, 2)
crit = nn.CrossEntropyLoss()
opt = flow.optim.SGD(model.parameters(), lr=0.1)
loader = [(flow.randn(4, 3), flow.tensor([0, 1, 0, 1]))]
held = [(flow.randn(4, 3), flow.tensor([1, 1, 0, 1]))]
DEFINITIONS
for epoch in range(2):
    model.train()
    for x, y in loader:
        loss = crit(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
EVALUATION
"""
INLINE = """
    right = total = 0
    model.eval()
    with flow.no_grad():
        for images, labels in held:
            images = images.to("cuda")
            scores = model(images)
            _, found = scores.max(1)
            right += (found == labels).sum().item()
            total += labels.size(0)
    print(f"accuracy {100.0 * right / total:.2f} %")
"""
FUNCTION = """
def validate(net, data, loss_fn):
    net.eval()
    error, test_loss, count = 0.0, 0.0, 0
    with flow.no_grad():
        for number, batch in enumerate(data):
            a, b = batch
            out = net(a)
            test_loss = test_loss + loss_fn(out, b).item() * len(b)
            error += float((out * out).mean())
            count += len(b)
            if number % 10 == 0:
                print(number)
    return error / len(data), test_loss / count
"""


def read(tmp_path, evaluation, definitions=""):
    text = SCRIPT.replace("DEFINITIONS", definitions).replace("EVALUATION", evaluation)
    (tmp_path / "mine.py").write_text(text)
    found = adopt(tmp_path / "mine.py", tmp_path)
    functions = {
        one.name: one for one in ast.parse(found.workload).body if isinstance(one, ast.FunctionDef)
    }
    return found, functions


def show(function):
    return [ast.unparse(one) for one in function.body[1:]]  # without its docstring


def test_sums_inside_of_the_loop_become_metrics(tmp_path):
    found, functions = read(tmp_path, INLINE)
    *lines, result = show(functions["evaluate"])
    assert lines == [
        "(x, y) = (batch['x'], batch['y'])", "scores = model(x)", "(_, found) = scores.max(1)",
    ]  # fmt: skip
    assert result == (
        "return {'accuracy': (found == y).sum().float() / y.size(0), "
        "'loss': compute_loss(model, batch)}"
    )
    assert "for (x, y) in held:" in ast.unparse(functions["read_evaluation_batches"])
    assert "evaluate=evaluate" in found.workload and "evaluate(self.model" in found.graph
    assert any("metric accuracy" in text for _, text in found.parts)
    assert not any("metrics of this evaluation" in text for _, text in found.notes)


def test_a_function_gets_the_values_of_its_call(tmp_path):
    found, functions = read(tmp_path, "    print(validate(model, held, crit))", FUNCTION)
    *lines, result = show(functions["evaluate"])
    assert lines[-1] == "out = model(x)"
    assert result == (
        "return {'error': (out * out).mean(), 'loss': crit(out, y) * len(y) / len(y)}"
    )


LOOP = """
    test_loss, right, losses = 0, 0, []
    for a, b in held:
        out = model(a)
        LINE
"""


@pytest.mark.parametrize(
    "line, after, metric",
    [
        (
            "test_loss += crit(out, b).item()",
            "    test_loss /= len(held)\n",
            "'loss': crit(out, y)",
        ),
        (
            "right += (out.argmax(1) == b).sum().item()",
            "    print(100. * right / len(held.dataset))\n",
            "'accuracy': (out.argmax(1) == y).sum().float() / y.shape[0]",
        ),
        ("losses.append(crit(out, b).item())", "    print(np.mean(losses))\n", "'loss': crit(out"),
        (
            "losses.append(float(out.mean()))",
            "    print(sum(losses) / len(losses))\n",
            "'loss': out.mean()",
        ),
    ],
)
def test_sums_and_lists_are_read_by_what_divides_them(tmp_path, line, after, metric):
    _, functions = read(tmp_path, LOOP.replace("LINE", line) + after)
    assert metric in ast.unparse(functions["evaluate"])


def test_a_comprehension_is_a_loop(tmp_path):
    text = "    errors = [(model(a) ** 2).mean().item() for a, b in held]\n"
    _, functions = read(tmp_path, text + "    print(sum(errors) / len(errors))")
    assert "'errors': (model(x) ** 2).mean()" in ast.unparse(functions["evaluate"])


@pytest.mark.parametrize(
    "old, new, reason",
    [
        ("in held", "in loader", "it goes over the training data"),
        ("in held", "in list(held)", "its data have no name from before the loops"),
        ("images, labels in", "images, labels, more in", "its batches have 3 parts"),
        ("right / total", "right", "no sum over its batches is divided"),
        ("scores.max(1)", "np.argmax(scores)", "it computes with NumPy"),
        ("scores.max(1)", "(0, epoch)", "it reads epoch, which is not known before"),
        ("scores = model", "y = scores = model", "it has another y than the training"),
        (
            "            _, found",
            "            scores[0] = 0\n            _, found",
            "line 24 changes scores",
        ),
        (
            "            _, found",
            "            if epoch:\n                scores = -scores\n            _, found",
            "line 24 changes scores in a way of its own",
        ),
        ("labels.size(0)\n", "1\n            found = labels\n", "line 27 changes found"),
    ],
)
def test_what_is_of_another_form_is_named_as_left_out(tmp_path, old, new, reason):
    found, functions = read(tmp_path, INLINE.replace(old, new))
    (told,) = [text for _, text in found.notes if "metrics of this evaluation" in text]
    assert reason in told and "write evaluate(module, batch)" in told
    assert "evaluate" not in functions


def test_a_second_evaluation_is_left_out(tmp_path):
    found, _ = read(tmp_path, INLINE + INLINE)
    (told,) = [text for _, text in found.notes if "metrics of this evaluation" in text]
    assert "that of line 21 is taken" in told


def test_random_changes_of_the_training_batches_are_not_of_the_evaluation(tmp_path):
    training = "        x = x + flow.randn(4, 3)\n        loss = crit"
    text = SCRIPT.replace("        loss = crit", training)
    (tmp_path / "mine.py").write_text(text.replace("DEFINITIONS", "").replace("EVALUATION", INLINE))
    workload = adopt(tmp_path / "mine.py", tmp_path).workload
    assert workload.count("flow.randn(4, 3)\n") == 1
