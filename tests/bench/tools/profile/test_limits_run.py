from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from limits_records import create_layer_profile, create_profile

from oneflow_bench.bench.config import Contender, Workload
from oneflow_bench.bench.errors import WorkerError
from oneflow_bench.bench.tools.profile.run import measure_limits, run_profile
from oneflow_bench.bench.tools.profile.steps import Fleet
from oneflow_bench.bench.tools.profile.work import (
    CallShape,
    LayerTrace,
    UpdateRule,
    count_layer,
)

TRACE = LayerTrace(
    name="features.0",
    kind="Conv2d",
    operation="product",
    calls=[CallShape([4, 3], [4, 2], needs_input_gradient=False)],
    num_params=10,
    macs_per_output=3,
)
WORK = count_layer(TRACE, UpdateRule(momentum=True, weight_decay=True))


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
            "parts": create_profile([]).parts.model_dump(),
            "layers": {
                "layers": [create_layer_profile(0).model_dump()],
                "profiled_step_s": [0.1],
                "batch": "",
                "work": [WORK.model_dump()],
            },
            "computing": {"step_s": [0.1], "computing_s": [0.08]},
            "split": {"layers": [{"im2col_s": 0.01}]},
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


def run(torch=False, fails=None, modes=("eager",), splits=False):
    log, workers = [], []

    def start(name):
        workers.append(Worker(name, log, fails))
        return workers[-1]

    fleet = Fleet(
        Workload(model="alexnet", batch_size=4),
        [Contender(name=mode, mode=mode) for mode in modes],
        lambda contender: start(contender.name),
        start if torch else None,
        5.0,
        lambda *_: None,
    )
    try:
        with closing(fleet):
            document, work = run_profile(fleet, 3, 1, "now", splits)
            if splits:
                return document, log
            return measure_limits(fleet, work, 4, 3, "now"), log
    finally:
        assert workers and all(worker.closed for worker in workers)


def test_everything_is_counted_measured_and_timed():
    found, log = run()
    assert found.layers[0].macs == 24
    assert found.layers[0].update.flops == 60  # momentum and weight decay, as the recipe has them
    assert {c.library for c in found.ceilings} == {"numpy", "oneflow"}
    assert [s.name for s in found.steps] == ["eager"]
    assert found.loss_runs == [] and found.ratios == []
    # the profile's process is counted in, and times no step: a graph after an eager pass on the
    # same module would not train
    assert [name for name, call, _ in log if call == "layers"] == ["profile-eager"]
    assert {name for name, call, _ in log if call == "measure"} == {"timing-eager"}
    assert json.loads(found.model_dump_json())["workload"]["model"] == "alexnet"


def test_with_limits_the_parts_of_layers_are_measured_after_their_times():
    document, log = run(splits=True)
    assert document.computing.computing_s == [0.08] and document.layers[0].im2col_s == 0.01
    assert [call for _, call, _ in log][1:5] == ["parts", "computing", "layers", "split"]
    _, log = run()
    assert not {"computing", "split"} & {call for _, call, _ in log}


def test_pytorch_gets_the_files_that_oneflow_wrote_and_they_are_gone_afterwards(tmp_path):
    found, log = run(torch=True)
    written = [r for _, call, r in log if call == "export"][0]
    read = [r for _, call, r in log if call == "setup"]
    assert len(read) == 4  # eager and compiled, for the losses and for the times
    assert {r["weights"] for r in read} == {written["weights"]}
    assert [r["disable_dropout"] for r in read] == [True, True, False, False]
    assert [w.name for w in found.loss_runs] == [
        "eager",
        "eager float64",
        "torch eager",
        "torch compiled",
    ]
    assert len(found.ratios) == 2
    assert not Path(written["weights"]).parent.exists()


@pytest.mark.parametrize("fails", ["layers", "measure_oneflow", "export", "measure"])
def test_a_worker_of_oneflow_that_dies_leaves_none_behind(fails):
    with pytest.raises(WorkerError, match="it died"):
        run(torch=True, fails=fails)
