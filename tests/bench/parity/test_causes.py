"""Causes in words: from evidence, and planted in models that `bench check` runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.parity import result
from oneflow_bench.bench.parity.causes import (
    ForwardFacts,
    conclude_seeded,
    explain,
    explain_frozen,
    find_obstacle,
    name_gradient_layer,
)
from oneflow_bench.bench.parity.result import Cause, load_check
from oneflow_bench.bench.parity.tensors import Entry, pair_entries

HERE = Path(__file__).parent
NOTHING = ForwardFacts()


def entry(level, name, kind="buffer", digest="a"):
    return Entry(level=level, name=name, kind=kind, shape=[], digest=digest)


FIRST = entry(result.FORWARD, "last", "Linear")


def find_cause(first=FIRST, eager=NOTHING, graph=NOTHING, pairs=()):
    cause = explain(pairs, first, eager, graph)
    return cause and (cause.kind, cause.sentence)


def test_without_evidence_no_cause_is_given():
    assert find_cause() is None and find_cause(None) is None
    frozen = ForwardFacts(changed_attributes={"n": ["1", "2"]})
    told = "forward changes n (1 -> 2); a graph keeps the value that it was traced with"
    assert find_cause(None, frozen) == ("frozen at trace time", told)  # though nothing differs yet
    changing = ForwardFacts(changed_attributes={"calls": ["0", "1"]}, changes_input=True)
    assert find_cause(entry(result.INITIAL_WEIGHTS, "a"), changing) is None
    assert find_cause(entry(result.BATCHES, "a"), NOTHING) is None


def test_a_cause_names_the_evidence():
    eager = ForwardFacts(changed_attributes={"block.calls": ["0", "1", "2"]})
    kind, sentence = find_cause(eager=eager)
    assert kind == "frozen at trace time" and "block.calls (0 -> 1 -> 2)" in sentence
    eager = ForwardFacts(changed_values={"my_file.factor": ["0.1", "0.2"]})
    kind, sentence = find_cause(eager=eager)
    assert kind == "frozen at trace time" and "reads my_file.factor (0.1 -> 0.2), which" in sentence
    eager = ForwardFacts(changed_options={"optimizer.param_groups[0]['lr']": ["0.1", "0.05"]})
    kind, sentence = find_cause(eager=eager)
    assert "a step changes optimizer.param_groups[0]['lr'] (0.1 -> 0.05); a graph" in sentence
    assert explain_frozen(eager).remedy.startswith("change a rate by a scheduler")
    assert "numpy.random" in find_cause(eager=ForwardFacts(host_draws=["numpy.random"]))[1]
    drawn = ForwardFacts(random_ops=[("a", "dropout")] * 2)
    assert "(dropout in a)" in find_cause(graph=drawn)[1]
    changed = ForwardFacts(changes_input=True)
    assert find_cause(entry(result.BATCHES, "step 1 images"), changed)[0] == "input changed"
    with pytest.raises(InputError, match="other batches for the same seed .step 1 inputs"):
        find_cause(entry(result.BATCHES, "step 1 inputs", result.INPUTS))
    stopped = entry(result.GRADIENTS, "scale", result.REQUIRES_GRADIENT)
    assert find_cause(stopped)[0] == "gradient stopped"


def test_hooks_after_the_first_difference_are_not_its_cause():
    forward = [entry(result.FORWARD, name, "Linear") for name in ("first", "last", "output")]
    pairs = pair_entries(forward, forward)
    assert find_cause(eager=ForwardFacts(hooked_modules=["first"]), pairs=pairs)[0] == "hooks"
    assert find_cause(eager=ForwardFacts(hooked_modules=["output"]), pairs=pairs) is None


def test_state_that_the_graph_left_as_it_was_was_assigned_in_forward():
    start = entry(result.INITIAL_WEIGHTS, "total")
    eager = [start, entry(result.FIRST_UPDATE, "total", digest="b")]
    left = pair_entries(eager, [start, entry(result.FIRST_UPDATE, "total")])
    assert find_cause(pairs=left) == (
        "assigned in forward",
        "forward changes total; a graph does not keep that",
    )
    moved = pair_entries(eager, [start, entry(result.FIRST_UPDATE, "total", digest="c")])
    assert find_cause(pairs=moved) is None


def test_an_outputs_gradient_belongs_to_the_module_that_takes_the_output():
    eager = ForwardFacts(output_users={"relu": "scale"})
    assert name_gradient_layer("relu output gradient", result.OUTPUT_GRADIENT, eager) == "scale"
    assert name_gradient_layer("scale", result.REQUIRES_GRADIENT, eager) == "scale"
    assert name_gradient_layer("scale.weight", "gradient", eager) is None


@pytest.mark.parametrize(
    ("seeded", "left", "verdict", "words"),
    [
        ("identical", [], "inconclusive", "with equal draws in both modes, identical: all equal"),
        ("different", [], "different", "with equal draws in both modes, all equal; besides, drawn"),
        ("different", [("a", "uniform")], "inconclusive", "given to uniform in a"),
    ],
)
def test_equal_draws_never_give_a_pass(seeded, left, verdict, words):
    cause = Cause(kind="random operator", sentence="drawn", remedy="none")
    found, reason = conclude_seeded(cause, seeded, "all equal", ForwardFacts(random_ops=left))
    assert found == verdict and words in reason


@pytest.mark.oneflow
def test_seeded_draws_are_equal_in_both_modes_and_steps():
    """In a process of its own: random functions stay replaced."""
    done = subprocess.run(
        [sys.executable, "drawing.py"], cwd=HERE, capture_output=True, text=True, check=True
    )
    models = json.loads(done.stdout.splitlines()[-1])
    assert len(models) == 5
    for steps in models.values():
        assert all(eager == graph for eager, graph in steps) and steps[0] != steps[1]


def run_check(model, folder):
    """(exit status, standard error, the stored check) of `bench check` of a planted model."""
    command = [sys.executable, "-m", "oneflow_bench", "check", "--model"]
    done = subprocess.run(
        [*command, f"planted_models:{model}", "--image-size", "32", "--out", str(folder)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(HERE)}, cwd=HERE,
    )  # fmt: skip
    return done.returncode, done.stderr, folder


PLANTED = [
    ("FunctionalDropout", 3, "random operator", "dropout in output"),
    ("DropoutTwice", 3, "random operator", "dropout in drop"),
    ("Noise", 3, "random operator", "uniform in output"),
    ("StochasticDepth", 3, "random operator", "bernoulli in output"),
    ("Shuffled", 3, "random operator", "randperm in output"),
    ("InPlaceNoise", 3, "random operator", "no equal numbers could be given to uniform"),
    ("Detached", 1, "gradient stopped", "detaching cuts its output off"),
    ("Counter", 1, "frozen at trace time", "calls ("),
    ("Annealed", 1, "frozen at trace time", "temperature ("),
    ("FrozenNorm", 1, "frozen at trace time", "norm.training (True -> False"),
    ("PythonRandom", 3, "frozen at trace time", "draws from random"),
    ("NumpyNoise", 3, "frozen at trace time", "draws from numpy.random"),
    ("AssignedBuffer", 1, "assigned in forward", "changes total"),
    ("AssignedAttribute", 1, "assigned in forward", "changes seen"),
    ("NonPersistent", 1, "assigned in forward", "changes scale"),
    ("Hooked", 1, "hooks", "forward hooks of first"),
    ("ChangesInput", 1, "input changed", "works in place on its input"),
]


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.parametrize(("model", "status", "kind", "words"), PLANTED)
def test_a_planted_cause_is_named(model, status, kind, words, tmp_path):
    found, said, folder = run_check(model, tmp_path / "run")
    (check,) = load_check(folder).checks
    named = check.cause and check.cause.kind
    assert (found, named) == (status, kind), f"{check.reason}\n{check.error}\n{said}"
    assert words in check.reason and check.cause.remedy in check.reason


@pytest.mark.slow
@pytest.mark.oneflow
def test_a_fault_behind_noise_is_found_with_equal_draws(tmp_path):
    status, _, folder = run_check("FaultBehindNoise", tmp_path / "run")
    (check,) = load_check(folder).checks
    assert (status, check.verdict, check.origin.name) == (1, "different", "scaled")


@pytest.mark.slow
@pytest.mark.oneflow
def test_one_dropout_module_called_once_is_no_cause(tmp_path):
    status, _, folder = run_check("Plain", tmp_path / "run")
    (check,) = load_check(folder).checks
    assert (status, check.verdict, check.cause) == (0, "identical", None)


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.parametrize(
    ("model", "code", "remedy"),
    [
        ("Condition", "if x.sum() > 0", "flow.where"),
        ("Item", ".item()", "the tensor itself"),
        ("Array", ".numpy()", "OneFlow's operators"),
        ("Masked", "x[x > 0]", "masked_fill"),
        ("AssignsData", ".data =", "a new tensor"),
    ],
)
def test_what_does_not_compile_is_refused_with_the_users_line(model, code, remedy, tmp_path):
    status, said, _ = run_check(model, tmp_path / "run")
    plain = " ".join(said.split())
    assert status == 2 and "planted_models.py:" in plain and code in plain and remedy in plain
    assert "ErrorProto" not in said and "\x1b" not in said and "Traceback" not in said


@pytest.mark.parametrize(
    "contender, obstacle",
    [
        ({}, None),
        ({"graph_options": {"enable_amp": True}, "env": {"OMP_NUM_THREADS": "1"}}, None),
        ({"mode": "third"}, "other trains in the mode 'third', and only eager and graph are"),
        ({"ranks": 2}, "other trains in several processes"),
        ({"python": "/other/python"}, "two interpreters"),
    ],
)
def test_the_obstacle_is_named(contender, obstacle):
    other = Contender(**{"name": "other", "mode": "graph", **contender})
    found = find_obstacle(Contender(name="eager", mode="eager"), other)
    assert found is None if obstacle is None else obstacle in found
