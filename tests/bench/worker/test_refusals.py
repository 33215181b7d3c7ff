"""Why a mode cannot run a model, with the line of the user's."""

from __future__ import annotations

import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.worker import protocol
from oneflow_bench.bench.worker.messages import Request
from oneflow_bench.bench.worker.protocol import explain_refusal
from oneflow_bench.bench.worker.session import Session


def test_a_refusal_has_the_users_line():
    try:
        raise RuntimeError("\x1b[1mError\x1b[0m: no kernel")
    except RuntimeError as error:
        said = explain_refusal(error, "graph")
    assert said.startswith(f"forward cannot be compiled at {__file__}:")
    assert "`raise RuntimeError" in said and said.endswith("(RuntimeError: no kernel)")
    assert explain_refusal(RuntimeError("x"), "graph") is None


def clip_grad_norm_():
    raise AttributeError("'ProxyTensor' object has no attribute 'grad'")


def test_clipping_while_a_graph_is_traced_has_its_remedy():
    try:
        clip_grad_norm_()
    except AttributeError as error:
        said = explain_refusal(error, "graph")
    assert "no gradients while it is traced; write clip_grad_max_norm" in said


def test_arithmetic_with_a_stand_in_for_a_parameter_has_its_remedy():
    try:
        raise TypeError("unsupported operand type(s) for **: 'ProxyTensor' and 'int'")
    except TypeError as error:
        said = explain_refusal(error, "graph")
    assert "take no arithmetic; write [p if isinstance(p, flow.Tensor) else" in said


def test_a_session_refuses_a_model_that_does_not_compile():
    class Mode:
        def compile_train(self):
            raise AssertionError("tensor.numpy() is not allowed to be called in a graph")

    session = Session()
    session._workload = type("Workload", (), {"model": "mine:net"})()
    session._job = type("Job", (), {"describe_batch": lambda self: "batch[ids] int64 (4, 5)"})()
    session._mode, session._name = Mode(), "graph"
    with pytest.raises(InputError, match=r"mine:net: forward cannot be .*refusals.py") as told:
        session.compile(Request())
    assert str(told.value).endswith("; the batch has batch[ids] int64 (4, 5)")


def test_an_error_inside_oneflow_is_told_with_the_batch(monkeypatch):
    monkeypatch.setattr(protocol, "find_own_line", lambda error: None)
    with pytest.raises(InputError) as told, protocol.explained_refusal("a:b", "eager", lambda: "x"):
        raise RuntimeError("Check failed: (5 vs 4)")
    assert str(told.value).endswith("(Check failed: (5 vs 4)); the batch has x")
    with pytest.raises(RuntimeError), protocol.explained_refusal("lenet", "eager"):
        raise RuntimeError("Check failed")  # no batch to name: the suite's own
    with pytest.raises(KeyError), protocol.explained_refusal("a:b", "eager", lambda: "x"):
        raise KeyError("a fault of the suite")
