"""A term of the loss that reads the parameters is carried over in a form that a graph takes."""

from __future__ import annotations

import ast

import pytest

from oneflow_bench.bench.tools.adopt.run import adopt

SCRIPT = """import oneflow as flow
from oneflow import nn
model = nn.Linear(3, 2)
opt = flow.optim.SGD(model.parameters(), lr=0.1)
loader = [(flow.randn(4, 3), flow.tensor([0, 1, 0, 1]))]
def decay(net):
    return sum(p.abs().sum() for n, p in net.named_parameters() if "bias" not in n)
for x, y in loader:
    loss = nn.functional.cross_entropy(model(x), y) + 0.1 * TERM
    opt.zero_grad()
    loss.backward()
    opt.step()
"""
SQUARES = "sum((p ** 2).sum() for p in model.parameters())"


def read(tmp_path, text):
    (tmp_path / "mine.py").write_text(text)
    return adopt(tmp_path / "mine.py", tmp_path)


@pytest.mark.parametrize(
    "term, shown, line",
    [
        (SQUARES, "for p in list_parameters(model).values()", 9),
        ("decay(model)", "for (n, p) in list_parameters(net).items()", 7),
    ],
)
def test_parameters_of_the_loss_are_listed_as_tensors(tmp_path, term, shown, line):
    found = read(tmp_path, SCRIPT.replace("TERM", term))
    for text in (found.workload, found.graph):
        assert shown in ast.unparse(ast.parse(text)) and text.count("def list_parameters(") == 1
        assert "SGD(model.parameters()" in text  # of the optimizer, which takes stand-ins
    assert [number for number, text in found.notes if "stand-ins" in text] == [line]


def test_a_name_that_is_taken_gets_another(tmp_path):
    text = SCRIPT.replace("def decay", "list_parameters = 3\ndef decay").replace("TERM", SQUARES)
    assert "in list_parameters_of_step(model).values()" in read(tmp_path, text).workload


def test_nothing_is_added_where_no_parameter_is_read(tmp_path):
    assert "list_parameters" not in read(tmp_path, SCRIPT.replace("TERM", "x.sum()")).workload
