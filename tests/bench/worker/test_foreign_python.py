from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.worker.foreign_python import (
    Interpreter,
    add_sources,
    ask_interpreter,
    check_interpreter,
    check_options,
    share_sources,
)

VERSIONS = {
    "oneflow": "0.8.0",
    "numpy": "1.26.4",
    "pydantic": "2.10.6",
    "safetensors": "0.5.3",
    "PIL": "10.4.0",
}


@pytest.fixture
def python(tmp_path):
    """Makes an interpreter that answers as it is told, or prints something else."""

    def create(printed=None, **answer):
        whole = {"python": "3.10.1", "versions": VERSIONS, "missing": [], "broken": {}, **answer}
        text = (
            printed if printed is not None else "oneflow-bench: interpreter: " + json.dumps(whole)
        )
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\ncat <<'END'\nlibibverbs not available\n{text}\nEND\n")
        path.chmod(0o755)
        return str(path)

    return create


def without(name):
    return {key: value for key, value in VERSIONS.items() if key != name}


def test_an_interpreter_that_serves_is_described(python):
    options = {"enable_amp": "bool", "set_auto_parallel_wait_time": None}
    found = check_interpreter(python(graph_options=options), {})
    assert (found.python, found.versions["oneflow"]) == ("3.10.1", "0.8.0")
    check_options(found, {"enable_amp": True, "set_auto_parallel_wait_time": 0.5})
    with pytest.raises(InputError, match="unknown graph option 'enable_map'; did you mean enable"):
        check_options(found, {"enable_map": True})
    with pytest.raises(InputError, match="it takes true or false"):
        check_options(found, {"enable_amp": 3})


@pytest.mark.parametrize(
    "answer, message",
    [
        ({"versions": without("oneflow"), "missing": ["oneflow"]},
         "has no OneFlow, which a worker needs; run .*python -m pip install oneflow$"),
        ({"versions": {}, "missing": ["pydantic", "PIL"]},
         "has no pydantic, PIL, .* pip install 'pydantic>=2.5,<3' pillow"),
        ({"versions": without("oneflow"), "broken": {"oneflow": "libcudnn.so.8: no such file"}},
         r"cannot import oneflow \(libcudnn.so.8: no such file\); try it with"),
        ({"versions": {**VERSIONS, "pydantic": "1.10.2"}},
         "has pydantic 1.10.2 and a worker needs 'pydantic>=2.5,<3'; run"),
        ({"versions": {**VERSIONS, "numpy": "2.1.0"}}, "has numpy 2.1.0 and a worker needs"),
        ({"python": "3.7.9"}, "is Python 3.7.9 and a worker needs 3.8 to 3.10"),
        ({"python": "3.11.2", "missing": ["oneflow"]}, "is Python 3.11.2"),
        ({"printed": "hello"}, "did not answer as a Python interpreter does"),
        ({"printed": ""}, "did not answer as a Python interpreter does"),
    ],
)  # fmt: skip
def test_an_interpreter_that_does_not_serve_is_one_sentence(python, answer, message):
    with pytest.raises(InputError, match=message) as info:
        check_interpreter(python(**answer), {})
    assert info.value.exit_status == 2 and "\n" not in str(info.value)


def test_what_is_not_there_or_not_executable_is_said_so(tmp_path, python):
    with pytest.raises(InputError, match="python=.*none is not there; give the path"):
        check_interpreter(str(tmp_path / "none"), {})
    with pytest.raises(InputError, match="is not there"):
        check_interpreter(str(tmp_path), {})
    path = python()
    os.chmod(path, 0o644)
    with pytest.raises(InputError, match="is not executable"):
        check_interpreter(path, {})
    os.chmod(path, 0o755)
    with open(path, "wb") as stream:
        stream.write(b"\x7fELF no program")
    with pytest.raises(InputError, match="did not answer"):
        check_interpreter(path, {})


def test_an_interpreter_that_hangs_is_no_answer(python, monkeypatch):
    monkeypatch.setattr("oneflow_bench.bench.worker.foreign_python.ASK_TIMEOUT_S", 0.2)
    path = python()
    with open(path, "w", encoding="utf-8") as stream:
        stream.write("#!/bin/sh\nexec sleep 30\n")
    assert ask_interpreter(path, {}) is None


def test_the_sources_are_all_that_another_interpreter_finds(tmp_path):
    assert os.listdir(share_sources()) == ["oneflow_bench"]
    environment = add_sources({"PATH": os.environ["PATH"], "PYTHONPATH": "/mine"})
    assert environment["PYTHONPATH"] == f"{share_sources()}{os.pathsep}/mine"
    assert add_sources({})["PYTHONPATH"] == share_sources()
    assert add_sources({})["GLOG_logtostderr"] == "1"
    assert add_sources({"GLOG_logtostderr": "0"})["GLOG_logtostderr"] == "0"
    code = (
        "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]; "
        "import oneflow_bench.bench.errors, oneflow_bench.bench.plan.graph_options; "
        "import importlib.util as u; "
        "print(u.find_spec('oneflow_bench.models').origin, u.find_spec('pydantic'))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    origin, pydantic = done.stdout.split()
    assert origin.startswith(share_sources()) and pydantic == "None"


def test_the_sources_are_gone_when_the_process_ends():
    code = (
        "from oneflow_bench.bench.worker.foreign_python import share_sources; "
        "print(share_sources())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not os.path.exists(done.stdout.strip())


@pytest.mark.oneflow
def test_this_interpreter_serves():
    found = check_interpreter(sys.executable, dict(os.environ))
    assert isinstance(found, Interpreter)
    assert found.graph_options["allow_fuse_add_to_output"] == "bool"
