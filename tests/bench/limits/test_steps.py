from __future__ import annotations

import pytest

from oneflow_bench.config import Contender, Workload
from oneflow_bench.errors import InputError, WorkerError
from oneflow_bench.limits.steps import (
    Fleet,
    compare_steps,
    largest_difference,
    run_witness,
    time_steps,
)

START = {"weights": "w.npz", "inputs": "i.npz", "aux_weights": []}


class Worker:
    """A step takes `step_s`; `answers` replaces the answer to a call, an exception is raised."""

    def __init__(self, name, log, step_s, answers):
        self.name, self.log, self.step_s, self.answers = name, log, step_s, answers
        self.closed = False

    def ask(self, call, timeout_s, **request):
        self.log.append((self.name, call, request))
        given = self.answers.get((self.name, call))
        if isinstance(given, Exception):
            raise given
        if given is not None:
            return given
        return getattr(self, call)(request)

    def prepare(self, request):
        return {"environment": {"oneflow": "0.9.0"}}

    def setup(self, request):
        return {"torch": "2.0", "threads": 2}

    def disable_dropout(self, request):
        return {"layers": 2}

    def export(self, request):
        return {"aux_weights": [0.3]}

    def compile(self, request):
        return {"compile_s": 3.0} if "torch" in self.name else {"compile_train_s": 0.5}

    def measure(self, request):
        return {"duration_s": request["steps"] * self.step_s}

    def train(self, request):
        return {"losses": [2.0 / (1 + n) for n in range(request["steps"])]}

    def end(self, request):
        return {}

    def close(self):
        self.closed = True


class Workers:
    def __init__(self, answers=None, times=None):
        self.answers, self.times = answers or {}, times or {}
        self.started, self.log = [], []

    def start(self, name):
        step_s = next((t for key, t in self.times.items() if name.endswith(key)), 0.1)
        self.started.append(Worker(name, self.log, step_s, self.answers))
        return self.started[-1]

    def fleet(self, modes=("eager", "graph"), torch=True):
        return Fleet(
            Workload(),
            [Contender(name=mode, mode=mode) for mode in modes],
            lambda contender: self.start(contender.name),
            self.start if torch else None,
            5.0,
            lambda *_: None,
        )


def test_all_take_turns_and_are_closed():
    times = {"torch compiled": 0.1, "torch eager": 0.2, "-graph": 0.3, "-eager": 0.4}
    workers = Workers(times=times)
    steps = time_steps(workers.fleet(), START, 4)
    assert [s.name for s in steps] == ["eager", "graph", "torch eager", "torch compiled"]
    for step, expected in zip(steps, (0.4, 0.3, 0.2, 0.1)):
        assert step.step_time_s == pytest.approx([expected] * 4)
    assert [s.compile_s for s in steps] == [0.5, 0.5, None, 3.0]
    order = [name for name, call, _ in workers.log if call == "measure"][-16:]
    for first in (0, 8):  # a random order of the four, then its reverse
        assert order[first + 4 : first + 8] == order[first : first + 4][::-1]
    assert all(worker.closed for worker in workers.started)


def test_ratios_are_oneflow_s_time_over_the_other_s():
    times = {"torch compiled": 0.1, "torch eager": 0.2, "-graph": 0.3, "-eager": 0.4}
    ratios = compare_steps(time_steps(Workers(times=times).fleet(), START, 4))
    found = {(r.baseline, r.contender): r.ratio.ratio for r in ratios}
    assert found == {
        ("eager", "graph"): pytest.approx(4 / 3),
        ("eager", "torch eager"): pytest.approx(2),
        ("eager", "torch compiled"): pytest.approx(4),
        ("graph", "torch eager"): pytest.approx(1.5),
        ("graph", "torch compiled"): pytest.approx(3),
    }
    assert all(r.ratio.paired for r in ratios)


def test_without_an_interpreter_only_oneflow_is_timed():
    steps = time_steps(Workers().fleet(("graph",), torch=False), None, 3)
    assert [s.name for s in steps] == ["graph"]
    assert compare_steps(steps) == []


@pytest.mark.parametrize(
    "call, failure, said",
    [
        ("compile", {"error": "torch.compile failed"}, "torch.compile failed"),
        ("setup", InputError("it has no such layer"), "no such layer"),
        ("measure", WorkerError("it died"), "it died"),
    ],
)
def test_a_failure_of_pytorch_is_the_result_of_its_cell(call, failure, said):
    workers = Workers({("timing torch compiled", call): failure})
    steps = {s.name: s for s in time_steps(workers.fleet(), START, 3)}
    assert said in steps["torch compiled"].error
    assert steps["torch compiled"].step_time_s == []
    assert len(steps["torch eager"].step_time_s) == len(steps["eager"].step_time_s) == 3
    assert {r.contender for r in compare_steps(list(steps.values()))} == {"graph", "torch eager"}
    assert all(worker.closed for worker in workers.started)


@pytest.mark.parametrize("call", ["prepare", "compile", "measure"])
def test_a_failure_of_oneflow_ends_the_command_and_leaves_no_worker(call):
    workers = Workers({("timing-graph", call): WorkerError("it died")})
    with pytest.raises(WorkerError, match="it died"):
        time_steps(workers.fleet(), START, 3)
    assert all(worker.closed for worker in workers.started)


def test_the_witness_has_the_same_start_and_no_dropout():
    workers = Workers()
    result = run_witness(workers.fleet(), 3, "w.npz", "i.npz")
    assert result.dropout_layers == 2
    assert [w.name for w in result.losses] == ["eager", "graph", "torch eager", "torch compiled"]
    assert [w.max_relative_difference for w in result.losses] == [None, 0.0, 0.0, 0.0]
    requests = [r for name, call, r in workers.log if call == "setup"]
    assert all(r["weights"] == "w.npz" and r["aux_weights"] == [0.3] for r in requests)
    assert all(r["disable_dropout"] for r in requests)
    eager = [call for name, call, _ in workers.log if name == "witness-eager"]
    assert eager.index("disable_dropout") < eager.index("export") < eager.index("train")
    assert all(worker.closed for worker in workers.started)


def test_the_reference_is_eager_also_where_only_the_graph_is_timed():
    workers = Workers({("witness torch compiled", "train"): {"losses": [2.0, None, 1.0]}})
    result = run_witness(workers.fleet(("graph",)), 3, "w.npz", "i.npz")
    assert [w.name for w in result.losses] == ["eager", "graph", "torch eager", "torch compiled"]
    prepared = {n: r["contender"]["mode"] for n, call, r in workers.log if call == "prepare"}
    assert prepared == {"witness-eager": "eager", "witness-graph": "graph"}
    assert result.losses[-1].max_relative_difference is None
    assert result.losses[-1].error is None


@pytest.mark.parametrize(
    "reference, losses, expected",
    [
        ([2.0, 1.0], [2.0, 1.0], 0.0),
        ([2.0, -1.0], [2.1, -1.1], 0.1),
        ([0.0], [0.0], 0.0),
        ([0.0], [0.1], None),
        ([2.0, None], [2.0, None], None),
        ([2.0, 1.0], [2.0], None),
        ([2.0], [], None),
    ],
)
def test_the_largest_difference_is_relative(reference, losses, expected):
    found = largest_difference(reference, losses)
    assert found == (None if expected is None else pytest.approx(expected))
