from __future__ import annotations

import pytest

from oneflow_bench.bench.errors import WorkerError, WorkerTimeout
from oneflow_bench.bench.tools.doctor.probe import ProbeProcess


class Worker:
    """Answers from a script: for each call, one answer or error after the other."""

    def __init__(self, script):
        self.script, self.sent, self.killed = script, [], False

    def send(self, call, **arguments):
        self.sent.append((call, arguments))

    def receive(self, call, timeout_s):
        answers = self.script.get(call)
        answer = answers.pop(0) if answers else {}
        if isinstance(answer, Exception):
            raise answer
        return answer

    def read_log_tail(self):
        return "tail"

    def kill(self):
        self.killed = True

    def close(self):
        pass


@pytest.fixture
def examine():
    def create(script, **flags):
        workers, failures = [], []

        def launch(name, environment):
            workers.append(Worker(script))
            return workers[-1]

        probe = ProbeProcess("examined", {}, launch, lambda: 1.0, failures, **flags)
        return probe, workers, failures

    return create


DIED = WorkerError("died", "last words", -11)


def test_a_worker_is_started_once_and_builds_before_it_is_asked(examine):
    probe, workers, failures = examine({"measure_train_steps": [{"steps": 3}, {"steps": 4}]})
    assert probe.ask("measure_train_steps", block_s=1.0) == {"steps": 3}
    assert probe.ask("measure_train_steps", block_s=1.0) == {"steps": 4}
    (worker,) = workers
    assert [call for call, _ in worker.sent] == [
        "import_oneflow",
        "build_model",
        "measure_train_steps",
        "measure_train_steps",
    ]
    probe.close()
    assert worker.killed and not failures


def test_after_a_crash_another_worker_goes_on(examine):
    probe, workers, failures = examine({"measure_matrix_product": [DIED]})
    assert probe.ask("measure_matrix_product") is None
    assert probe.ask("measure_reduction") == {}
    assert len(workers) == 2 and workers[0].killed
    (failure,) = failures
    assert failure.crashed and failure.measurement == "matrix product"
    assert "SIGSEGV" in failure.reason and "last words" in failure.reason


def test_after_two_crashes_no_more_is_asked(examine):
    probe, workers, failures = examine({"measure_train_steps": [DIED, DIED, {"steps": 1}]})
    assert [probe.ask("measure_train_steps") for _ in range(3)] == [None, None, None]
    assert len(workers) == 2 and len(failures) == 1  # the same failure is said once


def test_an_exception_is_a_failure_and_the_worker_goes_on(examine):
    probe, workers, failures = examine({"measure_matrix_product": [{"error": "RuntimeError: no"}]})
    assert probe.ask("measure_matrix_product") is None and probe.ask("measure_reduction") == {}
    assert len(workers) == 1 and failures[0].reason == "RuntimeError: no"


def test_a_crash_of_what_was_only_tried_is_not_held_against_the_user(examine):
    probe, _, failures = examine({"build_model": [DIED]}, counts=False)
    probe.ask("measure_train_steps")
    assert not failures[0].crashed and failures[0].measurement == "build model (examined)"


def test_want_of_time_is_no_crash(examine):
    probe, _, failures = examine({"measure_train_steps": [WorkerTimeout("late")]})
    assert probe.ask("measure_train_steps") is None
    assert (failures[0].reason, failures[0].crashed) == ("the time was up", False)


@pytest.mark.parametrize("answer", [{"error": "ImportError: x"}, DIED])
def test_a_failed_preparation_ends_the_questions(examine, answer):
    probe, workers, failures = examine({"import_oneflow": [answer]})
    assert probe.ask("measure_matrix_product") is None
    assert probe.ask("measure_memory") is None and len(workers) == 1
    assert failures[0].measurement == "import oneflow" and failures[0].crashed
