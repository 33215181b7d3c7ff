"""The course of a check, with workers that answer from a script."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.errors import InputError, WorkerError
from oneflow_bench.bench.parity.result import (
    FIRST_UPDATE,
    FORWARD,
    INITIAL_WEIGHTS,
    TRAINED,
    VALIDATION,
)
from oneflow_bench.bench.parity.run import check_model, check_pair
from oneflow_bench.bench.parity.tensors import (
    SUBSTITUTE_SEED,
    ContenderPair,
    LayerCall,
    Observer,
)
from oneflow_bench.bench.plan.plan import create_plan

FLAGS = {
    "model": "lenet",
    "data": "synthetic",
    "image_size": 32,
    "batch_size": 4,
    "epochs": 2,
    "steps_per_epoch": 2,
}
TRUTH = np.linspace(1, 2, 50)
EAGER = TRUTH.astype(np.float32)
NEAR = np.nextafter(EAGER, np.float32(9))
FAR = EAGER * np.float32(1.0001)
VERY_FAR = EAGER * np.float32(1.5)


class Script:
    """Values of (level, name) by the name of the run, `eager-again` and the like included."""

    def __init__(self, **tensors: Dict[str, Any]) -> None:
        self.values = {("first", "weight"): dict(eager=EAGER, graph=EAGER, reference=TRUTH)}
        self.values.update({tuple(k.split("__")): v for k, v in tensors.items()})
        self.runs: List[str] = []
        self.closed = 0
        self.seeds: List[Any] = []  # of the references
        self.fail: Any = None
        self.narrow = False  # the model cannot run in float64
        self.isolated: Any = None  # outputs of an isolated layer: eager, graph, reference
        self.seeded: Dict[Any, Any] = {}  # in place of `values` where draws are seeded
        self.forward: Dict[str, Any] = {}  # the graph's facts beside tensors
        self.idle: List[str] = []  # graph options

    def value(self, key: Any, run: str) -> Any:
        given = self.values[key]
        return given.get(run, given.get(run.replace("-again", ""), given["eager"]))


LEVEL_OF = {
    "first": INITIAL_WEIGHTS, "forward": FORWARD, "update": FIRST_UPDATE, "end": TRAINED,
    "validation": VALIDATION,
}  # fmt: skip
TURN_OF = {
    "first": "start", "forward": "first_step", "update": "first_step", "end": "train",
    "validation": "validate",
}  # fmt: skip


class Worker:
    def __init__(self, script: Script) -> None:
        self._script = script
        self.killed = False

    def ask(self, call: str, timeout_s: float, **request: Any) -> Dict[str, Any]:
        if call == "start":
            self._run = request["folder"].rpartition("/")[2]
            self._script.runs.append(self._run)
            if self._script.narrow and request["contender"]["dtype"] == "float64":
                raise InputError("lenet: forward fails in float64 at my_file.py:3")
            if self._run == "reference":
                self._script.seeds.append(request["perturbation_seed"])
            self._observer = Observer(request["wanted"])
            self._folder = request["folder"]
            self._script.values.update(self._script.seeded if request["seeded_draws"] else {})
        if self._script.fail == (self._run, call):
            raise WorkerError(f"the worker '{self._run}' died", "its last words")
        if call == "run_isolated":
            return self._run_isolated(request)
        if call == "end":
            return {}
        for key in self._script.values:
            if TURN_OF[key[0]] == call:
                kind = "buffer" if key[1].endswith("tracked") else "parameter"
                value = np.asarray(self._script.value(key, self._run))
                owner = "BatchNorm2d" if kind == "buffer" else ""
                self._observer.add(LEVEL_OF[key[0]], key[1], kind, value, owner)
        self._observer.write(Path(self._folder))
        facts = {
            "start": {"environment": {"oneflow": "0.9.0"}},
            "train": {
                "losses": [2.0, 1.0],
                "forward": self._script.forward if self._run.startswith("graph") else {},
            },
            "resume": {
                "resumed_losses": [1.0],
                "compile_s": 0.5,
                "graph_ops": 7,
                "op_names": [],
                "idle_options": self._script.idle,
            },
            "validate": {
                "accuracy": 0.5,
                "validation_loss": 1.5,
                "parameters_digest": "p",
                "peak_rss_bytes": 5,
            },
        }
        return {"entries": self._observer.take(), **facts.get(call, {})}

    def _run_isolated(self, request: Dict[str, Any]) -> Dict[str, Any]:
        if self._script.isolated is None:
            return {"refused": "a made-up worker has no layers"}
        LayerCall("Conv2d", None, True, [], {}, None).save(Path(request["recording"]))
        if request["output"] is None:
            return {"refused": None}
        for path in filter(None, (request["output"], request["reference"])):
            np.savez(path, output=self._script.isolated[Path(path).stem])
        return {"refused": None}

    def kill(self) -> None:
        self.killed = True

    def close(self) -> None:
        self._script.closed += 1


def check(tmp_path, script, flags=FLAGS):
    seen = []
    found = check_model(
        create_plan(dict(flags)),
        tmp_path,
        10.0,
        lambda *progress: seen.append(progress),
        lambda contender: Worker(script),
    )
    assert seen and all(done < total for _, done, total in seen)
    assert not (tmp_path / "values").exists()
    return found


def test_modes_that_agree_are_run_once(tmp_path):
    script = Script()
    found = check(tmp_path, script)
    assert sorted(script.runs) == ["eager", "graph"]
    assert (found.verdict, found.reproducible, found.origin) == ("identical", None, None)
    assert "bitwise equal" in found.reason and found.steps == 4
    assert found.graph.compile_s == 0.5 and found.graph.graph_ops == 7
    assert found.eager.losses == [2.0, 1.0] and found.duration_s > 0


def test_graph_options_that_change_nothing_are_named_beside_the_verdict(tmp_path):
    script = Script()
    script.idle = ["enable_amp"]
    reason = check(tmp_path, script).reason
    assert reason.endswith("no effect: the operators compile to the same without enable_amp")


def test_a_difference_brings_the_reference_and_both_modes_again(tmp_path):
    script = Script(forward__conv=dict(eager=EAGER, graph=NEAR, reference=TRUTH))
    found = check(tmp_path, script)
    assert sorted(script.runs[2:5]) == ["eager-again", "graph-again", "reference"]
    assert set(script.runs[5:]) == {"isolated-layer"}
    assert found.verdict == "equal within rounding" and found.reproducible is True
    assert found.reason.startswith("from forward on")


@pytest.mark.parametrize(
    "side, verdict", [(NEAR, "equal within rounding"), (VERY_FAR, "different")]
)
def test_a_perturbed_run_takes_the_place_of_a_reference_that_fails(tmp_path, side, verdict):
    script = Script(forward__conv=dict(eager=EAGER, graph=side, reference=np.nextafter(EAGER, 0)))
    script.narrow = True
    found = check(tmp_path, script)
    assert found.verdict == verdict and script.seeds == [SUBSTITUTE_SEED]
    assert script.runs.count("reference") == 2
    assert "reference failed, so a float32 run with perturbed weights" in found.reason
    assert "at my_file.py:3" in found.reason and "give dtype=x.dtype to" in found.reason


def test_draws_that_differ_are_compared_again_with_seeded_ones(tmp_path):
    noisy = dict(eager=EAGER, graph=VERY_FAR, reference=TRUTH)
    script = Script(forward__conv=noisy, end__weight=noisy)
    script.forward = {"random_ops": [("drop", "dropout")]}
    script.seeded = {key: dict(eager=EAGER) for key in script.values}
    found = check(tmp_path, script)
    assert sorted(script.runs) == ["eager", "eager", "graph", "graph"]
    assert found.verdict == "inconclusive" and found.cause.kind == "random operator"
    assert "no equal numbers could be given to dropout in drop" in found.reason


def test_a_layer_that_passes_as_rounding_is_flagged_when_it_differs_in_isolation(tmp_path):
    script = Script(forward__conv=dict(eager=EAGER, graph=NEAR, reference=TRUTH))
    script.isolated = {"eager": EAGER, "graph": FAR, "reference": TRUTH}
    found = check(tmp_path, script)
    assert found.verdict == "different" and found.reason.startswith(
        "forward: conv differs: in isolation"
    )
    assert (found.origin.name, found.origin.isolated_layer) == ("conv", "reproduced")
    script.isolated["graph"] = EAGER
    (tmp_path / "second").mkdir()
    found = check(tmp_path / "second", script)
    assert (found.verdict, found.origin) == ("equal within rounding", None)


def test_a_difference_that_rounding_does_not_explain_brings_the_perturbed_runs(tmp_path):
    script = Script(
        forward__conv=dict(eager=EAGER, graph=FAR, reference=TRUTH),
        end__w=dict(eager=EAGER, graph=FAR, reference=TRUTH),
    )
    found = check(tmp_path, script)
    assert sorted(set(script.runs[5:]) - {"isolated-layer"}) == ["perturbed-1", "perturbed-2"]
    assert found.verdict == "different"
    assert (found.origin.level, found.origin.name) == (FORWARD, "conv")
    assert found.reason.startswith("forward: conv differs")


def test_any_pair_is_checked_beside_the_baseline_in_float64(tmp_path):
    script, launched = Script(), {}
    script.values["end", "w"] = dict(eager=EAGER, graph=FAR, reference=TRUTH)
    pair = ContenderPair(
        workload=create_plan(dict(FLAGS)).workload,
        steps_per_epoch=2,
        steps=4,
        dataset=None,
        baseline=Contender(name="base", mode="graph", env={"A": "1"}, graph_options={"x": True}),
        contender=Contender(name="halves", mode="eager", accumulation_steps=2),
    )

    class Noting(Worker):
        def ask(self, call, timeout_s, **request):
            if call == "start":
                launched[request["folder"].rpartition("/")[2]] = request
            return super().ask(call, timeout_s, **request)

    found = check_pair(pair, tmp_path, 10.0, lambda *at: None, lambda contender: Noting(script))
    assert (found.baseline, found.contender, found.verdict) == ("base", "halves", "different")
    assert found.title == "lenet, halves against base"
    sides = {run: request["contender"] for run, request in launched.items()}
    assert sides["eager"] == sides["eager-again"] and sides["eager"]["name"] == "base"
    assert sides["graph"]["name"] == sides["graph-again"]["name"] == "halves"
    reference, perturbed = sides["reference"], sides["perturbed-1"]
    assert (reference["mode"], reference["dtype"]) == ("eager", "float64")
    assert reference["env"] == perturbed["env"] == {"A": "1"} and not reference["graph_options"]
    assert (perturbed["mode"], perturbed["dtype"]) == ("graph", "float32")
    parts = {run: request["workload"]["accumulation_steps"] for run, request in launched.items()}
    assert parts["graph"] == 2 and parts["eager"] == parts["reference"] == 1


@pytest.mark.parametrize(
    "factor, verdict", [(1 + 8 * 2.0**-23, "equal within rounding"), (1.0001, "different")]
)
def test_kernels_of_another_runtime_may_lose_four_bits_and_no_more(tmp_path, factor, verdict):
    values = dict(eager=EAGER, graph=EAGER * np.float32(factor), reference=TRUTH)
    script, ulps = Script(forward__conv=values), set()
    stock = Contender(name="stock", mode="eager", runtime="stock")
    pair = ContenderPair(create_plan(dict(FLAGS)).workload, 2, 4, None, contender=stock)

    class Noting(Worker):
        def ask(self, call, timeout_s, **request):
            ulps.add(request.get("perturbation_ulps", 16))
            return super().ask(call, timeout_s, **request)

    found = check_pair(pair, tmp_path, 10.0, lambda *at: None, lambda contender: Noting(script))
    assert found.verdict == verdict and ulps == {16}
    assert ("stock error" in found.reason) == (verdict == "different")


def test_a_difference_that_is_past_all_rounding_needs_no_perturbed_runs(tmp_path):
    script = Script(forward__conv=dict(eager=EAGER, graph=VERY_FAR, reference=TRUTH))
    assert check(tmp_path, script).verdict == "different"
    assert not any(run.startswith("perturbed") for run in script.runs)


def test_a_training_run_that_rounding_alone_carries_as_far_is_rounding(tmp_path):
    moved = EAGER * np.float32(0.9999)
    script = Script(
        end__w={"eager": EAGER, "graph": FAR, "reference": TRUTH, "perturbed-1": moved},
    )
    assert check(tmp_path, script).verdict == "equal within rounding"


@pytest.mark.parametrize(
    "flips, verdict", [("perturbed-7", "equal within rounding"), ("none", "different")]
)
def test_a_metric_that_counts_is_given_more_perturbed_runs(tmp_path, flips, verdict):
    count, other = np.float32([0.5]), np.float32([1.0])
    script = Script(
        validation__accuracy={
            "eager": count, "graph": other, "reference": count.astype(float), flips: other,
        },
    )  # fmt: skip
    assert check(tmp_path, script).verdict == verdict
    assert {f"perturbed-{seed}" for seed in range(1, 9)} <= set(script.runs)


def test_a_mode_that_does_not_repeat_itself_is_reported_as_such(tmp_path):
    script = Script(
        end__w={"eager": EAGER, "eager-again": NEAR, "graph": FAR, "reference": TRUTH},
    )
    found = check(tmp_path, script)
    assert (found.verdict, found.reproducible) == ("inconclusive", False)
    assert "eager mode does not repeat itself: w at the level 'trained'" in found.reason


def test_what_differs_before_a_mode_stops_repeating_itself_still_counts(tmp_path):
    script = Script(
        forward__conv=dict(eager=EAGER, graph=FAR, reference=TRUTH),
        end__w={"eager": EAGER, "graph": NEAR, "graph-again": FAR, "reference": TRUTH},
    )
    found = check(tmp_path, script)
    assert (found.verdict, found.reproducible) == ("different", False)
    assert [level.level for level in found.levels] == [INITIAL_WEIGHTS, FORWARD]


def test_a_known_difference_alone_is_no_reason_to_run_again(tmp_path):
    script = Script(update__num_batches_tracked=dict(eager=1, graph=0))
    script.values[("update", "bn.num_batches_tracked")] = script.values.pop(
        ("update", "num_batches_tracked")
    )
    found = check(tmp_path, script)
    assert len(script.runs) == 2 and found.verdict == "identical"
    (hit,) = found.known
    assert (hit.id, hit.tensors, hit.outdated) == ("batch-norm-counter", 1, False)


@pytest.mark.parametrize("run, call", [("graph", "train"), ("reference", "start")])
def test_a_worker_that_dies_ends_the_check_and_all_workers(tmp_path, run, call):
    script = Script(forward__conv=dict(eager=EAGER, graph=NEAR, reference=TRUTH))
    script.fail = (run, call)
    with pytest.raises(WorkerError, match=run):
        check(tmp_path, script)
    assert script.closed >= len(script.runs)


def test_one_step_is_refused(tmp_path):
    with pytest.raises(InputError, match="at least 2"):
        check(tmp_path, Script(), {**FLAGS, "epochs": 1, "steps_per_epoch": 1})
