"""`bench infer MODULE:STEP`: latency and throughput by batch size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import run_command

from oneflow_bench.bench.config import STEP_DATA, Contender, Workload
from oneflow_bench.bench.errors import InputError, WorkerError
from oneflow_bench.bench.report.blocks import format_markdown
from oneflow_bench.bench.tools.inference.step import (
    compare_outputs,
    report_step_inference,
    run_step_inference,
)
from oneflow_bench.bench.tools.inference.worker import (
    InferenceSession,
    PassesRequest,
    StepSetup,
)

WORK = Workload(model="my:gpt", data=STEP_DATA, batch_size=1)
PASS_S = {"eager": 0.02, "graph": 0.01}


class Worker:
    """Batches of 1 and 8 rows; `bias` is added to the outputs, as by another mode."""

    def __init__(self, name, bias=0.0, fail=None):
        self.name, self.bias, self.fail, self.closed, self.passes = name, bias, fail, False, []

    def ask(self, call, timeout_s, **request):
        if call == self.fail:
            raise WorkerError("it died")
        if call == "setup_step":
            return {
                "batches": [
                    {
                        "batch_size": rows,
                        "inputs": f"batch[0] float32 ({rows}, 4)",
                        "resized": ["batch[0]"] * (rows == 8),
                        "compile_s": 1.5,
                    }
                    for rows in request["batch_sizes"]
                ]
            }
        if call == "time":
            self.passes.append(request["number"])
            return {"durations_s": [PASS_S[self.name]] * request["passes"]}
        np.savez(request["path"], output=np.ones(3, np.float32) + np.float32(self.bias))
        return {}

    def close(self):
        self.closed = True


def run(biases=(0.0, 0.0), fail=None):
    workers = []

    def launch(contender):
        workers.append(Worker(contender.name, biases[len(workers)], fail))
        return workers[-1]

    contenders = [Contender(name=mode, mode=mode) for mode in ("eager", "graph")[: len(biases)]]
    try:
        return run_step_inference(
            WORK, (1, 8), 6, contenders, launch, 5.0, lambda *_: None
        ), workers
    finally:
        assert all(worker.closed for worker in workers)


def test_each_batch_size_has_latency_throughput_and_speedup():
    result, workers = run()
    assert [one.batch_size for one in result.batches] == [1, 8]
    eager, graph = result.batches[1].modes
    assert (eager.samples_per_s, graph.samples_per_s) == (pytest.approx(400), pytest.approx(800))
    assert graph.compile_s == 1.5 and graph.first_s == graph.latency_s.median == 0.01
    assert result.batches[1].speedup.ratio == pytest.approx(2.0)
    assert workers[0].passes == [0] * 7 + [1] * 7  # the first, and six more, of each size
    assert result.agrees
    text = format_markdown(report_step_inference(result))
    assert "all outputs are bitwise equal" in text and "float32 (1, 4)" in text
    assert "Rows were repeated or cut in the first dimension of batch\\[0\\]." in text


def test_one_mode_alone_has_no_speedup():
    result, _ = run((0.0,))
    assert result.batches[0].speedup is None and result.batches[0].difference is None
    assert result.agrees


@pytest.mark.parametrize("bias, agrees", [(1e-6, True), (1e-3, False), (np.nan, False)])
def test_modes_that_differ_are_said_to(bias, agrees):
    result, _ = run((0.0, bias))
    assert result.agrees is agrees
    text = format_markdown(report_step_inference(result))
    assert ("do not agree, output" in text) is not agrees
    assert ("is finite in one of them alone" in text) == np.isnan(bias) and "inf of" not in text


def test_another_shape_or_a_missing_output_differs():
    ones = {"output": np.ones(3)}
    assert not compare_outputs(ones, {"output": np.ones(4)}).agrees
    assert not compare_outputs(ones, {}).agrees
    assert compare_outputs(ones, dict(ones)).bitwise_equal


def test_workers_are_closed_when_one_fails():
    with pytest.raises(WorkerError):
        run(fail="time")


@pytest.mark.parametrize(
    "words, told",
    [
        (["my:gpt", "--top", "3"], "--top was given with the TrainingStep my:gpt"),
        (["my:gpt", "--batch-size", "1,x"], "'x' is not a whole number"),
        (["a.png"], "pictures were given without --load-checkpoint"),
        (["a.png", "--load-checkpoint", "w", "--batch-size", "1,2"], "--batch-size 1,2 was given"),
    ],
)
def test_bad_input_is_one_sentence(words, told):
    done = run_command("infer", *words)
    assert done.returncode == 2 and told in done.stderr, done.stderr


@pytest.mark.oneflow
def test_a_batch_is_repeated_or_cut_to_its_rows():
    from own_steps import LENGTH, WIDTH

    from oneflow_bench.bench.training.steps.batches import read_layout
    from oneflow_bench.bench.training.steps.own import OwnStep

    step = OwnStep(Workload(model="own_steps:tagger", data=STEP_DATA, batch_size=1))
    own, rows, resized = step.create_batch("cpu", None)
    assert rows == 4 and resized == step.create_batch("cpu", 4)[2] == []
    for wanted in (2, 6):
        batch, rows, resized = step.create_batch("cpu", wanted)
        assert rows == wanted
        assert resized == ["batch[inputs][0]", "batch[inputs][1]", "batch[next]"]
        assert [shape for _, _, shape in read_layout(batch)] == [
            (wanted, LENGTH), (wanted, LENGTH, WIDTH), (wanted, LENGTH)
        ]  # fmt: skip
        ids, first = batch["inputs"][0].numpy(), own["inputs"][0].numpy()
        np.testing.assert_array_equal(ids, np.concatenate([first, first])[:wanted])


@pytest.mark.oneflow
def test_a_batch_that_forward_does_not_take_is_told_with_both():
    from oneflow_bench.bench.training.steps.own import OwnStep

    step = OwnStep(Workload(model="own_steps:tagger", data=STEP_DATA, batch_size=1))
    batch, *_ = step.create_batch("cpu", None)
    with pytest.raises(InputError) as told:
        step.check_call(step.create_model(), batch)
    said = str(told.value)
    assert "forward(ids: 'flow.Tensor', features: 'flow.Tensor')" in said
    assert "own_steps.py:" in said and "batch[next] int64 (4, 5)" in said and "predict=" in said


@pytest.mark.oneflow
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_a_forward_that_fails_at_another_size_alone_blames_the_resize(mode):
    setup = StepSetup(
        workload=Workload(model="own_steps:square", data=STEP_DATA, batch_size=1),
        contender=Contender(name=mode, mode=mode),
        batch_sizes=[4, 2],
    )
    session = InferenceSession()
    with pytest.raises(InputError) as told:
        session.setup_step(setup)
        assert session.time(PassesRequest(number=0))["durations_s"]
        session.time(PassesRequest(number=1))
    assert "the cause is --batch-size, which resized batch[0], batch[1]; make" in str(told.value)


@pytest.mark.slow
@pytest.mark.oneflow
def test_a_step_without_a_loss_predicts_in_both_modes(tmp_path):
    command = [sys.executable, "-m", "oneflow_bench"]
    folder = Path(__file__).parents[2]  # of own_steps.py

    def run_bench(*words):
        return subprocess.run([*command, *words], cwd=folder, capture_output=True, text=True)

    few = ("--batch-size", "2,6", "--iterations", "3", "--mode", "both", "--json")
    done = run_bench("infer", "own_steps:unlearned", *few)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [one["batch_size"] for one in found["batches"]] == [2, 6]
    assert all(one["difference"]["relative"] <= 1e-4 for one in found["batches"])
    done = run_bench("eager", "own_steps:unlearned", "--out", str(tmp_path / "run"))
    assert done.returncode == 2 and "has no loss and cannot be trained" in done.stderr


def test_outputs_that_are_not_finite_alike_do_not_differ():
    masked = np.array([1.0, -np.inf, np.nan], np.float32)
    near = np.array([np.nextafter(np.float32(1), np.float32(2)), -np.inf, np.nan], np.float32)
    assert compare_outputs({"o": masked}, {"o": masked.copy()}).bitwise_equal
    found = compare_outputs({"o": masked}, {"o": near})
    assert not found.bitwise_equal and found.relative == pytest.approx(2**-23)
    for place, value in ((0, np.nan), (0, np.inf), (1, np.inf), (2, 0.0)):
        other = masked.copy()
        other[place] = value
        assert compare_outputs({"o": masked}, {"o": other}).relative == float("inf")
