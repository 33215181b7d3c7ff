from __future__ import annotations

import pytest
from step_workers import START, Workers

from oneflow_bench.bench.errors import InputError, WorkerError
from oneflow_bench.bench.tools.profile.steps import compare_steps, time_steps


def test_all_take_turns_and_are_closed():
    times = {"torch compiled": 0.1, "torch eager": 0.2, "-graph": 0.3, "-eager": 0.4}
    workers = Workers(times=times)
    steps = workers.run(time_steps, START, 4)
    assert [s.name for s in steps] == ["eager", "graph", "torch eager", "torch compiled"]
    for step, expected in zip(steps, (0.4, 0.3, 0.2, 0.1)):
        assert step.step_time_s == pytest.approx([expected] * 4)
    assert [s.compile_s for s in steps] == [0.5, 0.5, None, 3.0]
    order = [name for name, call, _ in workers.log if call == "measure"][-16:]
    for first in (0, 8):  # a random order of the four, then its reverse
        assert order[first + 4 : first + 8] == order[first : first + 4][::-1]
    assert all(worker.closed and not worker.killed for worker in workers.started)


def test_ratios_are_oneflow_s_time_over_the_other_s():
    times = {"torch compiled": 0.1, "torch eager": 0.2, "-graph": 0.3, "-eager": 0.4}
    ratios = compare_steps(Workers(times=times).run(time_steps, START, 4))
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
    steps = Workers().run(time_steps, None, 3, modes=("graph",), torch=False)
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
    steps = {s.name: s for s in workers.run(time_steps, START, 3)}
    assert said in steps["torch compiled"].error
    assert steps["torch compiled"].step_time_s == []
    assert len(steps["torch eager"].step_time_s) == len(steps["eager"].step_time_s) == 3
    assert {r.contender for r in compare_steps(list(steps.values()))} == {"graph", "torch eager"}
    assert all(worker.closed for worker in workers.started)


@pytest.mark.parametrize("call", ["prepare", "compile", "measure"])
def test_a_failure_of_oneflow_ends_the_command_and_leaves_no_worker(call):
    workers = Workers({("timing-graph", call): WorkerError("it died")})
    with pytest.raises(WorkerError, match="it died"):
        workers.run(time_steps, START, 3)
    assert all(worker.closed for worker in workers.started)


def test_ctrl_c_waits_for_no_worker_that_is_busy():
    workers = Workers({("timing-graph", "measure"): KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        workers.run(time_steps, START, 3)
    assert all(worker.killed and worker.closed for worker in workers.started)
