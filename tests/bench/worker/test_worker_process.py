from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from oneflow_bench.bench.errors import InputError, WorkerError, WorkerTimeout
from oneflow_bench.bench.worker.process import WorkerProcess, describe_death, describe_exit

# a worker in a few lines: answers, or misbehaves as the request says
SCRIPT = """
import json, os, sys, time
replies = os.fdopen(int(sys.argv[-1]), "w")
print("ready", flush=True)
for line in sys.stdin:
    call = json.loads(line)["call"]
    if call == "die":
        print("last words", file=sys.stderr, flush=True); os._exit(7)
    if call == "abort":
        os.abort()
    if call == "hang":
        time.sleep(600)
    if call == "trickle":
        while True:
            replies.write(" "); replies.flush(); time.sleep(0.05)
    if call == "halves":
        replies.write('{"ok": true,'); replies.flush(); time.sleep(0.2)
        replies.write('"echo": "halves"}\\n'); replies.flush()
        continue
    answer = {"ok": True, "echo": call}
    if call == "refuse":
        answer = {"ok": False, "kind": "input", "error": "the label 12 is too large"}
    if call == "count asserts":
        answer["echo"] = int(__debug__)
    if call == "fail":
        answer = {"ok": False, "kind": "failure", "error": "ValueError: no"}
    replies.write(json.dumps(answer) + "\\n"); replies.flush()
"""


@pytest.fixture
def worker(tmp_path):
    process = WorkerProcess(
        "graph", [sys.executable, "-c", SCRIPT], dict(os.environ), tmp_path / "logs" / "graph.log"
    )
    yield process
    process.kill()
    process.close()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_answers_come_back_in_order(worker):
    assert [worker.ask(call, 60)["echo"] for call in ("a", "b", "c")] == ["a", "b", "c"]


def test_a_worker_keeps_asserts_because_graphs_need_them(tmp_path):
    environment = {**os.environ, "PYTHONOPTIMIZE": "1"}
    command = [sys.executable, "-c", SCRIPT]
    worker = WorkerProcess("graph", command, environment, tmp_path / "graph.log")
    try:
        assert worker.ask("count asserts", 60)["echo"] == 1
    finally:
        worker.kill()
        worker.close()


def test_a_worker_that_dies_is_named_with_its_last_lines(worker):
    with pytest.raises(
        WorkerError, match=r"'graph' died in its die turn \(exit status 7\)"
    ) as info:
        worker.ask("die", 60)
    assert "last words" in info.value.log_tail
    assert info.value.exit_status == 4


def test_an_abort_names_the_signal(worker):
    with pytest.raises(WorkerError, match="SIGABRT") as info:
        worker.ask("abort", 60)
    assert info.value.returncode == -signal.SIGABRT


def test_asking_a_dead_worker_is_an_error_and_not_a_broken_pipe(worker):
    worker.kill()
    with pytest.raises(WorkerError, match="died"):
        worker.ask("a", 60)


def test_a_worker_that_hangs_is_ended_at_the_timeout(worker):
    with pytest.raises(WorkerTimeout, match="within 0.5 s .* --timeout"):
        worker.ask("hang", 0.5)
    assert not alive(worker.pid)


def test_an_answer_that_never_ends_is_ended_at_the_timeout(worker):
    with pytest.raises(WorkerTimeout, match="within 0.5 s"):
        worker.ask("trickle", 0.5)


def test_an_answer_that_comes_in_parts_is_one(worker):
    assert [worker.ask(call, 60)["echo"] for call in ("halves", "a")] == ["halves", "a"]


def test_polling_does_not_wait(worker):
    worker.send("hang")
    assert worker.poll("hang") is None  # and not after the 600 s that it hangs


def test_what_a_worker_refuses_is_bad_input(worker):
    with pytest.raises(InputError, match="label 12"):
        worker.ask("refuse", 60)


def test_what_a_worker_fails_at_is_a_worker_error(worker):
    with pytest.raises(WorkerError, match="ValueError: no"):
        worker.ask("fail", 60)


def test_kill_ends_a_hanging_worker(worker):
    worker.ask("a", 60)
    worker.send("hang")
    worker.kill()
    assert not alive(worker.pid)


def test_close_lets_a_worker_end_by_itself(worker):
    worker.ask("a", 60)
    worker.close()
    assert not alive(worker.pid)


def test_an_interpreter_that_does_not_exist_is_one_sentence(tmp_path):
    with pytest.raises(WorkerError, match="could not be started with no-such-python"):
        WorkerProcess("eager", ["no-such-python"], dict(os.environ), tmp_path / "log")


def test_being_killed_for_memory_is_suggested():
    assert "out of memory" in describe_exit(-9)


@pytest.mark.parametrize("status, is_said", [(-11, True), (-6, True), (-9, False), (1, False)])
def test_what_oneflow_does_to_quick_graphs_is_suggested(status, is_said, tmp_path):
    log = tmp_path / "graph.log"
    log.write_text("")
    said = describe_death("graph", "train", status, log)
    assert said.startswith(f"graph died in its train turn ({describe_exit(status)})")
    assert f"the whole log is {log}" in said
    log.unlink()
    assert "the whole log" not in describe_death("graph", "train", status, log)
    assert ("a graph of about a millisecond" in said) == is_said
    eager = describe_death("eager", "train", status, Path("eager.log"), runs_graph=False)
    assert "millisecond" not in eager
    assert "a millisecond" not in describe_death("graph", "prepare", status, Path("graph.log"))


@pytest.mark.parametrize(
    "cause",
    [
        "  what():  std::bad_alloc",
        "F20261130 01:02:03 x.cpp:9] Check failed: a > b",
        "Out of memory",
    ],
)
def test_a_death_is_explained_by_what_the_log_says(tmp_path, cause):
    log = tmp_path / "graph.log"
    log.write_text(f"begin\n{cause}\nend\n")
    said = describe_death("graph", "train", -6, log)
    assert said.endswith(f"It says: {' '.join(cause.split())}") and "millisecond" not in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_while_a_worker_starts_leaves_none(tmp_path, monkeypatch, number):
    started = []

    def interrupted(*arguments, **options):
        started.append(popen(*arguments, **options))
        signal.raise_signal(number)
        return started[0]

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", interrupted)
    before = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            WorkerProcess(
                "eager", [sys.executable, "-c", SCRIPT], dict(os.environ), tmp_path / "log"
            )
        assert started[0].poll() == -signal.SIGKILL
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
        started[0].kill()
