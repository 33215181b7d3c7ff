"""A worker reads requests and writes answers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.worker.protocol import clean_message, serve
from oneflow_bench.bench.worker.session import Session


class Echo:
    """A session that answers with what it was asked, or refuses."""

    def train(self, request):
        return {"steps": request["steps"]}

    def refuse(self, request):
        raise InputError("the label 12 is too large")

    def end(self, request):
        return {}


def ask(*requests):
    lines = iter([json.dumps(request) for request in requests] + [""])
    answers = []
    serve(Echo(), lambda: next(lines), answers.append)
    return [json.loads(answer) for answer in answers]


def test_requests_are_answered_in_order_until_the_end():
    answers = ask({"call": "train", "steps": 1}, {"call": "train", "steps": 2}, {"call": "end"}, 3)
    assert answers == [{"ok": True, "steps": 1}, {"ok": True, "steps": 2}, {"ok": True}]


def test_what_a_session_cannot_use_is_answered_as_bad_input_and_ends_the_worker():
    answers = ask({"call": "refuse"}, {"call": "train", "steps": 1})
    assert answers == [{"ok": False, "kind": "input", "error": "the label 12 is too large"}]


@pytest.mark.oneflow
def test_a_request_that_fails_is_answered_and_ends_the_worker(capfd):
    lines = iter([json.dumps({"call": "setup", "workload": {"model": 3}}), "unread"])
    answers = []
    serve(Session(), lambda: next(lines), answers.append)
    answer = json.loads(answers[0])
    assert (answer["ok"], answer["kind"]) == (False, "failure")
    assert "Traceback" in capfd.readouterr().err


def test_oneflows_message_loses_escape_codes_and_its_own_stack():
    text = (
        "\x1b[1m\x1b[38;2;255;000;000mError\x1b[0m: Only leaf tensors.\n"
        '  File "/home/ci-user/tensor.cpp", line 107, in set_data\n\n'
        "Error Type: oneflow.ErrorProto.check_failed_error"
    )
    assert clean_message(text) == "Only leaf tensors."
    assert clean_message("Error Type: oneflow.ErrorProto.check_failed_error") == "no message"


def test_the_end_of_the_input_is_the_end_of_the_worker():
    serve(Session(), lambda: "", lambda text: pytest.fail("nothing was asked"))


BUSY = """
import sys
from oneflow_bench.bench.worker import protocol
class Busy:
    def train(self, request):
        sys.stderr.write("busy\\n")
        while True:
            pass
protocol.LINGER_S = float(sys.argv.pop(1))
protocol.main(Busy())
"""


@pytest.mark.slow
def test_a_busy_worker_ends_with_a_controller_that_was_killed(tmp_path):
    request = json.dumps({"call": "train"})
    controller = f"""
import os, subprocess, sys, time
replies, end = os.pipe()
command = [sys.executable, "-c", sys.argv[1], "0.3", "--reply-fd", str(end)]
worker = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[end])
worker.stdin.write({request!r}.encode() + b"\\n")
worker.stdin.flush()
time.sleep(60)
"""
    command = [sys.executable, "-c", controller, BUSY]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as process:
        assert process.stderr.readline() == "busy\n"
        process.kill()
        # both hold the pipe: it ends when the worker, an orphan now, has ended
        _, said = process.communicate(timeout=20)
    assert "the controller is gone" in said


def test_all_threads_of_a_worker_take_batch_scheduling():
    program = """
import os, threading
from oneflow_bench.bench.worker.protocol import schedule_as_batch
waiting = threading.Event()
threading.Thread(target=waiting.wait).start()
schedule_as_batch()
threads = [int(thread) for thread in os.listdir("/proc/self/task")]
print(len(threads), {os.sched_getscheduler(one) for one in threads} == {os.SCHED_BATCH})
waiting.set()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    threads, batch = done.stdout.split()
    assert int(threads) >= 2 and batch == "True", done.stderr
