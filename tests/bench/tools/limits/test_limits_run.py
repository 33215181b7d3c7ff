from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_profile_report import document as create_profile
from test_profile_report import layer as create_profile_layer

from oneflow_bench.bench.config import Contender, Workload
from oneflow_bench.bench.errors import InputError, WorkerError
from oneflow_bench.bench.tools.limits.run import Measuring, run_limits
from oneflow_bench.bench.tools.limits.work import PRODUCT, CallShape, LayerTrace

TRACE = LayerTrace(
    name="features.0",
    kind="Conv2d",
    operation=PRODUCT,
    calls=[CallShape(input_shape=[4, 3], output_shape=[4, 2], needs_input_gradient=False)],
    num_params=10,
    macs_per_output=3,
)


class Worker:
    def __init__(self, name, log, fails):
        self.name, self.log, self.fails = name, log, fails
        self.closed = False

    def ask(self, call, timeout_s, **request):
        self.log.append((self.name, call, request))
        if self.fails == call:
            raise WorkerError("it died")
        answers = {
            "prepare": {"environment": {}},
            "trace": {"layers": [TRACE.model_dump()]},
            "measure_numpy": {"matmul": [[8, [1e9]]], "copy": [[8, [1e9]]]},
            "measure_oneflow": {"matmul": [[8, [1e9]]]},
            "setup": {"torch": "2.0", "threads": 1},
            "disable_dropout": {"layers": 0},
            "export": {"aux_weights": []},
            "compile": {"compile_s": 1.0},
            "train": {"losses": [1.0] * request.get("steps", 0)},
            "measure": {"duration_s": 0.1 * request.get("steps", 0)},
        }
        return answers.get(call, {})

    def kill(self):
        pass

    def close(self):
        self.closed = True


def run(torch=False, profile=None, fails=None, modes=("eager",)):
    log, workers = [], []

    def start(name):
        workers.append(Worker(name, log, fails))
        return workers[-1]

    try:
        return run_limits(
            Workload(model="alexnet", batch_size=4),
            [Contender(name=mode, mode=mode) for mode in modes],
            lambda contender: start(contender.name),
            start if torch else None,
            Measuring(blocks=4, witness_steps=3, timeout_s=5.0),
            "now",
            profile,
            None,
            lambda *_: None,
        ), log
    finally:
        assert workers and all(worker.closed for worker in workers)


def test_everything_is_counted_measured_and_timed():
    found, log = run()
    assert found.layers[0].macs == 24
    assert found.layers[0].update.flops == 60  # momentum and weight decay, as the recipe has them
    assert {c.library for c in found.ceilings} == {"numpy", "oneflow"}
    assert [s.name for s in found.steps] == ["eager"]
    assert found.witness == [] and found.ratios == []
    # a graph after an eager pass on the same module would not train
    assert [name for name, call, _ in log if call == "trace"] == ["count-trace"]
    assert json.loads(found.model_dump_json())["workload"]["model"] == "alexnet"


def test_pytorch_gets_the_files_that_oneflow_wrote_and_they_are_gone_afterwards(tmp_path):
    found, log = run(torch=True)
    written = [r for _, call, r in log if call == "export"][0]
    read = [r for _, call, r in log if call == "setup"]
    assert len(read) == 4  # eager and compiled, for the losses and for the times
    assert {r["weights"] for r in read} == {written["weights"]}
    assert [r["disable_dropout"] for r in read] == [True, True, False, False]
    assert [w.name for w in found.witness] == [
        "eager",
        "eager float64",
        "torch eager",
        "torch compiled",
    ]
    assert len(found.ratios) == 2
    assert not Path(written["weights"]).parent.exists()


@pytest.mark.parametrize("fails", ["trace", "measure_oneflow", "export", "measure"])
def test_a_worker_of_oneflow_that_dies_leaves_none_behind(fails):
    with pytest.raises(WorkerError, match="it died"):
        run(torch=True, fails=fails)


def test_a_profile_gives_the_layers_their_times():
    found, _ = run(profile=create_profile([create_profile_layer(0)]))
    assert [(t.name, t.forward_s, t.backward_s) for t in found.layer_times] == [
        ("features.0", 0.001, 0.002)
    ]


def test_a_profile_of_other_layers_is_refused():
    with pytest.raises(InputError, match="other layers or parameters"):
        run(profile=create_profile([create_profile_layer(7)]))
