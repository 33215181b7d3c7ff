from __future__ import annotations

import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.plan.graph_options import (
    apply_graph_options,
    check_graph_options,
    format_option,
    list_graph_options,
    parse_option,
)


class Config:
    """Made like OneFlow's GraphConfig."""

    def __init__(self):
        self.calls = []

    def allow_fuse_add_to_output(self, mode: bool = True):
        self.calls.append(("fuse", mode))

    def enable_amp(self, mode: bool = True, *, dtype: object = None):
        assert type(mode) is bool
        self.calls.append(("amp", mode))

    def enable_straighten_algorithm(self, mode: str = "MemoryFirst"):
        assert mode == "MemoryFirst"

    def set_outputs_buffer_size(self, value: int = 2):
        self.calls.append(("buffer", value))

    def set_auto_parallel_wait_time(self, cost):
        self.calls.append(("wait", cost))

    def set_gradient_accumulation_steps(self, value):
        raise AssertionError("never called")

    def set_zero_redundancy_optimizer_mode(self, mode: str = "x"):
        raise RuntimeError("replaced")

    def _train(self, mode: bool = True):
        raise AssertionError("never called")

    @property
    def training(self):
        return False


class Graph:
    def __init__(self):
        self.config = Config()


KNOWN = list_graph_options(Config)


def test_the_switches_are_the_public_methods_with_the_type_they_take():
    assert list_graph_options(Config) == {
        "allow_fuse_add_to_output": bool,
        "enable_amp": bool,
        "enable_straighten_algorithm": str,
        "set_outputs_buffer_size": int,
        "set_auto_parallel_wait_time": None,
    }


def test_options_are_set_in_the_order_given_and_nothing_else_is():
    graph = Graph()
    apply_graph_options(graph, {"set_outputs_buffer_size": 3, "allow_fuse_add_to_output": False})
    apply_graph_options(graph, {"set_auto_parallel_wait_time": 0.5})
    apply_graph_options(graph, None)
    assert graph.config.calls == [("buffer", 3), ("fuse", False), ("wait", 0.5)]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"allow_fuse_ad_to_output": True},
         "unknown graph option 'allow_fuse_ad_to_output'; did you mean allow_fuse_add_to_output"),
        ({"zzz": True}, "known are allow_fuse_add_to_output, enable_amp"),
        ({"_train": True}, "unknown graph option '_train'"),
        ({"training": True}, "unknown graph option 'training'"),
        ({"set_zero_redundancy_optimizer_mode": "x"}, "unknown graph option"),
        ({"set_gradient_accumulation_steps": 2}, "give --accumulation-steps instead"),
        ({"enable_amp": 1}, "enable_amp=1 cannot be used; it takes true or false"),
        ({"set_outputs_buffer_size": True}, "=true cannot be used; it takes a whole number"),
        ({"set_outputs_buffer_size": 1.5}, "it takes a whole number"),
        ({"set_auto_parallel_wait_time": "soon"}, "it takes a number"),
        ({"enable_straighten_algorithm": False}, "it takes a word"),
    ],
)  # fmt: skip
def test_what_cannot_be_set_is_refused_before_anything_is(options, message):
    with pytest.raises(InputError, match=message):
        check_graph_options(options, KNOWN)
    graph = Graph()
    with pytest.raises(InputError, match=message):
        apply_graph_options(graph, {"set_outputs_buffer_size": 3, **options})
    assert graph.config.calls == []


def test_a_value_that_oneflow_refuses_is_a_sentence():
    with pytest.raises(InputError, match="enable_straighten_algorithm=Fast was refused by OneFlow"):
        apply_graph_options(Graph(), {"enable_straighten_algorithm": "Fast"})


@pytest.mark.parametrize(
    "text, value",
    [("true", True), ("False", False), ("2", 2), ("0.5", 0.5), ("1e-3", 1e-3), ("nan", "nan"),
     ("Disable", "Disable"), ("", "")],
)  # fmt: skip
def test_an_option_is_read_as_what_it_looks_like(text, value):
    read = parse_option(text)
    assert read == value and type(read) is type(value)


def test_an_option_is_written_as_it_is_typed():
    assert [format_option(v) for v in (True, False, 2, "Disable")] == [
        "true", "false", "2", "Disable",
    ]  # fmt: skip


@pytest.mark.oneflow
def test_the_real_switches_are_those_of_the_installed_oneflow():
    from oneflow.nn.graph.graph_config import GraphConfig

    known = list_graph_options(GraphConfig)
    assert known["allow_fuse_add_to_output"] is bool
    assert known["enable_straighten_algorithm"] is str
    assert known["set_outputs_buffer_size"] is int
    assert "set_gradient_accumulation_steps" not in known
