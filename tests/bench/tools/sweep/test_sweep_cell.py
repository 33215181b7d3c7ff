from __future__ import annotations

import signal

import pytest
from fakes import Clock, FakeWorker
from records import create_events, create_record

from oneflow_bench.bench.errors import InputError, Interrupted, WorkerError, WorkerTimeout
from oneflow_bench.bench.record.run import load_record
from oneflow_bench.bench.tools.sweep.cell import (
    DeadlineWorker,
    describe_failure,
    judge_cell,
    measure_cell,
    record_path,
)
from oneflow_bench.bench.tools.sweep.plan import plan_cells


class Environments:
    """A resolver that asks no BLAS."""

    def complete(self, contender, python):
        return contender

    def find_kernel(self, contender, python):
        return None


def plan_one(**flags):
    axes = {"model": ["lenet"], "batch_size": [4], **flags}
    basis = {"data": "synthetic", "epochs": 1, "steps_per_epoch": 20, "block_steps": 2}
    return plan_cells(axes, basis, lambda done, total: None)


def measure(folder, planned=None, timeout_s=1000.0, **worker):
    clock, workers = Clock(), []

    def create(run_folder, environments):
        def launch(contender):
            fail = worker.get("fail_at") if contender.mode == "graph" else None
            options = {**worker, "fail_at": fail}
            workers.append(FakeWorker(contender.name, clock, [], **options))
            return workers[-1]

        return launch

    planned = planned or plan_one()[0]
    try:
        result = measure_cell(
            planned,
            folder,
            timeout_s,
            Environments(),
            lambda *seen: None,
            create,
            clock,
            lambda *given, **options: None,
        )
    finally:
        assert all(one.closed for one in workers)
    return result, workers


def test_a_cell_that_ends_holds_what_its_record_says(tmp_path):
    planned = plan_one()[0]
    result, _ = measure(tmp_path, planned)
    assert result.status == "done" and result.parity == "identical"
    assert set(result.modes) == {"eager", "graph"}
    assert result.modes["graph"].step_time_s.median == pytest.approx(0.1)
    assert result.modes["graph"].compile_s == pytest.approx(0.3)
    assert result.modes["eager"].peak_rss_bytes == 1000
    assert result.duration_s > 4  # 2 x 20 steps of 0.1 s
    record = load_record(tmp_path / result.record)
    assert record.document.status == "complete"
    assert record.document.workload.batch_size == 4
    assert judge_cell(record)["speedup"] == result.speedup


@pytest.mark.parametrize(
    "error, status",
    [
        (WorkerError("the worker 'graph' died"), "failed"),
        (WorkerTimeout("the worker 'graph' gave no answer"), "timeout"),
        (InputError("the checkpoint does not fit"), "refused"),
        (WorkerError("it failed", "F0101 oneflow: bad_alloc"), "out of memory"),
        (OSError(28, "No space left on device"), "failed"),
    ],
)
def test_whatever_happens_in_a_cell_is_its_result(tmp_path, error, status):
    result, _ = measure(tmp_path, fail_at=("train", 3, error))
    assert result.status == status
    assert str(error) in result.reason
    assert result.modes == {} and result.speedup is None
    assert load_record(tmp_path / result.record).document.status == "failed"


def test_ctrl_c_is_no_result(tmp_path):
    with pytest.raises(Interrupted):
        measure(tmp_path, fail_at=("train", 3, KeyboardInterrupt()))


def test_an_attempt_that_was_cut_short_is_replaced(tmp_path):
    planned = plan_one()[0]
    with pytest.raises(Interrupted):
        measure(tmp_path, planned, fail_at=("eval", 0, KeyboardInterrupt()))
    result, _ = measure(tmp_path, planned)
    assert result.status == "done"
    assert [p.name for p in (tmp_path / "cells").iterdir()] == [record_path(planned.cell)[6:]]


def test_a_refused_cell_starts_no_worker(tmp_path):
    planned = plan_one(image_size=[8, 32])[0]
    result, workers = measure(tmp_path, planned)
    assert result.status == "refused" and "too small" in result.reason
    assert workers == [] and result.record is None and not list(tmp_path.iterdir())


def test_a_cell_that_a_worker_refuses_before_it_measured_leaves_no_folder(tmp_path):
    result, workers = measure(tmp_path, fail_at=("setup", 0, InputError("it does not fit")))
    assert result.status == "refused" and result.reason == "it does not fit"
    assert workers and result.record is None
    assert list((tmp_path / "cells").iterdir()) == []


def test_the_whole_cell_has_a_limit_though_no_turn_is_long(tmp_path):
    result, workers = measure(tmp_path, timeout_s=2.05)
    assert result.status == "timeout"
    assert "not done within 2.05 s" in result.reason and "--cell-timeout" in result.reason
    assert all(worker.killed for worker in workers)
    assert result.duration_s < 2.5 and result.cell_timeout_s == 2.05


class Recorder:
    def __init__(self, error=None):
        self.error, self.timeouts = error, []

    def ask(self, call, timeout_s, **arguments):
        self.timeouts.append(timeout_s)
        if self.error:
            raise self.error
        return arguments


def test_a_turn_is_waited_for_no_longer_than_the_cell_has():
    clock, worker = Clock(), Recorder()
    limited = DeadlineWorker(worker, 100.0, 100.0, clock)
    assert limited.ask("train", 30.0, steps=1) == {"steps": 1}
    clock.now = 90.0
    limited.ask("train", 30.0)
    assert worker.timeouts == [30.0, 10.0]
    clock.now = 100.0
    with pytest.raises(WorkerTimeout, match="cell was not done within 100 s"):
        limited.ask("train", 30.0)
    assert len(worker.timeouts) == 2


def test_a_turn_that_outlasts_the_cell_is_said_to_be_the_cells():
    worker = Recorder(WorkerTimeout("gave no answer within 10 s"))
    with pytest.raises(WorkerTimeout, match="the cell was not done"):
        DeadlineWorker(worker, 10.0, 10.0, Clock()).ask("train", 600.0)
    with pytest.raises(WorkerTimeout, match="gave no answer"):
        DeadlineWorker(worker, 10.0, 10.0, Clock()).ask("train", 5.0)


@pytest.mark.parametrize(
    "error, before, after, status",
    [
        (WorkerError("died", returncode=-signal.SIGKILL), 3, 4, "out of memory"),
        (WorkerError("died", returncode=-signal.SIGKILL), 3, 3, "failed"),
        (WorkerError("died", returncode=-signal.SIGKILL), None, None, "out of memory"),
        (WorkerError("died", returncode=-signal.SIGSEGV), 3, 4, "failed"),
        (
            WorkerError("died", "RuntimeError: out of memory", -signal.SIGABRT),
            3,
            3,
            "out of memory",
        ),
    ],
)
def test_a_kill_is_for_want_of_memory_when_the_kernel_says_so(error, before, after, status):
    found, reason = describe_failure(error, before, after)
    assert found == status
    assert reason.startswith("died")


def test_records_of_another_configuration_go_elsewhere():
    one, other = (plan_one(lr=[value])[0].cell for value in (0.1, 0.2))
    one.values.pop("lr"), other.values.pop("lr")
    assert record_path(one) != record_path(other)
    assert record_path(one).startswith("cells/lenet-batch_size=4-")
    strange = one.model_copy(update={"values": {"model": "a/b:c d", "batch_size": 1}})
    assert record_path(strange).startswith("cells/a-b-c-d-batch_size=1-")


def test_the_judges_are_those_of_a_comparison():
    record = create_record(
        create_events("eager", 0.12, noise=0.01), create_events("graph", 0.10, noise=0.01)
    )
    said = judge_cell(record)
    assert said["parity"] == "identical"
    assert said["speedup"].ratio == pytest.approx(1.2, rel=0.02)
    assert not [name for name in said if "verdict" in name]  # one pair of processes gives none
